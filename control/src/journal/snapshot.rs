//! The snapshot's form: one JSON object with the whole registry, its format, and a checksum over both.
//!
//! Format 1 was written whole for every change and knew no journal; it is read as a snapshot that no
//! journal continues. Format 2 carries the generation that says which journal does.

use super::{FORMAT, OLDEST, checksum};
use crate::registry::{Document, Registry};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::{self, Write};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    format: u32,
    #[serde(default)]
    generation: u64,
    checksum: String,
    #[serde(borrow)]
    state: &'a RawValue,
}

impl Envelope<'_> {
    fn sum(&self) -> String {
        let state = self.state.get().as_bytes();
        let sum = match self.format {
            OLDEST => checksum(&[state]),
            format => checksum(&[format!("{format} {} ", self.generation).as_bytes(), state]),
        };
        format!("{sum:016x}")
    }
}

/// Why bytes are no snapshot.
pub(super) enum Undecoded {
    /// Of a format that this version does not read.
    Format(u32),
    /// Damaged.
    Damaged(String),
}

pub(super) fn encode(registry: &Registry, generation: u64) -> io::Result<Vec<u8>> {
    let state = serde_json::value::to_raw_value(registry)?;
    let mut out = Vec::with_capacity(state.get().len() + 128);
    let mut envelope =
        Envelope { format: FORMAT, generation, checksum: String::new(), state: &state };
    envelope.checksum = envelope.sum();
    serde_json::to_writer(&mut out, &envelope)?;
    out.write_all(b"\n")?;
    Ok(out)
}

/// The state and its generation.
pub(super) fn decode(bytes: &[u8]) -> Result<(Document, u64), Undecoded> {
    let damaged = |error: serde_json::Error| Undecoded::Damaged(error.to_string());
    if bytes.is_empty() {
        return Err(Undecoded::Damaged("it is empty".to_owned()));
    }
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
    if !(OLDEST..=FORMAT).contains(&envelope.format) {
        return Err(Undecoded::Format(envelope.format));
    }
    let found = envelope.sum();
    if found != envelope.checksum {
        let why = format!("its checksum is {found} and should be {}", envelope.checksum);
        return Err(Undecoded::Damaged(why));
    }
    let document = serde_json::from_str(envelope.state.get()).map_err(damaged)?;
    Ok((document, envelope.generation))
}
