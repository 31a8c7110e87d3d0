//! The schemas of what is in JSON by a rule of its own, for the description of the interface.

use bravo_model::JobState;
use bravo_model::workflow::Status;
use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema as AnySchema};
use utoipa::{PartialSchema, ToSchema};

use crate::Timestamp;
use crate::json::{Group, RawJson, State, WorkflowState};

/// Declares how a type is described, and under which name.
macro_rules! described {
    ($($type:ty as $name:literal => $schema:expr;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                RefOr::T($schema)
            }
        }

        impl ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    )+};
}

described! {
    RawJson as "Json" => {
        let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
        any.description(Some("Any JSON; it is given back as it was sent.")).into()
    };
    Timestamp as "Time" => {
        let time = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        time.description(Some("RFC 3339, in UTC.")).into()
    };
    State as "JobState" => words(JobState::ALL.map(JobState::as_str));
    WorkflowState as "WorkflowState" => words(Status::ALL.map(Status::as_str));
    Group as "Group" => {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        let any: AnySchema = AnyOfBuilder::new()
            .item(number.description(Some("A job partition.")))
            .item(text().enum_values(Some(["meta"])))
            .into();
        any
    };
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn words<const N: usize>(words: [&'static str; N]) -> Schema {
    text().enum_values(Some(words)).into()
}
