//! A finished filter.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::sys::seccomp::Instruction;

/// A classic BPF program and the flags to install it with; in JSON, the instructions are one base64 string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// The instructions, ready for [`crate::sys::seccomp::install`].
    #[serde(serialize_with = "to_text", deserialize_with = "from_text")]
    pub instructions: Vec<Instruction>,
}

fn to_text<S: Serializer>(instructions: &[Instruction], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(instructions.len() * 8);
    for instruction in instructions {
        bytes.extend_from_slice(&instruction.code.to_le_bytes());
        bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_le_bytes());
    }
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Instruction>, D::Error> {
    let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
    let bytes = BASE64_STANDARD.decode(text.as_bytes()).map_err(de::Error::custom)?;
    let (chunks, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(de::Error::custom("not a whole number of instructions"));
    }
    Ok(chunks
        .iter()
        .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| Instruction {
            code: u16::from_le_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_le_bytes([k0, k1, k2, k3]),
        })
        .collect())
}
