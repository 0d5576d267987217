//! Wire messages as JSON, in protobuf's own mapping: the form of `crictl -o json` and of crictl's configuration files.

use std::{collections::BTreeMap, sync::LazyLock};

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use super::error::Error;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    for set in [crate::wire::DESCRIPTORS, crate::berth_wire::DESCRIPTORS] {
        pool.decode_file_descriptor_set(set).expect("the build generates valid descriptors");
    }
    pool
});

fn descriptor<M: Name>() -> MessageDescriptor {
    POOL.get_message_by_name(&M::full_name()).expect("every generated message is in the descriptors")
}

/// A message with all of its fields, unset ones included.
pub(super) fn value<M: Message + Name>(message: &M) -> Value {
    let dynamic = DynamicMessage::decode(descriptor::<M>(), message.encode_to_vec().as_slice())
        .expect("an encoded message decodes by its own descriptor");
    let options = SerializeOptions::new().skip_default_fields(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).expect("every message has a JSON form")
}

/// Several messages as an array.
pub(super) fn array<M: Message + Name>(messages: &[M]) -> Value {
    messages.iter().map(value).collect()
}

/// A verbose answer: the status and the engine's further information, whose values are JSON texts themselves.
pub(super) fn verbose<M: Message + Name>(status: &M, info: &BTreeMap<String, String>) -> Value {
    let info: serde_json::Map<String, Value> = info
        .iter()
        .map(|(key, text)| (key.clone(), serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))))
        .collect();
    serde_json::json!({ "status": value(status), "info": info })
}

/// Reads a message; field names in `snake_case` or `camelCase`, unknown ones refused.
pub(super) fn parse<M: Message + Name + Default>(text: &[u8]) -> Result<M, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let dynamic = DynamicMessage::deserialize(descriptor::<M>(), &mut deserializer)?;
    deserializer.end()?;
    dynamic.transcode_to().map_err(serde::de::Error::custom)
}

/// Writes JSON to standard output, indented.
pub(super) fn print(value: &Value) -> Result<(), Error> {
    super::print_line(&format!("{value:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PodSandboxConfig, PodSandboxState, PodSandboxStatus, Protocol};

    #[test]
    fn statuses_become_json_with_names_of_states() {
        let status = PodSandboxStatus {
            id: "abc".into(),
            state: PodSandboxState::SandboxNotready.into(),
            created_at: 5,
            ..Default::default()
        };
        let value = value(&status);
        assert_eq!(value["state"], "SANDBOX_NOTREADY");
        assert_eq!(value["createdAt"], "5");
        assert_eq!(value["runtimeHandler"], "");
    }

    #[test]
    fn pod_configurations_of_crictl_are_understood() {
        let text = br#"{"metadata": {"name": "a", "namespace": "default", "uid": "u", "attempt": 1},
            "log_directory": "/tmp", "port_mappings": [{"container_port": 80, "host_port": 8080, "protocol": 1}],
            "linux": {"security_context": {"namespace_options": {"network": 2}}}}"#;
        let config: PodSandboxConfig = parse(text).expect("parses");
        assert_eq!(config.log_directory, "/tmp");
        assert_eq!(config.port_mappings[0].protocol(), Protocol::Udp);
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let error = parse::<PodSandboxConfig>(br#"{"log_directry": "/tmp"}"#).expect_err("unknown field");
        assert!(error.to_string().contains("log_directry"), "{error}");
        assert!(parse::<PodSandboxConfig>(b"{} {}").is_err(), "two documents were taken for one");
    }

    #[test]
    fn information_of_the_engine_is_not_quoted_twice() {
        let info =
            BTreeMap::from([("info".to_owned(), r#"{"pid":1}"#.to_owned()), ("note".to_owned(), "x".to_owned())]);
        let value = verbose(&PodSandboxStatus::default(), &info);
        assert_eq!(value["info"]["info"]["pid"], 1);
        assert_eq!(value["info"]["note"], "x");
    }
}
