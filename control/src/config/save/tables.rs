//! The file's tables, changed in place: nothing here knows what a table is about.

use super::Sides;
use crate::config::fields::Field;
use toml_edit::{ArrayOfTables, InlineTable, Item, Table, TableLike, Value};

/// The tables of this name, as tables even where they are written as a list of inline ones.
fn tables<'a>(root: &'a mut Table, noun: &str) -> Result<Option<&'a mut ArrayOfTables>, String> {
    let Some((mut key, item)) = root.get_key_value_mut(noun) else { return Ok(None) };
    if !item.is_array_of_tables() {
        // The space before its `=`.
        key.leaf_decor_mut().clear();
        let plain = std::mem::take(item);
        *item = match plain.into_array_of_tables() {
            Ok(tables) => Item::ArrayOfTables(tables),
            Err(_) => {
                return Err(format!("{noun} is written in a form that can't be kept up to date"));
            }
        };
    }
    Ok(item.as_array_of_tables_mut())
}

/// Whether a table of this name is there.
pub(super) fn has(root: &mut Table, noun: &str, name: &str) -> bool {
    let is_called = |table: &Table| table.get("name").and_then(Item::as_str) == Some(name);
    tables(root, noun).ok().flatten().is_some_and(|tables| tables.iter().any(is_called))
}

/// Changes each table of this name.
pub(super) fn for_each(
    root: &mut Table,
    noun: &str,
    mut change: impl FnMut(&mut Table) -> Result<(), String>,
) -> Result<(), String> {
    tables(root, noun)?.into_iter().flat_map(ArrayOfTables::iter_mut).try_for_each(&mut change)
}

/// Brings a list of tables in line: those that run no longer go, keys that differ are set, new ones are
/// added behind the others.
pub(super) fn merge_all(
    root: &mut Table,
    noun: &'static str,
    all: &Sides,
    id_of: &dyn Fn(&Table) -> Option<String>,
) -> Result<(), String> {
    let mut there = Vec::new();
    if let Some(tables) = tables(root, noun)? {
        let runs = |table: &Table| {
            id_of(table).is_some_and(|id| all.get(&id).is_some_and(|(_, runs)| runs.is_some()))
        };
        tables.retain(runs);
        for table in tables.iter_mut() {
            let Some(id) = id_of(table) else { continue };
            if let Some((Some(file), Some(running))) = all.get(&id) {
                set_fields(table, file, running)?;
            }
            there.push(id);
        }
        if tables.is_empty() {
            root.remove(noun);
        }
    }
    for (id, (_, running)) in all {
        let Some(running) = running.as_ref().filter(|_| !there.contains(id)) else { continue };
        let mut table = Table::new();
        set_fields(&mut table, &[], running)?;
        table.decor_mut().set_prefix("\n");
        let list = root.entry(noun).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        if let Some(list) = list.as_array_of_tables_mut() {
            list.push(table);
        }
    }
    Ok(())
}

/// The same for a table that is there once.
pub(super) fn merge_one(
    root: &mut Table,
    noun: &str,
    file: Option<Vec<Field>>,
    running: Option<Vec<Field>>,
) -> Result<(), String> {
    let Some(running) = running else {
        root.remove(noun);
        return Ok(());
    };
    let item = root.entry(noun).or_insert_with(|| {
        let mut table = Table::new();
        table.decor_mut().set_prefix("\n");
        Item::Table(table)
    });
    match item.as_table_like_mut() {
        Some(table) => set_fields(table, &file.unwrap_or_default(), &running),
        None => Err(format!("{noun} is no table")),
    }
}

/// Sets the keys that differ, and takes out those that say by their absence what runs.
fn set_fields(table: &mut dyn TableLike, file: &[Field], running: &[Field]) -> Result<(), String> {
    for old in file.iter().filter(|old| !running.iter().any(|new| new.key == old.key)) {
        table.remove(old.key);
    }
    for new in running {
        let old = file.iter().find(|old| old.key == new.key);
        let is_free = new.key == "mac" && old.is_some_and(|old| old.is_default);
        if is_free || old.is_some_and(|old| old.value == new.value) {
            continue;
        }
        if new.is_default {
            table.remove(new.key);
            continue;
        }
        let value = |field: &Field| -> Result<Value, String> {
            field.value.parse().map_err(|error| format!("{} = {}: {error}", field.key, field.value))
        };
        set_value(table, new.key, old.map(value).transpose()?.as_ref(), value(new)?);
    }
    Ok(())
}

/// Sets one key. Of a table within, in whatever form it is written, only what differs from `old` is touched.
fn set_value(table: &mut dyn TableLike, key: &str, old: Option<&Value>, mut new: Value) {
    match (table.get_mut(key), &new) {
        (Some(there), Value::InlineTable(new)) if there.is_table_like() => {
            let old = old.and_then(Value::as_inline_table);
            if let Some(there) = there.as_table_like_mut() {
                set_within(there, old.unwrap_or(&InlineTable::new()), new);
            }
            // One line has no room for comments: its blanks and commas are put in order.
            if let Some(line) = there.as_inline_table_mut() {
                line.fmt();
            }
        }
        (Some(Item::Value(there)), _) => {
            // What is written behind the value stays there.
            *new.decor_mut() = there.decor().clone();
            *there = new;
        }
        _ => {
            // As part of a line it may have had blanks around it.
            new.decor_mut().clear();
            table.insert(key, Item::Value(new));
        }
    }
}

fn set_within(table: &mut dyn TableLike, old: &InlineTable, new: &InlineTable) {
    for (key, _) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
        table.remove(key);
    }
    let said = |value: &Value| value.to_string().trim().to_owned();
    for (key, value) in new {
        let before = old.get(key);
        if before.map(said) != Some(said(value)) {
            set_value(table, key, before, value.clone());
        }
    }
}
