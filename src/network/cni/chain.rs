//! Running the plugins of a network one after the other.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{NSFS_MAGIC, statfs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    INTERFACE,
    error::Error,
    network_list::{NetworkList, PluginConfig},
    plugin::{Plugins, Verb},
};
use crate::types::Id;

/// The pod that plugins work on, as they are told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Target {
    /// The pod.
    pub(super) pod: Id,
    /// Where its network namespace is pinned.
    pub(super) netns: PathBuf,
    /// `CNI_ARGS`.
    pub(super) arguments: String,
    /// What plugins can be told in `runtimeConfig`, by capability.
    pub(super) capabilities: Map<String, Value>,
}

impl Target {
    fn variables(&self, netns: &Path) -> [(&'static str, String); 4] {
        [
            ("CNI_CONTAINERID", self.pod.to_string()),
            ("CNI_NETNS", netns.display().to_string()),
            ("CNI_IFNAME", INTERFACE.to_owned()),
            ("CNI_ARGS", self.arguments.clone()),
        ]
    }

    /// What DEL is told: a namespace that is gone has no path.
    fn remaining_netns(&self) -> &Path {
        match statfs(&self.netns) {
            Ok(found) if found.filesystem_type() == NSFS_MAGIC => &self.netns,
            _ => Path::new(""),
        }
    }
}

impl Plugins {
    /// Asks each plugin to ADD, giving each the result of the one before; returns the last one's.
    ///
    /// # Errors
    /// The first plugin's that fails. What those before it made is still there.
    pub(super) async fn add(&self, network: &NetworkList, target: &Target) -> Result<Value, Error> {
        let mut result = None;
        for plugin in &network.plugins {
            let request = request(network, plugin, Some(target), result.as_ref());
            let answer = self.run(&plugin.kind, Verb::Add, &target.variables(&target.netns), &request).await?;
            let answer = serde_json::from_slice(&answer).map_err(|error| Error::Answer {
                plugin: plugin.kind.clone(),
                verb: Verb::Add,
                reason: format!("is not JSON: {error}"),
            })?;
            result = Some(answer);
        }
        Ok(result.unwrap_or_default())
    }

    /// Asks each plugin to DEL, the last first; `result` is that of ADD, if it came to its end.
    ///
    /// # Errors
    /// The first plugin's that fails; all of it has to be asked again then.
    pub(super) async fn del(
        &self,
        network: &NetworkList,
        target: &Target,
        result: Option<&Value>,
    ) -> Result<(), Error> {
        let result = result.filter(|_| network.version.has_check());
        let variables = target.variables(target.remaining_netns());
        for plugin in network.plugins.iter().rev() {
            let request = request(network, plugin, Some(target), result);
            self.run(&plugin.kind, Verb::Del, &variables, &request).await?;
        }
        Ok(())
    }

    /// Asks each plugin to CHECK what ADD had for a result, if the network has that.
    ///
    /// # Errors
    /// The first plugin's that finds something wrong.
    pub(super) async fn check(&self, network: &NetworkList, target: &Target, result: &Value) -> Result<(), Error> {
        if network.disable_check || !network.version.has_check() {
            return Ok(());
        }
        for plugin in &network.plugins {
            let request = request(network, plugin, Some(target), Some(result));
            self.run(&plugin.kind, Verb::Check, &target.variables(&target.netns), &request).await?;
        }
        Ok(())
    }

    /// Whether ADD can be expected to work: all plugins are installed and, where they know STATUS, say so.
    ///
    /// # Errors
    /// The first plugin's that is missing or not ready.
    pub(super) async fn status(&self, network: &NetworkList) -> Result<(), Error> {
        for plugin in &network.plugins {
            self.find(&plugin.kind)?;
        }
        if network.version.has_gc_and_status() {
            for plugin in &network.plugins {
                self.run(&plugin.kind, Verb::Status, &[], &request(network, plugin, None, None)).await?;
            }
        }
        Ok(())
    }

    /// Asks each plugin to throw away what belongs to none of the pods in `valid`, if the network has that.
    ///
    /// # Errors
    /// The first plugin's that fails; the others have been asked, too.
    pub(super) async fn gc(&self, network: &NetworkList, valid: &[Id]) -> Result<(), Error> {
        if network.disable_gc || !network.version.has_gc_and_status() {
            return Ok(());
        }
        let attachments: Vec<Value> =
            valid.iter().map(|pod| json!({ "containerID": pod.as_str(), "ifname": INTERFACE })).collect();
        let mut outcome = Ok(());
        for plugin in &network.plugins {
            let mut request = request(network, plugin, None, None);
            request["cni.dev/valid-attachments"] = attachments.clone().into();
            // The name that the specification had at first.
            request["cni.dev/attachments"] = attachments.clone().into();
            outcome = outcome.and(self.run(&plugin.kind, Verb::Gc, &[], &request).await.map(drop));
        }
        outcome
    }
}

/// The plugin's configuration as it is to be sent: with what the network says, what the plugin wants to know of the
/// pod, and the result so far.
fn request(network: &NetworkList, plugin: &PluginConfig, target: Option<&Target>, result: Option<&Value>) -> Value {
    let mut body = plugin.body.clone();
    body.remove("capabilities");
    body.insert("name".to_owned(), network.name.clone().into());
    body.insert("cniVersion".to_owned(), network.version.to_string().into());
    let known = target.into_iter().flat_map(|target| &target.capabilities);
    let wanted = known.filter(|(name, _)| plugin.capabilities.contains(*name));
    let told: Map<String, Value> = wanted.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !told.is_empty() {
        body.insert("runtimeConfig".to_owned(), told.into());
    }
    if let Some(result) = result {
        body.insert("prevResult".to_owned(), result.clone());
    }
    body.into()
}
