//! The pods' network by plugins of the Container Network Interface.
//!
//! The network configuration is read whenever it is needed, so that a change of it needs no restart. What plugins are
//! asked to make is written down before they are asked (`cache.rs`), and struck out when all of them have unmade it:
//! whatever has a record may be there. DEL is idempotent, so doubt ends in another DEL.
//!
//! The records outlive a reboot, other than leases of the built-in network: plugins keep what they have given to pods on
//! disk, and only DEL frees it.

mod bandwidth;
mod cache;
mod capability;
mod chain;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod network_list;
mod orphan;
mod plugin;
mod result;
mod version;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio_util::task::TaskTracker;

use cache::{Cache, Record};
use chain::Target;
pub use error::Error;
use plugin::Plugins;

use super::{Attachment, Recovery};
use crate::{
    error::chain,
    fault,
    task::{KeyLock, blocking},
    types::{Id, PodConfig},
};

/// Name of the link that plugins make in every pod.
const INTERFACE: &str = "eth0";

/// Where plugins and their configuration are.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of network configurations.
    pub conf_dir: PathBuf,
    /// Directories of plugins, in the order in which they are searched.
    pub bin_dirs: Vec<PathBuf>,
    /// Where it is written down what plugins have been asked to make; must survive a reboot.
    pub cache_dir: PathBuf,
    /// How long one plugin may run.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            conf_dir: PathBuf::from("/etc/cni/net.d"),
            bin_dirs: ["/opt/cni/bin", "/usr/lib/cni"].map(PathBuf::from).to_vec(),
            cache_dir: PathBuf::from("/var/lib/berth/cni"),
            timeout: Duration::from_secs(60),
        }
    }
}

/// The way to the plugins.
#[derive(Debug)]
pub(super) struct Cni {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// How many pods' plugins are at work at once after a restart: they wait for each other's locks.
const RELEASES: usize = 8;

#[derive(Debug)]
struct Shared {
    conf_dir: PathBuf,
    plugins: Plugins,
    cache: Cache,
    /// Plugins work on a pod one after the other.
    pods: KeyLock<Id>,
    /// Held exclusively while plugins throw away what belongs to nobody: a pod that is just being joined must be known
    /// to them before.
    collection: RwLock<()>,
}

impl Cni {
    /// Opens the records. Nothing is asked of plugins yet.
    pub(super) fn open(config: Config) -> Result<Self, Error> {
        let shared = Shared {
            conf_dir: config.conf_dir,
            plugins: Plugins { dirs: config.bin_dirs, timeout: config.timeout },
            cache: Cache::open(config.cache_dir)?,
            pods: KeyLock::default(),
            collection: RwLock::default(),
        };
        Ok(Self { shared: Arc::new(shared), tasks: TaskTracker::new() })
    }

    /// See [`super::Network::attach`].
    pub(super) async fn attach(&self, pod: &Id, netns: &Path, config: &PodConfig) -> Result<Attachment, super::Error> {
        let target = Target {
            pod: pod.clone(),
            netns: netns.to_owned(),
            arguments: capability::arguments(pod, &config.metadata)?,
            capabilities: capability::capabilities(config)?,
        };
        let shared = Arc::clone(&self.shared);
        self.to_its_end(async move { shared.attach(target).await }).await
    }

    /// See [`super::Network::detach`].
    pub(super) async fn detach(&self, pod: &Id) -> Result<(), super::Error> {
        let (shared, pod) = (Arc::clone(&self.shared), pod.clone());
        self.to_its_end(async move { shared.detach(&pod).await }).await
    }

    /// See [`super::Network::recover`].
    pub(super) async fn recover(&self, live: &HashSet<Id>) -> Result<Recovery, super::Error> {
        let (mut kept, mut released) = (Vec::new(), Vec::new());
        for pod in self.shared.cache.pods()? {
            match self.shared.cache.get(&pod) {
                Ok(Some(record)) if live.contains(&pod) && record.result.is_some() => kept.push(pod),
                Ok(_) => released.push(pod),
                Err(error) => tracing::error!(%pod, error = chain(&error), "what plugins made for a pod is left"),
            }
        }
        let orphaned = released.clone();
        blocking(move || orphan::kill(&orphaned)).await;
        let recovery = Recovery { kept: kept.len(), released: released.clone() };
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            shared.release(released).await;
            shared.check(&kept).await;
            shared.collect().await;
        });
        Ok(recovery)
    }

    /// See [`super::Network::attachment`].
    #[cfg(test)]
    pub(super) fn attachment(&self, pod: &Id) -> Option<Attachment> {
        let record = self.shared.cache.get(pod).ok()??;
        result::attachment(&record.network, record.result.as_ref()?).ok()
    }

    /// See [`super::Network::status`].
    pub(super) async fn status(&self) -> Result<(), Error> {
        let network = self.shared.load().await?;
        self.shared.plugins.status(&network).await
    }

    /// Waits for what is done in the background.
    pub(super) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Does something that does not stop half-way when the caller goes away.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, super::Error> {
        match self.tasks.spawn(work).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(super::Error::Closed),
        }
    }
}

impl Shared {
    async fn load(&self) -> Result<network_list::NetworkList, Error> {
        let dir = self.conf_dir.clone();
        blocking(move || network_list::load(&dir)).await.map_err(Error::NotLoaded)
    }

    async fn attach(&self, target: Target) -> Result<Attachment, Error> {
        let _collection = self.collection.read().await;
        let _pod = self.pods.lock(&target.pod).await;
        if let Some(earlier) = self.cache.get(&target.pod)? {
            match &earlier.result {
                Some(result) => return result::attachment(&earlier.network, result),
                None => self.unmake(&earlier).await?,
            }
        }
        let mut record = Record { target, network: self.load().await?, result: None };
        self.cache.put(&record)?;
        fault::point("cni.attach.recorded");
        match self.make(&mut record).await {
            Ok(attachment) => Ok(attachment),
            Err(error) => {
                // The first error is the one to be told; the record stays, and with it another attempt.
                if let Err(error) = self.unmake(&record).await {
                    tracing::warn!(pod = %record.target.pod, error = chain(&error), "half a network is left");
                }
                Err(error)
            }
        }
    }

    async fn make(&self, record: &mut Record) -> Result<Attachment, Error> {
        let result: Value = self.plugins.add(&record.network, &record.target).await?;
        fault::point("cni.attach.added");
        let attachment = result::attachment(&record.network, &result)?;
        record.result = Some(result);
        self.cache.put(record)?;
        fault::point("cni.attach.result");
        Ok(attachment)
    }

    async fn detach(&self, pod: &Id) -> Result<(), Error> {
        let _pod = self.pods.lock(pod).await;
        match self.cache.get(pod)? {
            Some(record) => self.unmake(&record).await,
            None => Ok(()),
        }
    }

    async fn unmake(&self, record: &Record) -> Result<(), Error> {
        self.plugins.del(&record.network, &record.target, record.result.as_ref()).await?;
        fault::point("cni.detach.deleted");
        self.cache.remove(&record.target.pod)
    }

    /// Has unmade what the last daemon could not.
    async fn release(&self, pods: Vec<Id>) {
        let released = stream::iter(pods).for_each_concurrent(RELEASES, |pod| async move {
            if let Err(error) = self.detach(&pod).await {
                tracing::error!(%pod, error = chain(&error), "the network of a pod that is gone is left");
            }
        });
        released.await;
    }

    /// Says which pods have lost their network meanwhile. Nothing is done about it: to whom it matters will notice.
    async fn check(&self, pods: &[Id]) {
        for pod in pods {
            let _pod = self.pods.lock(pod).await;
            let Ok(Some(Record { target, network, result: Some(result) })) = self.cache.get(pod) else { continue };
            if let Err(error) = self.plugins.check(&network, &target, &result).await {
                tracing::warn!(%pod, error = chain(&error), "the network of a pod is not what it was");
            }
        }
    }

    /// Has plugins throw away what belongs to nobody.
    async fn collect(&self) {
        let _collection = self.collection.write().await;
        let Ok(network) = self.load().await else { return };
        let collected = async {
            let valid = self.cache.pods()?;
            self.plugins.gc(&network, &valid).await
        };
        if let Err(error) = collected.await {
            tracing::warn!(error = chain(&error), "plugins could not throw away what belongs to no pod");
        }
    }
}

#[cfg(test)]
mod tests;
