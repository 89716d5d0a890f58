//! The journal's form: lines of text, a head and one record for each accepted batch.
//!
//! ```text
//! guestway-journal FORMAT GENERATION CHECKSUM
//! CHECKSUM NUMBER [{"guest":{…}},{"no-adapter":{…}},…]
//! ```
//!
//! A checksum is 16 hexadecimal digits over the rest of its line, and in a record over the generation as
//! well: what another journal left behind on the disk is no record of this one. Numbers count from 1.
//!
//! Each record is on disk before the next is written, so a crash can only leave the last one torn. What
//! is wrong elsewhere was not done by a crash, and what comes after it was promised to somebody: that is
//! damage, and no reason to guess.

use super::{FORMAT, checksum};
use crate::registry::Put;
use serde::de::IgnoredAny;
use std::io;

const MAGIC: &str = "guestway-journal";
/// Digits of a checksum.
const DIGITS: usize = 16;

/// What a journal's bytes say.
#[derive(Debug)]
pub(super) struct Journaled {
    /// The snapshot that it continues.
    pub(super) generation: u64,
    /// The batches, in order.
    pub(super) batches: Vec<Vec<Put>>,
    /// Bytes up to the end of the last whole record.
    pub(super) whole: usize,
    /// What is wrong with the bytes after that, if there are any.
    pub(super) torn: Option<String>,
}

/// The first line of a journal that continues this snapshot.
pub(super) fn head(generation: u64) -> Vec<u8> {
    let text = format!("{MAGIC} {FORMAT} {generation}");
    format!("{text} {:016x}\n", checksum(&[text.as_bytes()])).into_bytes()
}

/// One batch as a line.
pub(super) fn record(generation: u64, number: u64, puts: &[Put]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(puts)?;
    let sum =
        checksum(&[record_salt(generation).as_bytes(), format!("{number} {json}").as_bytes()]);
    Ok(format!("{sum:016x} {number} {json}\n").into_bytes())
}

fn record_salt(generation: u64) -> String {
    format!("{FORMAT} {generation} ")
}

/// Reads a journal.
///
/// # Errors
/// It is damaged where a crash can't have damaged it.
pub(super) fn read(bytes: &[u8]) -> Result<Journaled, String> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().ok_or("it is empty")?;
    let generation = read_head(first).ok_or("its first line is not a journal's")?;
    let mut read = Journaled { generation, batches: Vec::new(), whole: first.len(), torn: None };
    while let Some(line) = lines.next() {
        let number = read.batches.len() as u64 + 1;
        let (found, json) = match read_record(generation, line) {
            Ok(record) => record,
            Err(why) if lines.any(|later| read_record(generation, later).is_ok()) => {
                let at = read.whole;
                return Err(format!(
                    "record {number} at byte {at}: {why}, with whole ones after it"
                ));
            }
            Err(_) if is_run_together(generation, line) => {
                return Err(format!("record {number} at byte {} has lost its end", read.whole));
            }
            Err(why) => {
                read.torn = Some(why);
                break;
            }
        };
        if found != number {
            return Err(format!("record {number} is missing: {found} stands in its place"));
        }
        let puts = serde_json::from_slice(json)
            .map_err(|error| format!("record {number} can't be read: {error}"))?;
        read.batches.push(puts);
        read.whole += line.len();
    }
    Ok(read)
}

fn read_head(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (text, sum) = line.rsplit_once(' ')?;
    let mut words = text.split(' ');
    let is_ours = words.next()? == MAGIC && words.next()? == FORMAT.to_string();
    let generation = words.next()?.parse().ok()?;
    (is_ours && sum == format!("{:016x}", checksum(&[text.as_bytes()]))).then_some(generation)
}

/// Whether more than one byte follows a whole record on its line: its end was there, and damaged since.
fn is_run_together(generation: u64, line: &[u8]) -> bool {
    let Some(start) = line.iter().position(|byte| *byte == b'[') else { return false };
    let json = line.get(start..).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_slice(json).into_iter::<IgnoredAny>();
    let end = values.next().and_then(Result::ok).map_or(0, |_| start + values.byte_offset());
    let whole = [line.get(..end).unwrap_or_default(), b"\n"].concat();
    line.len() > end + 1 && read_record(generation, &whole).is_ok()
}

/// A record's number and content.
fn read_record(generation: u64, line: &[u8]) -> Result<(u64, &[u8]), String> {
    let whole = line.strip_suffix(b"\n").ok_or("it has no end")?;
    let (sum, rest) = whole.split_at_checked(DIGITS).ok_or("it is too short")?;
    let rest = rest.strip_prefix(b" ").ok_or("it is not a record")?;
    let found = format!("{:016x}", checksum(&[record_salt(generation).as_bytes(), rest]));
    if found.as_bytes() != sum {
        return Err("its checksum is wrong".to_owned());
    }
    let space = rest.iter().position(|byte| *byte == b' ').ok_or("it is not a record")?;
    let (number, json) = rest.split_at(space);
    let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
    let json = json.get(1..).unwrap_or_default();
    Ok((number.ok_or("it has no number")?, json))
}
