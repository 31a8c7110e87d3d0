//! API keys (meta): made, revoked, and when each was used last.

use super::{Answer, invalid};
use crate::Time;
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::key::{ApiKey, NewKey};
use crate::limits;
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, tag};

impl State<'_> {
    pub(super) fn make_key(&mut self, new: NewKey) -> Answer {
        new.validate()?;
        let now = self.now();
        if new.expires_at.is_some_and(|end| end <= now) {
            return invalid("expires_at: lies in the past");
        }
        let place = table::api_key(&new.id);
        if self.txn.contains(&place) {
            return Err(Refusal::new(Code::Conflict, format!("there is a key {} already", new.id)));
        }
        let count: u64 = self.read(&table::key(tag::API_KEYS, &[])).unwrap_or(0);
        if count >= limits::KEYS_MAX {
            let detail = format!("there are {count} API keys, and no more may be made");
            return Err(Refusal::retry_after(Code::RateLimited, detail, 60_000));
        }
        let NewKey { id, name, project, roles, hash, created_by, expires_at } = new;
        let key = ApiKey { id, name, project, roles, hash, created_at: now, created_by, expires_at, used_at: None };
        self.put(place, &key);
        self.count_row(tag::API_KEYS, true);
        Ok(Reply::KeyMade { id: key.id, at: now })
    }

    /// Whoever is bound to a project sees the keys of that project alone.
    pub(super) fn revoke_key(&mut self, id: &Name) -> Answer {
        let place = table::api_key(id);
        let there = self.read::<ApiKey>(&place).filter(|key| self.may_touch_all_of(key.project.as_ref()));
        if there.is_none() {
            return Err(Refusal::new(Code::NotFound, format!("there is no key {id}")));
        }
        self.txn.delete(&place);
        self.count_row(tag::API_KEYS, false);
        Ok(Reply::Done)
    }

    /// Keys that are gone meanwhile are passed over.
    pub(super) fn use_keys(&mut self, uses: Vec<(Name, Time)>) -> Answer {
        if uses.len() > limits::KEY_USES_MAX {
            return invalid(format!("at most {} uses a command", limits::KEY_USES_MAX));
        }
        for (id, at) in uses {
            let place = table::api_key(&id);
            if let Some(key) = self.read::<ApiKey>(&place)
                && key.used_at < Some(at)
            {
                self.put(place, &ApiKey { used_at: Some(at), ..key });
            }
        }
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Command, Envelope};
    use crate::key::{NewKey, Role, Roles, SecretHash};
    use crate::testing::{World, name, refusal};
    use crate::{Code, Reply, view};

    fn new(id: &str, project: Option<&str>) -> NewKey {
        NewKey {
            id: name(id),
            name: "ci".into(),
            project: project.map(name),
            roles: Roles::of(&[Role::Read]),
            hash: SecretHash([1; 32]),
            created_by: "anonymous".into(),
            expires_at: None,
        }
    }

    #[test]
    fn a_key_is_there_from_its_making_to_its_revocation() {
        let mut world = World::new();
        let made = world.ask(Command::MakeKey(Box::new(new("a", None))));
        assert_eq!(made, Reply::KeyMade { id: name("a"), at: world.at });
        assert_eq!(refusal(&world.ask(Command::MakeKey(Box::new(new("a", None))))), Some(Code::Conflict));
        world.ask(Command::UseKeys(vec![(name("a"), 7), (name("gone"), 8)]));
        world.ask(Command::UseKeys(vec![(name("a"), 5)]));
        assert_eq!(view::key(&world.rows, &name("a")).unwrap().used_at, Some(7), "the latest use counts");
        assert_eq!(world.ask(Command::RevokeKey(name("a"))), Reply::Done);
        assert_eq!(refusal(&world.ask(Command::RevokeKey(name("a")))), Some(Code::NotFound));
        assert!(view::keys(&world.rows).is_empty());
    }

    #[test]
    fn a_key_that_would_never_hold_is_not_made() {
        let mut world = World::new();
        let late = NewKey { expires_at: Some(world.at), ..new("a", None) };
        let unnamed = NewKey { name: String::new(), ..new("a", None) };
        for bad in [late, unnamed] {
            assert_eq!(refusal(&world.ask(Command::MakeKey(Box::new(bad)))), Some(Code::InvalidArgument));
        }
    }

    #[test]
    fn whoever_is_bound_to_a_project_revokes_its_keys_alone() {
        let mut world = World::new();
        for (id, project) in [("own", Some("p")), ("other", Some("q")), ("all", None)] {
            world.ask(Command::MakeKey(Box::new(new(id, project))));
        }
        let mut revoke = |id: &str| {
            let envelope = Envelope { scope: Some(name("p")), ..Envelope::plain(Command::RevokeKey(name(id))) };
            refusal(&world.run(&envelope).reply)
        };
        assert_eq!([revoke("other"), revoke("all"), revoke("own")], [Some(Code::NotFound), Some(Code::NotFound), None]);
    }
}
