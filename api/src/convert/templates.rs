//! What a write of a template demands, and what comes back of one.

use bravo_model::template::{Expected, Tags, Template};

use crate::proto;

impl From<proto::Precondition> for Expected {
    fn from(precondition: proto::Precondition) -> Self {
        Self { matches: tags(precondition.if_match), differs: tags(precondition.if_none_match) }
    }
}

/// None where nothing is named; a star among them stands for any.
fn tags(tags: Vec<String>) -> Option<Tags> {
    if tags.iter().any(|tag| tag == "*") {
        return Some(Tags::Any);
    }
    (!tags.is_empty()).then_some(Tags::These(tags))
}

impl From<Template> for proto::TemplateSummary {
    fn from(template: Template) -> Self {
        Self {
            name: template.name.into(),
            version: template.version,
            description: template.description,
            etag: template.etag,
            updated_at_ms: template.updated_at,
        }
    }
}
