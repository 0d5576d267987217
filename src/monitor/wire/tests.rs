//! The wire of this program beside that of others: `tests/data/monitor-protocol-1` was recorded when version 1 was new.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;

const REQUESTS: &str = include_str!("../../../tests/data/monitor-protocol-1/requests.jsonl");
const REPLIES: &str = include_str!("../../../tests/data/monitor-protocol-1/replies.jsonl");
const NOTICES: &str = include_str!("../../../tests/data/monitor-protocol-1/notices.jsonl");

/// What this program would have sent instead of a recorded message.
fn rewritten<T: Serialize + DeserializeOwned>(message: &Value) -> Value {
    let text = message.to_string();
    let understood: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    serde_json::to_value(understood).expect("written")
}

/// Whether a message says all that the recorded one does: a peer of then finds what it needs.
fn has_all(message: &Value, recorded: &Value) -> bool {
    match (message, recorded) {
        (Value::Object(message), Value::Object(recorded)) => {
            recorded.iter().all(|(key, value)| message.get(key).is_some_and(|present| has_all(present, value)))
        }
        (Value::Array(message), Value::Array(recorded)) => {
            message.len() == recorded.len() && message.iter().zip(recorded).all(|(one, other)| has_all(one, other))
        }
        (message, recorded) => message == recorded,
    }
}

/// The same from a newer peer, which says more. (What has one key may be a choice, and those have one.)
fn with_more(message: &Value) -> Value {
    match message {
        Value::Array(values) => values.iter().map(with_more).collect(),
        Value::Object(fields) => {
            let mut fields: serde_json::Map<_, _> =
                fields.iter().map(|(key, value)| (key.clone(), with_more(value))).collect();
            if fields.len() > 1 {
                fields.insert("a_field_of_a_newer_version".to_owned(), json!("new"));
            }
            Value::Object(fields)
        }
        other => other.clone(),
    }
}

fn check<T: Serialize + DeserializeOwned>(recorded: &str, least: usize) {
    let messages: Vec<Value> = recorded.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(messages.len() >= least, "only {} messages", messages.len());
    for message in &messages {
        let now = rewritten::<T>(message);
        assert!(has_all(&now, message), "{message}\nhas become {now}");
        let newer = rewritten::<T>(&with_more(message));
        assert!(has_all(&newer, message), "{message}\nis understood of a newer peer as {newer}");
    }
}

#[test]
fn messages_of_version_1_are_understood_and_still_sent() {
    check::<Request<'static>>(REQUESTS, 15);
    check::<Result<Reply, Failure>>(REPLIES, 20);
    check::<Notice>(NOTICES, 4);
}

#[test]
fn a_missing_piece_is_noticed() {
    let recorded = json!({"Hello": {"protocol": 1, "pid": 6}});
    assert!(has_all(&json!({"Hello": {"protocol": 1, "pid": 6, "new": [1]}}), &recorded));
    assert!(!has_all(&json!({"Hello": {"protocol": 1, "process": 6}}), &recorded));
}

#[test]
fn missing_fields_have_defaults() {
    let io: ContainerIo = serde_json::from_str(r#"{"stdin":true}"#).expect("older");
    assert_eq!(io, ContainerIo { log: None, stdin: true, stdin_once: false });
    let hello: Hello = serde_json::from_str(r#"{"protocol":9,"pid":4}"#).expect("older");
    assert_eq!((hello.protocol, hello.init, hello.containers.len()), (9, None, 0));
}

#[test]
fn an_unknown_request_is_no_message() {
    assert!(serde_json::from_str::<Request<'_>>(r#"{"Teleport":{"to":"mars"}}"#).is_err());
}
