//! Fuzz targets of what administrators and plugins write.

use serde_json::Value;

use super::{
    cache::Record,
    network_list::{self, NetworkList},
    result,
};

/// A network configuration, as a list and as a lone plugin, and a record of one.
pub(crate) fn list(input: &[u8]) {
    for is_list in [true, false] {
        let Ok(list) = network_list::parse(input, is_list) else { continue };
        assert!(!list.plugins.is_empty());
        for plugin in &list.plugins {
            assert!(!plugin.kind.contains('/') && !matches!(plugin.kind.as_str(), "" | "." | ".."), "{list:?}");
        }
        let written = serde_json::to_vec(&list).expect("can be written");
        assert_eq!(serde_json::from_slice::<NetworkList>(&written).expect("can be read"), list);
    }
    if let Ok(record) = serde_json::from_slice::<Record>(input) {
        let written = serde_json::to_vec(&record).expect("can be written");
        assert_eq!(serde_json::from_slice::<Record>(&written).expect("can be read"), record);
    }
}

/// What a chain of plugins answered to ADD.
pub(crate) fn result(input: &[u8]) {
    let network = br#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"}]}"#;
    let network = network_list::parse(network, true).expect("a list");
    let Ok(answer) = serde_json::from_slice::<Value>(input) else { return };
    if let Ok(attachment) = result::attachment(&network, &answer) {
        assert!(!attachment.ips.is_empty());
        assert!(attachment.ips.is_sorted_by_key(std::net::IpAddr::is_ipv6), "IPv4 comes first");
    }
}
