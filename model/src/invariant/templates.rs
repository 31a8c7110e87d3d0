//! Invariants of templates.

use std::collections::BTreeSet;

use super::{Census, differences};
use crate::limits;
use crate::row;
use crate::table::{self, tag};
use crate::template::{self, Template, TemplateVersion, Templates};

/// What is counted is there; a template has its newest version, which hashes to its tag, and no version that
/// is too old; a deleted one has none.
pub(super) fn templates_match(census: &Census) -> Vec<String> {
    let heads: Vec<Template> = census.table(tag::TEMPLATE).values().filter_map(row::decode).collect();
    let all: Templates = census.table(tag::TEMPLATES).values().next().and_then(row::decode).unwrap_or_default();
    let mut wrong = Vec::new();
    let mut found = Templates { floor: all.floor, changes: all.changes, ..Templates::default() };
    let versions = census.table(tag::TEMPLATE_VERSION);
    let mut owned = BTreeSet::new();
    for head in &heads {
        *if head.deleted { &mut found.deleted } else { &mut found.count } += 1;
        if head.deleted {
            continue;
        }
        let first = head.version.saturating_sub(limits::TEMPLATE_VERSIONS_MAX - 1);
        let own = (first..=head.version).map(|version| table::template_version(&head.name, version));
        owned.extend(own.filter(|key| versions.contains_key(key)));
        let newest = versions.get(&table::template_version(&head.name, head.version));
        let newest: Option<TemplateVersion> = newest.and_then(row::decode);
        if newest.is_none_or(|newest| template::etag(head.version, &newest.document) != head.etag) {
            wrong.push(format!("template {} has no version {} with its tag", head.name, head.version));
        }
    }
    let bytes = |value| row::decode::<TemplateVersion>(value).map_or(0, |version| version.document.len() as u64);
    found.bytes = versions.values().map(bytes).sum();
    if found != all {
        wrong.push(format!("counted {all:?}, found {found:?}"));
    }
    wrong.extend(differences("TEMPLATE_VERSION", &owned, &census.keys(tag::TEMPLATE_VERSION)));
    wrong
}
