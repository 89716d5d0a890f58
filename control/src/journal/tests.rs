use super::*;
use crate::model::{Change, GuestKind};
use crate::registry::Identity;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn guest(name: &str) -> Change {
    Change::GuestAdd { guest: name.parse().unwrap(), kind: GuestKind::Container }
}

fn gone(name: &str) -> Change {
    Change::GuestDel { guest: name.parse().unwrap() }
}

fn registry() -> Registry {
    let mut registry = Registry::new(Identity { seed: 5 });
    registry.apply(&[guest("ct1")]).unwrap();
    registry
}

/// What a process that starts now would find.
fn found(dir: &TempDir) -> Result<Option<Stored>, StoreError> {
    Store::open(dir.path()).unwrap().load()
}

fn names(stored: Stored) -> Vec<String> {
    let registry = Registry::restore(stored.document, &[], &[]).unwrap();
    registry.guests().map(|guest| guest.name.to_string()).collect()
}

fn guests(dir: &TempDir) -> Vec<String> {
    names(found(dir).unwrap().expect("a state"))
}

/// The error of a start.
fn stops(dir: &TempDir) -> String {
    match found(dir) {
        Ok(stored) => panic!("it starts with {stored:?}"),
        Err(error) => error.to_string(),
    }
}

/// A directory whose snapshot has `ct1` and whose journal has these, a record each.
fn journaled(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let mut registry = registry();
    store.commit(&mut registry).unwrap();
    for name in names {
        registry.apply(&[guest(name)]).unwrap();
        store.commit(&mut registry).unwrap();
    }
    dir
}

/// Takes away the copies that a test has made many of.
fn sweep(dir: &TempDir) {
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy();
        if name.contains(".corrupt-") || name.contains(".cut-") {
            fs::remove_file(path).unwrap();
        }
    }
}

fn journal(dir: &TempDir) -> Vec<u8> {
    fs::read(dir.path().join(JOURNAL)).unwrap()
}

fn put_journal(dir: &TempDir, bytes: &[u8]) {
    fs::write(dir.path().join(JOURNAL), bytes).unwrap();
}

#[test]
fn what_was_committed_is_found_and_an_empty_directory_is_no_state() {
    let dir = tempfile::tempdir().unwrap();
    assert!(found(&dir).unwrap().is_none());
    let mut store = Store::open(dir.path()).unwrap();
    let mut registry = registry();
    store.commit(&mut registry).unwrap();
    assert!(!registry.is_unsettled());
    registry.apply(&[guest("ct2")]).unwrap();
    assert_eq!(names(store.load().unwrap().unwrap()), ["ct1"], "applied is not yet on disk");
    let snapshot = fs::read(dir.path().join(STATE)).unwrap();
    store.commit(&mut registry).unwrap();
    registry.apply(&[gone("ct1"), guest("ct3")]).unwrap();
    store.commit(&mut registry).unwrap();
    assert_eq!(fs::read(dir.path().join(STATE)).unwrap(), snapshot, "a change is only appended");
    drop(store);
    assert_eq!(guests(&dir), ["ct2", "ct3"]);
}

#[test]
fn a_start_goes_on_in_the_journal_that_it_finds() {
    let dir = journaled(&["ct2"]);
    for name in ["ct3", "ct4"] {
        let mut store = Store::open(dir.path()).unwrap();
        let stored = store.load().unwrap().unwrap();
        let mut registry = Registry::restore(stored.document, &[], &[]).unwrap();
        registry.apply(&[guest(name)]).unwrap();
        store.commit(&mut registry).unwrap();
    }
    assert_eq!(guests(&dir), ["ct1", "ct2", "ct3", "ct4"]);
    assert_eq!(journal(&dir).iter().filter(|byte| **byte == b'\n').count(), 1 + 3);
}

#[test]
fn a_journal_that_has_grown_is_folded_into_a_snapshot() {
    let dir = journaled(&[]);
    let mut store = Store::open(dir.path()).unwrap();
    let mut registry =
        Registry::restore(store.load().unwrap().unwrap().document, &[], &[]).unwrap();
    let mut most = 0;
    for turn in 0..400_u64 {
        registry.apply(&[guest("ct2")]).unwrap();
        let many: Vec<Change> = (0..50).map(|n| guest(&format!("crowd{n}"))).collect();
        registry.apply(&many).unwrap();
        store.commit(&mut registry).unwrap();
        let all: Vec<Change> = (0..50).map(|n| gone(&format!("crowd{n}"))).collect();
        registry.apply(&all).unwrap();
        registry.apply(&[gone("ct2"), guest(&format!("kept{turn}"))]).unwrap();
        store.commit(&mut registry).unwrap();
        most = most.max(journal(&dir).len() as u64);
    }
    assert!(most < FOLD_AT + (8 << 10), "{most}");
    assert!(store.generation > 3);
    drop(store);
    assert_eq!(guests(&dir).len(), 401);
}

#[test]
fn a_torn_or_damaged_last_record_is_cut_and_kept_aside() {
    let dir = journaled(&["ct2", "ct3"]);
    let whole = journal(&dir);
    let good = whole.iter().rposition(|byte| *byte == b'{').unwrap();
    let good = whole[..good].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in good..whole.len() {
        put_journal(&dir, &whole[..end]);
        let stored = found(&dir).unwrap().unwrap();
        assert_eq!(stored.notice.is_some(), end > good, "cut at {end}");
        assert_eq!(names(stored), ["ct1", "ct2"], "cut at {end}");
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[end] ^= 1 << bit;
            put_journal(&dir, &flipped);
            let stored = found(&dir).unwrap().unwrap();
            let notice = stored.notice.clone().expect("a notice");
            assert!(notice.contains("are cut and kept aside as"), "{notice}");
            assert_eq!(names(stored), ["ct1", "ct2"], "bit {bit} of {end}");
            sweep(&dir);
        }
    }
    put_journal(&dir, &whole[..whole.len() - 1]);
    for _ in 0..2 {
        found(&dir).unwrap();
    }
    assert_eq!(
        fs::read(dir.path().join("state.journal.cut-1")).unwrap(),
        &whole[good..whole.len() - 1]
    );
    assert!(!dir.path().join("state.journal.cut-2").exists(), "the same bytes are kept once");
    // Nothing is added behind what was cut.
    let mut store = Store::open(dir.path()).unwrap();
    let stored = store.load().unwrap().unwrap();
    let mut registry = Registry::restore(stored.document, &[], &[]).unwrap();
    registry.apply(&[guest("ct4")]).unwrap();
    store.commit(&mut registry).unwrap();
    drop(store);
    let stored = found(&dir).unwrap().unwrap();
    assert!(stored.notice.is_none());
    assert_eq!(names(stored), ["ct1", "ct2", "ct4"]);
}

#[test]
fn damage_before_a_whole_record_stops_the_start() {
    let dir = journaled(&["ct2", "ct3"]);
    let whole = journal(&dir);
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for at in 0..=last {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x04;
        put_journal(&dir, &flipped);
        let error = stops(&dir);
        assert!(
            error.contains("state.journal is damaged") && error.contains(".corrupt-"),
            "{error}"
        );
        assert_eq!(journal(&dir), flipped, "the next start must stop as well");
        sweep(&dir);
    }
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    put_journal(&dir, &[lines[0], lines[2]].concat());
    let error = stops(&dir);
    assert!(error.contains("record 1 is missing: 2 stands in its place"), "{error}");
    put_journal(&dir, b"");
    assert!(stops(&dir).contains("it is empty"));
}

#[test]
fn a_damaged_snapshot_stops_the_start_and_is_kept() {
    let dir = journaled(&["ct2"]);
    let state = dir.path().join(STATE);
    let whole = fs::read(&state).unwrap();
    for end in 0..whole.len() - 1 {
        fs::write(&state, &whole[..end]).unwrap();
        stops(&dir);
        let mut flipped = whole.clone();
        flipped[end] ^= 0x04;
        fs::write(&state, &flipped).unwrap();
        stops(&dir);
        sweep(&dir);
    }
    fs::write(&state, b"{").unwrap();
    for _ in 0..2 {
        let error = stops(&dir);
        assert!(error.contains("is damaged") && error.contains(".corrupt-1"), "{error}");
    }
    assert_eq!(fs::read(dir.path().join("state.json.corrupt-1")).unwrap(), b"{");
    fs::write(&state, b"{{").unwrap();
    assert!(stops(&dir).contains(".corrupt-2"));
}

/// Copies of the directory's files as each step of a new snapshot leaves them.
#[test]
fn a_crash_at_any_step_of_a_new_snapshot_loses_nothing() {
    let dir = journaled(&["ct2"]);
    let at = |name: &str| dir.path().join(name);
    let (old_state, old_journal) = (fs::read(at(STATE)).unwrap(), journal(&dir));
    let mut store = Store::open(dir.path()).unwrap();
    let mut registry =
        Registry::restore(store.load().unwrap().unwrap().document, &[], &[]).unwrap();
    registry.apply(&[gone("ct2"), guest("ct3")]).unwrap();
    store.save(&registry).unwrap();
    drop(store);
    let (new_state, new_journal) = (fs::read(at(STATE)).unwrap(), journal(&dir));
    for end in 0..=new_state.len() {
        fs::write(at(STATE), &old_state).unwrap();
        put_journal(&dir, &old_journal);
        fs::write(at(NEXT_STATE), &new_state[..end]).unwrap();
        assert_eq!(guests(&dir), ["ct1", "ct2"]);
    }
    for end in 0..=new_journal.len() {
        fs::write(at(NEXT_JOURNAL), &new_journal[..end]).unwrap();
        assert_eq!(guests(&dir), ["ct1", "ct2"]);
    }
    fs::rename(at(NEXT_STATE), at(STATE)).unwrap();
    assert_eq!(guests(&dir), ["ct1", "ct3"], "the old journal is in the new snapshot");
    // And what is accepted in that state of things is found.
    let mut store = Store::open(dir.path()).unwrap();
    let mut registry =
        Registry::restore(store.load().unwrap().unwrap().document, &[], &[]).unwrap();
    registry.apply(&[guest("ct4")]).unwrap();
    store.commit(&mut registry).unwrap();
    drop(store);
    assert_eq!(guests(&dir), ["ct1", "ct3", "ct4"]);
}

#[test]
fn a_full_disk_takes_the_change_back_and_the_files_stay() {
    let dir = journaled(&["ct2"]);
    let mut store = Store::open(dir.path()).unwrap();
    let mut registry =
        Registry::restore(store.load().unwrap().unwrap().document, &[], &[]).unwrap();
    // Writing to this device always finds the disk full, and cutting it back fails too.
    let path = dir.path().join(JOURNAL);
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    symlink("/dev/full", &path).unwrap();
    let read = record::read(&fs::read(&aside).unwrap()).unwrap();
    store.journal = Some(JournalFile::reopen(&path, &read).unwrap());
    symlink("/dev/full", dir.path().join(NEXT_STATE)).unwrap();
    let mut refuse = |store: &mut Store| {
        registry.apply(&[guest("ct3")]).unwrap();
        let refusal = store.commit(&mut registry).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Storage);
        assert!(refusal.message.contains("No space left"), "{refusal}");
        assert!(refusal.message.ends_with("nothing was changed"), "{refusal}");
        assert_eq!(registry.guests().count(), 2);
    };
    refuse(&mut store);
    assert!(store.journal.is_none(), "nothing may follow what may be left there");
    symlink("/dev/full", dir.path().join(NEXT_STATE)).unwrap();
    refuse(&mut store);
    fs::rename(&aside, &path).unwrap();
    drop(store);
    assert_eq!(guests(&dir), ["ct1", "ct2"]);
    // Once there is room again, it goes on.
    let mut store = Store::open(dir.path()).unwrap();
    store.load().unwrap();
    registry.apply(&[guest("ct4")]).unwrap();
    store.commit(&mut registry).unwrap();
    drop(store);
    assert_eq!(guests(&dir), ["ct1", "ct2", "ct4"]);
}

#[test]
fn a_journal_without_its_snapshot_is_not_guessed_at() {
    let dir = journaled(&["ct2"]);
    let first = fs::read(dir.path().join(STATE)).unwrap();
    fs::remove_file(dir.path().join(STATE)).unwrap();
    let error = stops(&dir);
    assert!(error.contains("there is no state.json"), "{error}");
    // A snapshot from an older backup, beside the journal of today.
    fs::write(dir.path().join(STATE), &first).unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let mut registry =
        Registry::restore(store.load().unwrap().unwrap().document, &[], &[]).unwrap();
    store.save(&registry).unwrap();
    registry.apply(&[guest("ct3")]).unwrap();
    store.commit(&mut registry).unwrap();
    drop(store);
    fs::write(dir.path().join(STATE), &first).unwrap();
    let error = stops(&dir);
    assert!(error.contains("state.json is of generation 1, and it continues 2"), "{error}");
    // An empty one says nothing, so nothing is lost with it.
    fs::remove_file(dir.path().join(STATE)).unwrap();
    put_journal(&dir, &record::head(7));
    assert!(found(&dir).unwrap().is_none());
}

#[test]
fn the_format_before_is_read_and_a_later_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let state = serde_json::value::to_raw_value(&registry()).unwrap();
    let sum = checksum(&[state.get().as_bytes()]);
    let old = format!("{{\"format\":1,\"checksum\":\"{sum:016x}\",\"state\":{state}}}\n");
    fs::write(dir.path().join(STATE), old).unwrap();
    assert_eq!(guests(&dir), ["ct1"]);
    let mut store = Store::open(dir.path()).unwrap();
    let stored = store.load().unwrap().unwrap();
    let mut registry = Registry::restore(stored.document, &[], &[]).unwrap();
    registry.apply(&[guest("ct2")]).unwrap();
    store.commit(&mut registry).unwrap();
    drop(store);
    assert!(fs::read_to_string(dir.path().join(STATE)).unwrap().starts_with("{\"format\":2,"));
    assert_eq!(guests(&dir), ["ct1", "ct2"]);
    fs::write(dir.path().join(STATE), br#"{"format":3,"checksum":"","state":{}}"#).unwrap();
    let error = stops(&dir);
    assert!(error.contains("has format 3, and this version reads 1 and 2"), "{error}");
}

#[test]
fn two_appliances_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    let process = format!("(process {})", std::process::id());
    assert!(error.contains("in use by another appliance") && error.contains(&process), "{error}");
    drop(first);
    Store::open(dir.path()).unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Store::open(&file).unwrap_err().to_string();
    assert!(error.contains("must be a directory"), "{error}");
}
