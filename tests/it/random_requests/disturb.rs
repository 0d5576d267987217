//! Requests of any kind with some of their fields set to what nobody would expect there.

use std::{collections::HashMap, sync::LazyLock};

use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(berth::wire::DESCRIPTORS).expect("descriptors"));

/// Texts without a meaning, or with one that is dangerous. No path in them leads to something on this host.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "A b",
    "a\0b",
    "a\nb",
    "..",
    "../../x",
    "/",
    "/proc/self",
    "/dev/null",
    "-1",
    "0",
    "18446744073709551616",
    "1e9",
    "ä€😀",
    "%s%n",
    "sha256:",
    "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    "0.0.0.0/0",
    "::",
    "RuntimeDefault",
    "ALL",
];

/// Numbers at the edges of types and of what the kernel takes.
const NUMBERS: &[i64] =
    &[0, 1, -1, 2, 7, 64, 1000, 1024, 65_535, 65_536, 1 << 31, (1 << 31) - 1, 1 << 40, i64::MAX, i64::MIN];

/// Where a random value could reach beyond the test: cgroups and directories are made where these say.
const UNTOUCHED: &[&str] = &["cgroup_parent", "log_directory"];

/// A source of random choices; the same ones for the same seed.
pub(super) struct Dice(TestRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % end as u64).expect("fits")
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A text that means nothing.
    pub(super) fn text(&mut self) -> String {
        match self.below(20) {
            0 => "x".repeat(5000),
            _ => (*self.pick(TEXTS)).to_owned(),
        }
    }

    /// The request, with up to three fields changed in half of the cases.
    pub(super) fn disturb<T: Message + Name + Default>(&mut self, request: T) -> T {
        if self.below(2) == 0 {
            return request;
        }
        let descriptor = POOL.get_message_by_name(&T::full_name()).expect("a message of the CRI");
        let mut message = DynamicMessage::decode(descriptor, request.encode_to_vec().as_slice()).expect("decodes");
        for _ in 0..=self.below(3) {
            self.change(&mut message);
        }
        T::decode(message.encode_to_vec().as_slice()).expect("is still such a message")
    }

    /// Changes one field of a message or of a message in it.
    fn change(&mut self, message: &mut DynamicMessage) {
        let fields: Vec<FieldDescriptor> =
            message.descriptor().fields().filter(|field| !UNTOUCHED.contains(&field.name())).collect();
        if fields.is_empty() {
            return;
        }
        let field = self.pick(&fields).clone();
        if self.below(10) == 0 {
            message.clear_field(&field);
        } else if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return };
            let (key, value) = (MapKey::String(self.text()), self.value(&entry.map_entry_value_field().kind()));
            message.set_field(&field, Value::Map(HashMap::from([(key, value)])));
        } else if field.is_list() {
            let items = (0..self.below(4)).map(|_| self.value(&field.kind())).collect();
            message.set_field(&field, Value::List(items));
        } else if let Value::Message(inner) = message.get_field_mut(&field) {
            self.change(inner);
        } else {
            let value = self.value(&field.kind());
            message.set_field(&field, value);
        }
    }

    fn value(&mut self, kind: &Kind) -> Value {
        let number = *self.pick(NUMBERS);
        match kind {
            Kind::Bool => Value::Bool(number & 1 == 1),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            // The lower half of the bits: numbers of any size and sign.
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(number.cast_unsigned()),
            Kind::Enum(_) => Value::EnumNumber(number as i32 % 10),
            Kind::Double => Value::F64(f64::NAN),
            Kind::Float => Value::F32(f32::NAN),
            Kind::Message(descriptor) => {
                let mut message = DynamicMessage::new(descriptor.clone());
                for _ in 0..self.below(4) {
                    self.change(&mut message);
                }
                Value::Message(message)
            }
        }
    }
}
