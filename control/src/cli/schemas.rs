//! Which schema the JSON of each command is of: found by asking the table of commands what each orders, and the
//! API's document what is answered to that.

use super::grammar;
use super::order::Order;
use crate::api;
use serde_json::{Value, json};

/// The JSON of one form of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The command, arguments by their names in the usage.
    pub(super) form: String,
    /// The API's operation: method, in small letters, and path.
    pub(super) method: &'static str,
    pub(super) path: String,
    /// The schema's name.
    pub(super) schema: String,
    /// It is a list of such.
    pub(super) is_list: bool,
}

impl Answer {
    /// In words.
    pub(super) fn describe(&self) -> String {
        let list = if self.is_list { "A list of " } else { "" };
        format!("{list}{} ({} {})", self.schema, self.method.to_uppercase(), self.path)
    }
}

/// Of every form of a command that prints JSON.
pub(super) fn answers(document: &Value) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (form, order) in grammar::forms() {
        let Some((method, path)) = asked(&order) else { continue };
        answers.extend(answer(document, form, method, &path));
    }
    answers
}

/// The API's document, and at each operation the commands that print its answer.
pub(super) fn annotated() -> Value {
    let mut document = api::document();
    for answer in answers(&document) {
        let operation = document
            .get_mut("paths")
            .and_then(|paths| paths.get_mut(&answer.path))
            .and_then(|path| path.get_mut(answer.method))
            .and_then(Value::as_object_mut);
        let Some(operation) = operation else { continue };
        let forms = operation.entry("x-guestway-ctl").or_insert_with(|| json!([]));
        forms.as_array_mut().into_iter().for_each(|forms| forms.push(json!(answer.form)));
    }
    document
}

/// What is asked of the API for what an order prints; none where it prints nothing of the API's.
fn asked(order: &Order) -> Option<(&'static str, String)> {
    Some(match order {
        Order::Show(path, _) => ("get", path.clone()),
        Order::ShowRoutes => ("get", "/v1/routes".to_owned()),
        Order::ShowArp => ("get", "/v1/neighbors".to_owned()),
        Order::Events { .. } => ("get", "/v1/events".to_owned()),
        Order::Top { .. } => ("get", super::top::PATH.to_owned()),
        Order::Trace(_) => ("post", "/v1/trace".to_owned()),
        Order::Apply { .. } => ("post", "/v1/config/apply".to_owned()),
        Order::Configure(path) => ("post", path.clone()),
        _ => return None,
    })
}

fn answer(document: &Value, form: String, method: &'static str, path: &str) -> Option<Answer> {
    let path = path.split('?').next().unwrap_or(path);
    let paths = document.get("paths")?.as_object()?;
    let fitting =
        paths.iter().filter(|(template, item)| item.get(method).is_some() && fits(template, path));
    // A word before a parameter.
    let (template, item) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
    let content = item.get(method)?.get("responses")?.get("200")?.get("content")?;
    let schema = content.get("application/json")?.get("schema")?;
    let name = |schema: &Value| Some(schema.get("$ref")?.as_str()?.rsplit('/').next()?.to_owned());
    let (schema, is_list) = match schema.get("items") {
        Some(items) => (name(items)?, true),
        None => (name(schema)?, false),
    };
    Some(Answer { form, method, path: template.clone(), schema, is_list })
}

/// Whether a path is one of a template's, `{…}` in which stands for any segment.
fn fits(template: &str, path: &str) -> bool {
    let (templates, parts) = (template.split('/'), path.split('/'));
    templates.clone().count() == parts.clone().count()
        && templates
            .zip(parts)
            .all(|(template, part)| template.starts_with('{') || template == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_that_shows_has_a_schema() {
        let answers = answers(&api::document());
        let of = |form: &str| {
            let found = answers.iter().find(|answer| answer.form == form);
            found.unwrap_or_else(|| panic!("{form}: {answers:#?}")).describe()
        };
        assert_eq!(of("show guest"), "A list of Guest (GET /v1/guests)");
        assert_eq!(of("show guest all"), "A list of Guest (GET /v1/guests)");
        assert_eq!(of("show guest GUEST"), "Guest (GET /v1/guests/{guest})");
        assert_eq!(of("show route"), "RoutePage (GET /v1/routes)");
        assert_eq!(of("show config --diff"), "ConfigDiff (GET /v1/config/diff)");
        assert_eq!(of("config apply FILE dry-run"), "Configured (POST /v1/config/apply)");
        let shows: BTreeSet<String> = grammar::forms()
            .into_iter()
            .map(|(form, _)| form)
            .filter(|f| f.starts_with("show"))
            .collect();
        let missing: Vec<_> =
            shows.iter().filter(|form| answers.iter().all(|one| one.form != **form)).collect();
        assert!(shows.len() > 30 && missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_document_names_the_commands_of_an_operation() {
        let document = annotated();
        let forms = &document["paths"]["/v1/guests"]["get"]["x-guestway-ctl"];
        assert_eq!(*forms, json!(["show guest", "show guest all"]));
    }
}
