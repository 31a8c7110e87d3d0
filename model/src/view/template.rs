//! Templates (meta group).

use crate::id::Name;
use crate::row;
use crate::table::{self, tag};
use crate::template::{Template, TemplateVersion, Templates};
use crate::txn::Read;

/// A template's head, and one version of its document with its number: the newest, or the one asked for.
pub fn template(rows: &impl Read, name: &Name, version: Option<u32>) -> Option<(Template, u32, TemplateVersion)> {
    let head: Template = row::read(rows, &table::template(name)).filter(|head: &Template| !head.deleted)?;
    let version = version.unwrap_or(head.version);
    let document = row::read(rows, &table::template_version(name, version))?;
    Some((head, version, document))
}

/// All templates by name, and the count of changes that they had.
pub fn templates(rows: &impl Read) -> (u64, Vec<Template>) {
    let prefix = table::key(tag::TEMPLATE, &[]);
    let mut found: Vec<Template> = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        found.extend(row::decode(value).filter(|head: &Template| !head.deleted));
        true
    });
    found.sort_by(|a, b| a.name.cmp(&b.name));
    (template_changes(rows), found)
}

/// How many changes the templates had.
pub fn template_changes(rows: &impl Read) -> u64 {
    row::read(rows, &table::key(tag::TEMPLATES, &[])).map_or(0, |all: Templates| all.changes)
}
