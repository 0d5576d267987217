//! The compiled CRI descriptors say exactly what the table of wire facts says: nothing more, nothing less.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// One row a fact, in the columns of `tests/data/cri-v1-wire.tsv`: message, field, number, label, type, oneof, note.
const TABLE: &str = include_str!("data/cri-v1-wire.tsv");

#[test]
fn every_message_field_enum_and_rpc_is_the_wires() {
    let expected: BTreeSet<String> = TABLE.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let compiled = facts();
    let missing: Vec<_> = expected.difference(&compiled).collect();
    let invented: Vec<_> = compiled.difference(&expected).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}\ninvented: {invented:#?}");
    assert_eq!(compiled.iter().filter(|row| row.starts_with("rpc ")).count(), 41);
}

fn facts() -> BTreeSet<String> {
    let descriptors = FileDescriptorSet::decode(berth::wire::DESCRIPTORS).expect("the descriptors decode");
    let mut rows = BTreeSet::new();
    for file in &descriptors.file {
        assert_eq!((file.package(), file.syntax()), ("runtime.v1", "proto3"));
        file.message_type.iter().for_each(|message| message_rows(message, "", &mut rows));
        file.enum_type.iter().for_each(|values| enum_rows(values, "", &mut rows));
        for service in &file.service {
            for rpc in &service.method {
                assert!(!rpc.client_streaming(), "{} takes one request", rpc.name());
                let label = if rpc.server_streaming() { "stream" } else { "" };
                let types = format!("{} -> {}", short(rpc.input_type()), short(rpc.output_type()));
                rows.insert(row(&format!("rpc {}", service.name()), rpc.name(), "", label, &types, "", ""));
            }
        }
    }
    rows
}

fn message_rows(message: &DescriptorProto, scope: &str, rows: &mut BTreeSet<String>) {
    let name = format!("{scope}{}", message.name());
    if message.field.is_empty() {
        rows.insert(row(&name, "-", "", "", "", "", "empty"));
    }
    for field in &message.field {
        let entry = message
            .nested_type
            .iter()
            .find(|nested| is_map_entry(nested) && field.type_name().ends_with(&format!(".{}", nested.name())));
        let (label, kind) = match entry {
            Some(entry) => ("", format!("map<{},{}>", type_of(&entry.field[0]), type_of(&entry.field[1]))),
            None if field.label() == Label::Repeated => ("repeated", type_of(field)),
            None => ("", type_of(field)),
        };
        let oneof = field.oneof_index.map_or("", |index| message.oneof_decl[index as usize].name());
        let note = if field.options.as_ref().is_some_and(|options| options.deprecated()) { "deprecated" } else { "" };
        rows.insert(row(&name, field.name(), &field.number().to_string(), label, &kind, oneof, note));
    }
    let scope = format!("{name}.");
    message
        .nested_type
        .iter()
        .filter(|nested| !is_map_entry(nested))
        .for_each(|nested| message_rows(nested, &scope, rows));
    message.enum_type.iter().for_each(|values| enum_rows(values, &scope, rows));
}

fn enum_rows(values: &EnumDescriptorProto, scope: &str, rows: &mut BTreeSet<String>) {
    let name = format!("enum {scope}{}", values.name());
    for value in &values.value {
        rows.insert(row(&name, value.name(), &value.number().to_string(), "", "", "", ""));
    }
}

fn row(message: &str, field: &str, number: &str, label: &str, kind: &str, oneof: &str, note: &str) -> String {
    [message, field, number, label, kind, oneof, note].join("\t")
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

/// A type's name as a `.proto` file spells it.
fn type_of(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn short(name: &str) -> String {
    name.trim_start_matches(".runtime.v1.").to_owned()
}
