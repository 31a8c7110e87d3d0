//! Meta group: templates. A put of other content makes the next version; numbers are never used twice.

use super::Answer;
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::limits;
use crate::reply::Reply;
use crate::row;
use crate::state::State;
use crate::table::{self, tag};
use crate::template::{self, Expected, PutTemplate, Template, TemplateVersion, Templates};

impl State<'_> {
    pub(super) fn put_template(&mut self, put: PutTemplate) -> Answer {
        let head: Option<Template> = self.read(&table::template(&put.name));
        let there = head.as_ref().filter(|head| !head.deleted);
        demand(&put.expected, &put.name, there)?;
        bounded(&put)?;
        if let Some(head) = there
            && head.etag == template::etag(head.version, &put.document)
        {
            return Ok(Reply::TemplatePut {
                version: head.version,
                created: false,
                changed: false,
                updated_at: head.updated_at,
            });
        }
        let created = there.is_none();
        let mut all = self.templates();
        if created && all.count >= limits::TEMPLATES_MAX {
            let detail = format!("there are {} templates, and no more may be made", limits::TEMPLATES_MAX);
            return Err(Refusal::new(Code::RateLimited, detail));
        }
        let version = head.as_ref().map_or(all.floor, |head| head.version).saturating_add(1);
        let oldest = version.checked_sub(limits::TEMPLATE_VERSIONS_MAX);
        let oldest = oldest.map(|oldest| table::template_version(&put.name, oldest));
        let freed = oldest.as_ref().and_then(|key| self.read::<TemplateVersion>(key));
        let freed = freed.map_or(0, |old| old.document.len() as u64);
        let bytes = (all.bytes + put.document.len() as u64).saturating_sub(freed);
        if bytes > limits::TEMPLATES_BYTES_MAX {
            let detail = format!("the templates' versions fill {} bytes; delete some", limits::TEMPLATES_BYTES_MAX);
            return Err(Refusal::new(Code::RateLimited, detail));
        }
        oldest.iter().for_each(|key| self.txn.delete(key));
        all.count += u64::from(created);
        all.deleted = all.deleted.saturating_sub(u64::from(created && head.is_some()));
        all.bytes = bytes;
        let updated_at = self.now();
        let head = Template {
            name: put.name,
            version,
            description: put.description,
            etag: template::etag(version, &put.document),
            updated_at,
            deleted: false,
        };
        let document = TemplateVersion { document: put.document, updated_at };
        self.put(table::template_version(&head.name, version), &document);
        self.put(table::template(&head.name), &head);
        self.store_templates(all);
        Ok(Reply::TemplatePut { version, created, changed: true, updated_at })
    }

    pub(super) fn delete_template(&mut self, name: &Name, expected: &Expected) -> Answer {
        let head: Option<Template> = self.read(&table::template(name)).filter(|head: &Template| !head.deleted);
        demand(expected, name, head.as_ref())?;
        let Some(mut head) = head else {
            return Err(Refusal::new(Code::NotFound, format!("there is no template {name}")));
        };
        let mut all = self.templates();
        let mut versions = Vec::new();
        let prefix = table::template_versions(name);
        row::walk(self.rows(), &prefix, &prefix, &mut |key, value| {
            let bytes = row::decode::<TemplateVersion>(value).map_or(0, |version| version.document.len());
            versions.push((*key, bytes as u64));
            true
        });
        for (key, bytes) in versions {
            self.txn.delete(&key);
            all.bytes = all.bytes.saturating_sub(bytes);
        }
        all.count = all.count.saturating_sub(1);
        if all.deleted >= limits::TEMPLATES_DELETED_MAX {
            self.forget_a_deleted(&mut all);
        }
        all.deleted += 1;
        head.deleted = true;
        head.description = String::new();
        head.etag = String::new();
        self.put(table::template(name), &head);
        self.store_templates(all);
        Ok(Reply::Done)
    }

    /// Makes room for one more deleted name. Its numbers are not used again all the same: new names begin
    /// behind them.
    fn forget_a_deleted(&mut self, all: &mut Templates) {
        let prefix = table::key(tag::TEMPLATE, &[]);
        let mut found = None;
        row::walk(self.rows(), &prefix, &prefix, &mut |key, value| {
            found = row::decode::<Template>(value).filter(|head| head.deleted).map(|head| (*key, head.version));
            found.is_none()
        });
        if let Some((key, version)) = found {
            self.txn.delete(&key);
            all.floor = all.floor.max(version);
            all.deleted = all.deleted.saturating_sub(1);
        }
    }

    fn templates(&self) -> Templates {
        self.read(&table::key(tag::TEMPLATES, &[])).unwrap_or_default()
    }

    fn store_templates(&mut self, mut all: Templates) {
        all.changes += 1;
        self.put(table::key(tag::TEMPLATES, &[]), &all);
    }
}

fn demand(expected: &Expected, name: &Name, there: Option<&Template>) -> Result<(), Refusal> {
    if expected.holds(there.map(|head| head.etag.as_str())) {
        return Ok(());
    }
    let detail = match there {
        Some(head) => format!("template {name} is at version {} now, with the ETag \"{}\"", head.version, head.etag),
        None => format!("there is no template {name}"),
    };
    Err(Refusal::new(Code::PreconditionFailed, detail))
}

fn bounded(put: &PutTemplate) -> Result<(), Refusal> {
    let bounds = [
        ("document", put.document.len(), limits::TEMPLATE_BYTES_MAX),
        ("description", put.description.len(), limits::TEMPLATE_DESCRIPTION_BYTES_MAX),
    ];
    for (what, bytes, max) in bounds {
        if bytes > max {
            let detail = format!("{what}: {bytes} bytes, at most {max} are taken");
            return Err(Refusal::new(Code::PayloadTooLarge, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::command::Command;
    use crate::template::{Expected, PutTemplate, Tags, etag};
    use crate::testing::{World, name, refusal};
    use crate::{Code, Reply, limits, view};

    fn put(of: &str, text: &str, expected: Expected) -> Command {
        let document = Bytes::copy_from_slice(text.as_bytes());
        Command::PutTemplate(PutTemplate { name: name(of), description: text.into(), document, expected })
    }

    fn plain(of: &str, text: &str) -> Command {
        put(of, text, Expected::default())
    }

    fn delete(of: &str) -> Command {
        Command::DeleteTemplate { name: name(of), expected: Expected::default() }
    }

    fn version(reply: &Reply) -> u32 {
        match reply {
            Reply::TemplatePut { version, .. } => *version,
            other => panic!("{other:?}"),
        }
    }

    fn matching(etag: String) -> Expected {
        Expected { matches: Some(Tags::These(vec![etag])), differs: None }
    }

    #[test]
    fn other_content_makes_the_next_version_and_the_same_does_not() {
        let mut world = World::new();
        let updated_at = world.at;
        let reply = |version, created, changed| Reply::TemplatePut { version, created, changed, updated_at };
        assert_eq!(world.ask(plain("t", "a")), reply(1, true, true));
        assert_eq!(world.ask(plain("t", "a")), reply(1, false, false));
        assert_eq!(world.ask(plain("t", "b")), reply(2, false, true));
        assert_eq!(world.ask(plain("t", "a")), reply(3, false, true), "going back is a change too");
        let of = |version| view::template(&world.rows, &name("t"), version).map(|(_, v, one)| (v, one.document));
        assert_eq!(of(None), Some((3, "a".into())));
        assert_eq!(of(Some(2)), Some((2, "b".into())));
        assert_eq!((of(Some(4)), of(Some(0))), (None, None));
        let (changes, heads) = view::templates(&world.rows);
        assert_eq!((changes, heads.len(), heads[0].description.as_str()), (3, 1, "a"));
    }

    #[test]
    fn a_write_under_a_condition_that_does_not_hold_changes_nothing() {
        let mut world = World::new();
        let any = || Expected { matches: Some(Tags::Any), differs: None };
        let refused = Some(Code::PreconditionFailed);
        assert_eq!(refusal(&world.ask(put("t", "a", any()))), refused, "there is nothing to match");
        assert_eq!(version(&world.ask(put("t", "a", Expected::absent()))), 1);
        assert_eq!(refusal(&world.ask(put("t", "a", Expected::absent()))), refused, "the same content too");
        assert_eq!(version(&world.ask(put("t", "b", matching(etag(1, b"a"))))), 2);
        assert_eq!(refusal(&world.ask(put("t", "c", matching(etag(1, b"a"))))), refused);
        let stale = Command::DeleteTemplate { name: name("t"), expected: matching(etag(1, b"a")) };
        assert_eq!(refusal(&world.ask(stale)), refused);
        let differs = Expected { matches: None, differs: Some(Tags::These(vec![etag(2, b"b")])) };
        assert_eq!(refusal(&world.ask(put("t", "c", differs))), refused);
        let fresh = Command::DeleteTemplate { name: name("t"), expected: matching(etag(2, b"b")) };
        assert_eq!(world.ask(fresh), Reply::Done);
        let gone = Command::DeleteTemplate { name: name("t"), expected: any() };
        assert_eq!(refusal(&world.ask(gone)), refused);
        assert_eq!(refusal(&world.ask(delete("t"))), Some(Code::NotFound));
    }

    #[test]
    fn numbers_go_on_when_a_name_comes_back() {
        let mut world = World::new();
        world.ask(plain("t", "a"));
        world.ask(plain("t", "b"));
        world.ask(delete("t"));
        assert_eq!(view::template(&world.rows, &name("t"), None), None);
        assert_eq!(view::template(&world.rows, &name("t"), Some(1)), None);
        assert_eq!(view::templates(&world.rows).1, []);
        let updated_at = world.at;
        let back = Reply::TemplatePut { version: 3, created: true, changed: true, updated_at };
        assert_eq!(world.ask(plain("t", "b")), back);
        assert_eq!(version(&world.ask(plain("u", "a"))), 1);
    }

    #[test]
    fn the_oldest_versions_make_room() {
        let mut world = World::new();
        let max = limits::TEMPLATE_VERSIONS_MAX;
        for number in 1..=max + 5 {
            assert_eq!(version(&world.ask(plain("t", &number.to_string()))), number);
        }
        let kept = |version| view::template(&world.rows, &name("t"), Some(version)).is_some();
        assert!(!kept(5) && kept(6) && kept(max + 5));
    }

    #[test]
    fn deleted_names_are_remembered_up_to_a_bound_and_no_number_comes_twice() {
        let mut world = World::new();
        for number in 0..=limits::TEMPLATES_DELETED_MAX {
            let of = format!("t{number}");
            // Not through `ask`, which checks all rows each time.
            for command in [plain(&of, "a"), plain(&of, "b"), delete(&of)] {
                world.quick(command);
            }
        }
        assert_eq!(version(&world.ask(plain("new", "a"))), 3, "one name is forgotten, which had two versions");
        assert_eq!(version(&world.ask(plain("t7", "a"))), 3);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let mut world = World::new();
        let document = Bytes::from(vec![b'x'; limits::TEMPLATE_BYTES_MAX + 1]);
        let large =
            PutTemplate { name: name("t"), description: String::new(), document, expected: Expected::default() };
        assert_eq!(refusal(&world.ask(Command::PutTemplate(large))), Some(Code::PayloadTooLarge));
        let long = "x".repeat(limits::TEMPLATE_DESCRIPTION_BYTES_MAX + 1);
        assert_eq!(refusal(&world.ask(plain("t", &long))), Some(Code::PayloadTooLarge));
        for number in 0..limits::TEMPLATES_MAX {
            world.quick(plain(&format!("t{number}"), "a"));
        }
        assert_eq!(refusal(&world.ask(plain("t", "a"))), Some(Code::RateLimited));
        assert_eq!(version(&world.ask(plain("t1", "b"))), 2);
    }
}
