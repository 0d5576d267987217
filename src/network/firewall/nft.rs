//! The table in the kernel's encoding (`linux/netfilter/nf_tables.h`).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, Expressions, Hook as HookAttribute, HookNumber,
    Immediate, InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register,
    RuleAttribute, RuleMessage, SetAttribute, SetElementAttribute, SetElementList, SetElementMessage, SetFlags,
    SetMessage, TableAttribute, TableMessage, Verdict, VerdictAttribute,
};

use super::model::{Action, Chain, Element, Field, Hook, Match, Rule, Set, Table, Value};
use crate::network::family::Family;

/// One step of a transaction: a message and its netlink flags beyond those that every request has.
pub(super) type Change = (NfTablesMessage, u16);

/// An attribute list is at most 64 KiB long; this many of the largest elements stay below.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// Removes the table of that name, if it is there, and makes this one.
pub(super) fn rebuild(name: &str, table: &Table) -> Vec<Change> {
    let mut changes = remove(name);
    changes.push((NfTablesMessage::NewTable(table_message(name)), NLM_F_CREATE));
    changes.extend(table.sets.iter().map(|set| (new_set(name, *set), NLM_F_CREATE)));
    // All chains first: rules jump to them.
    changes.extend(table.chains.iter().map(|chain| (new_chain(name, chain), NLM_F_CREATE)));
    for chain in &table.chains {
        changes.extend(chain.rules.iter().map(|rule| (new_rule(name, chain.name, rule), APPEND)));
    }
    changes.extend(add_elements(name, &table.elements));
    changes
}

/// Rules come after those that are there.
const APPEND: u16 = NLM_F_CREATE | netlink_packet_core::NLM_F_APPEND;

/// Removes the table of that name. It is made before, so that removing it never fails.
pub(super) fn remove(name: &str) -> Vec<Change> {
    vec![
        (NfTablesMessage::NewTable(table_message(name)), NLM_F_CREATE),
        (NfTablesMessage::DeleteTable(table_message(name)), 0),
    ]
}

/// Asks for the table of that name.
pub(super) fn look_up(name: &str) -> NfTablesMessage {
    NfTablesMessage::GetTable(table_message(name))
}

/// Adds elements; those that are there already are no error.
pub(super) fn add_elements(table: &str, elements: &[Element]) -> Vec<Change> {
    let messages = element_messages(table, elements, true);
    messages.map(|message| (NfTablesMessage::NewSetElement(message), NLM_F_CREATE)).collect()
}

/// Deletes elements; one that is missing is an error.
pub(super) fn delete_elements(table: &str, elements: &[Element]) -> Vec<Change> {
    element_messages(table, elements, false).map(|message| (NfTablesMessage::DeleteSetElement(message), 0)).collect()
}

fn table_message(name: &str) -> TableMessage {
    TableMessage { attributes: vec![TableAttribute::Name(name.to_owned())] }
}

fn new_set(table: &str, set: Set) -> NfTablesMessage {
    let key: Vec<_> = set.key().iter().map(|field| field_type(*field, set.family)).collect();
    let mut flags = SetFlags::empty();
    let mut attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(set.name().to_owned()),
        SetAttribute::KeyType(concatenated_type(&key)),
        SetAttribute::KeyLen(key.iter().map(|field| field.padded()).sum()),
        // Names the set within the transaction; nothing here refers to it by that.
        SetAttribute::Id(1),
    ];
    if set.is_map() {
        let target = [address_type(set.family), PORT_TYPE];
        flags |= SetFlags::Map;
        attributes.push(SetAttribute::DataType(concatenated_type(&target)));
        attributes.push(SetAttribute::DataLen(target.iter().map(|field| field.padded()).sum()));
    }
    attributes.push(SetAttribute::Flags(flags));
    NfTablesMessage::NewSet(SetMessage { attributes })
}

/// A field's type: the number by which the `nft` program knows how to print it, and its length in bytes.
#[derive(Clone, Copy)]
struct FieldType {
    number: u32,
    length: u32,
}

impl FieldType {
    /// Fields of a key begin at multiples of four bytes, the size of a register.
    const fn padded(self) -> u32 {
        self.length.next_multiple_of(4)
    }
}

const PROTOCOL_TYPE: FieldType = FieldType { number: 12, length: 1 };
const PORT_TYPE: FieldType = FieldType { number: 13, length: 2 };

const fn address_type(family: Family) -> FieldType {
    match family {
        Family::V4 => FieldType { number: 7, length: 4 },
        Family::V6 => FieldType { number: 8, length: 16 },
    }
}

const fn field_type(field: Field, family: Family) -> FieldType {
    match field {
        Field::Source | Field::Destination => address_type(family),
        Field::Protocol => PROTOCOL_TYPE,
        Field::Port => PORT_TYPE,
    }
}

/// Types of fields that follow each other, six bits each.
fn concatenated_type(fields: &[FieldType]) -> u32 {
    fields.iter().fold(0, |number, field| number << 6 | field.number)
}

fn element_messages(table: &str, elements: &[Element], data: bool) -> impl Iterator<Item = SetElementMessage> {
    let mut sets: Vec<Set> = Vec::new();
    for element in elements {
        if !sets.contains(&element.set) {
            sets.push(element.set);
        }
    }
    sets.into_iter().flat_map(move |set| {
        let of_set: Vec<_> = elements.iter().filter(|element| element.set == set).collect();
        let list = |chunk: &[&Element]| SetElementMessage {
            attributes: vec![
                SetElementList::Table(table.to_owned()),
                SetElementList::Set(set.name().to_owned()),
                SetElementList::Elements(chunk.iter().map(|element| encode_element(element, data)).collect()),
            ],
        };
        of_set.chunks(ELEMENTS_PER_MESSAGE).map(list).collect::<Vec<_>>()
    })
}

fn encode_element(element: &Element, data: bool) -> ListAttribute<SetElementAttribute> {
    let key = element.key.iter().flat_map(|value| match value {
        Value::Address(ip) => octets(*ip),
        Value::Protocol(number) => vec![*number, 0, 0, 0],
        Value::Port(port) => padded_port(*port),
    });
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(key.collect()))];
    if let Some(target) = element.target.filter(|_| data) {
        attributes.push(SetElementAttribute::Data(DataAttribute::Value(encode_target(target))));
    }
    ListAttribute::Element(attributes)
}

fn encode_target(target: SocketAddr) -> Vec<u8> {
    [octets(target.ip()), padded_port(target.port())].concat()
}

fn padded_port(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![high, low, 0, 0]
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn new_chain(table: &str, chain: &Chain) -> NfTablesMessage {
    let mut attributes = vec![ChainAttribute::Table(table.to_owned()), ChainAttribute::Name(chain.name.to_owned())];
    if let Some(hook) = chain.hook {
        // Priorities are those that `nft` calls raw, dstnat and srcnat.
        let (kind, number, priority) = match hook {
            Hook::Raw => ("filter", InetHookNumber::PreRouting, -300),
            Hook::PreRouting => ("nat", InetHookNumber::PreRouting, -100),
            Hook::Output => ("nat", InetHookNumber::LocalOut, -100),
            Hook::PostRouting => ("nat", InetHookNumber::PostRouting, 100),
        };
        attributes.push(ChainAttribute::Hook(vec![
            HookAttribute::Number(HookNumber::Inet(number)),
            HookAttribute::Priority(i32::cast_unsigned(priority)),
        ]));
        attributes.push(ChainAttribute::Type(kind.to_owned()));
    }
    NfTablesMessage::NewChain(ChainMessage { attributes })
}

fn new_rule(table: &str, chain: &str, rule: &Rule) -> NfTablesMessage {
    let mut expressions: Vec<Expressions> = rule.matches.iter().flat_map(encode_match).collect();
    expressions.extend(encode_action(&rule.action));
    NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(table.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions.into_iter().map(Into::into).collect()),
        ],
    })
}

fn encode_match(condition: &Match) -> Vec<Expressions> {
    match condition {
        Match::FromGroup(group) => meta_equals(MetaKey::Iifgroup, &group.to_ne_bytes()),
        Match::ToGroup(group) => meta_equals(MetaKey::Oifgroup, &group.to_ne_bytes()),
        Match::Source(net) => in_subnet(Field::Source, *net),
        Match::Destination(net) => in_subnet(Field::Destination, *net),
        Match::DestinationIsLocal => {
            vec![fib(FIB_DESTINATION, FIB_RESULT_TYPE), compare(Operator::Equal, &RTN_LOCAL.to_ne_bytes())]
        }
        Match::SourceIsElsewhere => {
            vec![fib(FIB_SOURCE | FIB_IIF, FIB_RESULT_OIF), compare(Operator::Equal, &0u32.to_ne_bytes())]
        }
        Match::Translated => vec![
            connection_status(),
            masked(&IPS_DST_NAT.to_ne_bytes()),
            compare(Operator::NotEqual, &0u32.to_ne_bytes()),
        ],
        Match::In(set) => [load_key(*set), vec![look_up_in(*set, None)]].concat(),
    }
}

fn encode_action(action: &Action) -> Vec<Expressions> {
    match action {
        Action::Drop => vec![verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_DROP))])],
        Action::Return => vec![verdict(vec![VerdictAttribute::Code(Verdict::Return)])],
        Action::Jump(chain) => {
            vec![verdict(vec![VerdictAttribute::Code(Verdict::Jump), VerdictAttribute::Chain((*chain).to_owned())])]
        }
        Action::TranslateBy(map) => {
            let port_register = register(address_type(map.family).padded());
            let translate = nat(NAT_DESTINATION, map.family, Some(port_register), NAT_RANGE_ADDRESS | NAT_RANGE_PORT);
            [load_key(*map), vec![look_up_in(*map, Some(FIRST_REGISTER)), translate]].concat()
        }
        Action::SourceTo(ip) => {
            let load = Expressions::Immediate(vec![
                Immediate::DestinationRegister(FIRST_REGISTER),
                Immediate::Data(DataAttribute::Value(octets(*ip))),
            ]);
            vec![load, nat(NAT_SOURCE, Family::of(*ip), None, NAT_RANGE_ADDRESS)]
        }
        // Ports are drawn at random, because two packets that choose the same one at the same time lose one of them.
        Action::Masquerade => vec![other("masq", &[(1, NAT_RANGE_RANDOM_FULLY)])],
    }
}

const NF_DROP: u32 = 0;
const RTN_LOCAL: u32 = 2;
const IPS_DST_NAT: u32 = 1 << 5;
const FIB_RESULT_OIF: u32 = 1;
const FIB_RESULT_TYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 1 << 1;
const FIB_IIF: u32 = 1 << 3;
const NAT_SOURCE: u32 = 0;
const NAT_DESTINATION: u32 = 1;
const NAT_RANGE_ADDRESS: u32 = 1;
const NAT_RANGE_PORT: u32 = 1 << 1;
const NAT_RANGE_RANDOM_FULLY: u32 = 1 << 4;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// Where a comparison's left side and a key begin. A key goes on in the registers after it, four bytes each.
const FIRST_REGISTER: Register = Register::Reg32_00;

/// The register that holds the bytes from `offset` on.
fn register(offset: u32) -> Register {
    Register::from(u32::from(FIRST_REGISTER) + offset / 4)
}

/// Only packets of the family, then the fields of a set's key in the registers.
fn load_key(set: Set) -> Vec<Expressions> {
    let mut expressions = is_family(set.family);
    let mut offset = 0;
    for field in set.key() {
        expressions.push(load_field(*field, set.family, register(offset)));
        offset += field_type(*field, set.family).padded();
    }
    expressions
}

fn load_field(field: Field, family: Family, into: Register) -> Expressions {
    let length = field_type(field, family).length;
    let (base, offset) = match (field, family) {
        (Field::Source, Family::V4) => (NETWORK_HEADER, 12),
        (Field::Destination, Family::V4) => (NETWORK_HEADER, 16),
        (Field::Source, Family::V6) => (NETWORK_HEADER, 8),
        (Field::Destination, Family::V6) => (NETWORK_HEADER, 24),
        // TCP, UDP and SCTP have it in the same place.
        (Field::Port, _) => (TRANSPORT_HEADER, 2),
        (Field::Protocol, _) => return meta(MetaKey::L4Proto, into),
    };
    Expressions::Payload(vec![
        Payload::DestinationRegister(into),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

fn look_up_in(set: Set, target: Option<Register>) -> Expressions {
    let mut attributes = vec![Lookup::Set(set.name().to_owned()), Lookup::SourceRegister(FIRST_REGISTER)];
    attributes.extend(target.map(Lookup::DestinationRegister));
    Expressions::Lookup(attributes)
}

fn in_subnet(field: Field, net: IpNet) -> Vec<Expressions> {
    let family = Family::of(net.addr());
    let mut expressions = is_family(family);
    expressions.push(load_field(field, family, FIRST_REGISTER));
    expressions.push(masked(&octets(net.netmask())));
    expressions.push(compare(Operator::Equal, &octets(net.network())));
    expressions
}

fn is_family(family: Family) -> Vec<Expressions> {
    let number = match family {
        Family::V4 => NFPROTO_IPV4,
        Family::V6 => NFPROTO_IPV6,
    };
    meta_equals(MetaKey::Nfproto, &[number])
}

fn meta_equals(key: MetaKey, value: &[u8]) -> Vec<Expressions> {
    vec![meta(key, FIRST_REGISTER), compare(Operator::Equal, value)]
}

fn meta(key: MetaKey, into: Register) -> Expressions {
    Expressions::Meta(vec![Meta::DestinationRegister(into), Meta::Key(key)])
}

fn compare(operator: Operator, value: &[u8]) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(FIRST_REGISTER),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value.to_vec())),
    ])
}

/// Leaves in the first register the bits of `mask` only.
fn masked(mask: &[u8]) -> Expressions {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(FIRST_REGISTER),
        Bitwise::DestinationRegister(FIRST_REGISTER),
        Bitwise::Length(mask.len() as u32),
        Bitwise::Mask(DataAttribute::Value(mask.to_vec())),
        Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
    ])
}

fn verdict(attributes: Vec<VerdictAttribute>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(attributes)),
    ])
}

fn fib(flags: u32, result: u32) -> Expressions {
    other("fib", &[(1, FIRST_REGISTER.into()), (2, result), (3, flags)])
}

fn connection_status() -> Expressions {
    const STATUS: u32 = 2;
    other("ct", &[(1, FIRST_REGISTER.into()), (2, STATUS)])
}

/// Translation of an address that is in the first register, and of a port if it is in one.
fn nat(kind: u32, family: Family, port: Option<Register>, flags: u32) -> Expressions {
    let family = match family {
        Family::V4 => NFPROTO_IPV4,
        Family::V6 => NFPROTO_IPV6,
    };
    let mut attributes = vec![(1, kind), (2, family.into()), (3, FIRST_REGISTER.into()), (7, flags)];
    attributes.extend(port.map(|port| (5, port.into())));
    other("nat", &attributes)
}

/// An expression whose attributes are all big-endian numbers.
fn other(name: &str, attributes: &[(u16, u32)]) -> Expressions {
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes: attributes
            .iter()
            .map(|(kind, value)| DefaultNla::new(*kind, value.to_be_bytes().to_vec()))
            .collect(),
    }
}
