//! Addresses of hosts: `/etc/hosts` and the name servers of `/etc/resolv.conf`, without the C library, whose own way
//! needs shared libraries that a static binary cannot count on.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Age at which the configuration is read again.
const MAX_AGE: Duration = Duration::from_secs(60);
/// The name server of a host that has none configured, resolv.conf(5).
const DEFAULT_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Resolves names as the system's configuration says.
#[derive(Default, Clone)]
pub(super) struct SystemNames {
    current: Arc<Mutex<Option<(Instant, TokioResolver)>>>,
}

impl fmt::Debug for SystemNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemNames").finish_non_exhaustive()
    }
}

impl SystemNames {
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((made, resolver)) if made.elapsed() < MAX_AGE => Ok(resolver.clone()),
            _ => Ok(current.insert((Instant::now(), system_resolver()?)).1.clone()),
        }
    }
}

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let found = names.resolver()?.lookup_ip(name.as_str()).await?;
            // The port is the address's own.
            let addresses: Vec<_> = found.iter().map(|address| SocketAddr::new(address, 0)).collect();
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

fn system_resolver() -> Result<TokioResolver, NetError> {
    let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
        tracing::debug!(%error, "there is no usable resolv.conf");
        let local = ResolverConfig::from_name_servers(vec![NameServerConfig::udp_and_tcp(DEFAULT_SERVER)]);
        TokioResolver::builder_with_config(local, TokioRuntimeProvider::default())
    });
    builder.build()
}
