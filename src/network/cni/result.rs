//! What plugins answer to ADD.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::{INTERFACE, error::Error, network_list::NetworkList, plugin::Verb};
use crate::network::Attachment;

/// The part of a result that the engine needs; the same in all versions from 0.3.0 on.
#[derive(Deserialize)]
struct AddResult {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Address>,
}

#[derive(Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    mac: String,
    /// Empty for links of the host.
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct Address {
    address: IpNet,
    /// Which of the interfaces has it; the pod's when it is not said.
    interface: Option<usize>,
}

/// How the pod is joined, by the result of a whole chain.
///
/// # Errors
/// When it has not the specification's form, or no address for the pod.
pub(super) fn attachment(network: &NetworkList, result: &Value) -> Result<Attachment, Error> {
    let refuse = |reason: String| Error::Answer {
        plugin: network.plugins.last().map(|plugin| plugin.kind.clone()).unwrap_or_default(),
        verb: Verb::Add,
        reason,
    };
    let result = AddResult::deserialize(result).map_err(|error| refuse(format!("is no result: {error}")))?;
    let mut ips = Vec::new();
    for address in &result.ips {
        let of_pod = match address.interface {
            None => true,
            Some(number) => {
                let interface = result.interfaces.get(number);
                let missing = || refuse(format!("has an address of interface {number}, which it has not"));
                interface.ok_or_else(missing)?.is_pods()
            }
        };
        if of_pod {
            ips.push(address.address.addr());
        }
    }
    if ips.is_empty() {
        return Err(refuse(format!("has no address for {INTERFACE}")));
    }
    // A stable sort: within a family the plugins' order stays.
    ips.sort_by_key(IpAddr::is_ipv6);
    let interface = result.interfaces.iter().find(|interface| interface.is_pods());
    Ok(Attachment {
        ips,
        interface: INTERFACE.to_owned(),
        host_interface: String::new(),
        mac: interface.map(|interface| interface.mac.clone()).unwrap_or_default(),
    })
}

impl Interface {
    fn is_pods(&self) -> bool {
        self.name == INTERFACE && !self.sandbox.is_empty()
    }
}
