//! What programs know of the API by name: paths, keys of what is sent and answered, words of choice. A schema follows
//! its type wherever that goes, so a renamed key is as well described as before; `keys.txt` says what it was called.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Set to write `keys.txt` anew, where a change is meant.
const WRITE: &str = "GUESTWAY_WRITE_KEYS";

/// Keys and words of choice of a schema that stands here.
fn collect(schema: &Value, here: &str, names: &mut BTreeSet<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let key = format!("{here}.{key}");
        collect(inner, &key, names);
        names.insert(key);
    }
    for word in schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        names.insert(format!("{here} = {word}"));
    }
    for choices in ["oneOf", "anyOf", "allOf"] {
        schema[choices].as_array().into_iter().flatten().for_each(|one| collect(one, here, names));
    }
    for inner in ["items", "additionalProperties"] {
        schema.get(inner).into_iter().for_each(|inner| collect(inner, here, names));
    }
}

fn names(document: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let name = format!("{} {path}", method.to_uppercase());
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                names.insert(format!("{name} {}", parameter["name"].as_str().unwrap_or_default()));
            }
            names.insert(name);
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        collect(schema, name, &mut names);
    }
    names
}

#[test]
fn nothing_has_another_name_than_programs_know() {
    let are = names(&super::document());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/keys.txt");
    if std::env::var_os(WRITE).is_some() {
        let lines: Vec<String> = are.iter().map(|name| format!("{name}\n")).collect();
        std::fs::write(&file, lines.concat()).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let known: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let (gone, new): (Vec<_>, Vec<_>) =
        (known.difference(&are).collect(), are.difference(&known).collect());
    let way = format!("where that is meant: {WRITE}=1 cargo pure");
    assert!(gone.is_empty() && new.is_empty(), "gone: {gone:#?}\nnew: {new:#?}\n{way}");
    assert!(known.len() > 400, "{} names", known.len());
}
