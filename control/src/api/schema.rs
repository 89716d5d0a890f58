//! Schemas of the types that a derive cannot describe: those written as text, and choices that hold
//! an address type of another crate.

use super::view::{AdapterLabel, PortLabel, RouteTarget};
use crate::model::{Name, Via};
use utoipa::openapi::schema::{Object, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// What is written as text.
fn text(description: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .examples([serde_json::json!(example)])
}

/// An object of one key, as serde writes a choice.
fn choice(key: &str, value: impl Into<RefOr<Schema>>) -> Object {
    ObjectBuilder::new().property(key, value).required(key).build()
}

/// A reference to a type that is described under its own name.
fn named<T: ToSchema>() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(T::name()))
}

impl ToSchema for Name {}
impl PartialSchema for Name {
    fn schema() -> RefOr<Schema> {
        text("Name of a guest, adapter, port, network or class.", "ct1")
            .pattern(Some("^[a-z0-9._-]{1,32}$"))
            .into()
    }
}

impl ToSchema for AdapterLabel {}
impl PartialSchema for AdapterLabel {
    fn schema() -> RefOr<Schema> {
        text("An adapter: GUEST/ADAPTER.", "ct1/eth0").into()
    }
}

impl ToSchema for PortLabel {}
impl PartialSchema for PortLabel {
    fn schema() -> RefOr<Schema> {
        let description = "A port: NAME of an uplink, host or shared port, GUEST/ADAPTER of a \
                           guest's own, network:NET of the server's on a network.";
        text(description, "up0").into()
    }
}

impl ToSchema for Via {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Name::name().into(), Name::schema()));
    }
}
impl PartialSchema for Via {
    fn schema() -> RefOr<Schema> {
        let next_hop = text("A guest's address or a neighbor's.", "203.0.113.11");
        OneOfBuilder::new()
            .description(Some("Where a route leads."))
            .item(choice("next-hop", next_hop))
            .item(choice("dev", named::<Name>()))
            .into()
    }
}

impl ToSchema for RouteTarget {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((PortLabel::name().into(), PortLabel::schema()));
        schemas.push((AdapterLabel::name().into(), AdapterLabel::schema()));
    }
}
impl PartialSchema for RouteTarget {
    fn schema() -> RefOr<Schema> {
        let words = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["local", "blackhole"]));
        OneOfBuilder::new()
            .description(Some("Where a route leads."))
            .item(choice("via", text("Next hop.", "203.0.113.11")))
            .item(choice("dev", named::<PortLabel>()))
            .item(choice("adapter", named::<AdapterLabel>()))
            .item(words)
            .into()
    }
}
