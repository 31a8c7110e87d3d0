//! Meta group: definitions of queues. Each change gets a version; the leader pushes it to the partitions.

use super::{Answer, invalid};
use crate::code::{Code, Refusal};
use crate::command::QueueDefinition;
use crate::id::Name;
use crate::limits;
use crate::queue::QueueConfig;
use crate::reply::{Effect, Reply};
use crate::row;
use crate::state::State;
use crate::table::{self, tag};
use crate::webhook;

impl State<'_> {
    pub(super) fn put_queue(&mut self, name: Name, config: QueueConfig, effects: &mut Vec<Effect>) -> Answer {
        config.validate()?;
        webhook::refuse_queue("queue", &name)?;
        let mut definition = self.definition_or_new(name)?;
        definition.config = config;
        Ok(self.store_definition(definition, effects))
    }

    pub(super) fn switch_queue(
        &mut self,
        name: Name,
        paused: Option<bool>,
        draining: Option<bool>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        if paused.is_none() && draining.is_none() {
            return invalid("neither paused nor draining is to change");
        }
        let mut definition = self.definition_or_new(name)?;
        definition.paused = paused.unwrap_or(definition.paused);
        definition.draining = draining.unwrap_or(definition.draining);
        Ok(self.store_definition(definition, effects))
    }

    pub(super) fn delete_queue(&mut self, name: &Name, effects: &mut Vec<Effect>) -> Answer {
        let key = definition_key(name);
        if !self.txn.contains(&key) {
            return Err(Refusal::new(Code::NotFound, format!("no queue {name} is defined")));
        }
        self.txn.delete(&key);
        self.meta.definitions = self.meta.definitions.saturating_sub(1);
        self.meta.version += 1;
        effects.push(Effect::DefinitionsChanged);
        Ok(Reply::Version(self.meta.version))
    }

    fn definition_or_new(&mut self, name: Name) -> Result<QueueDefinition, Refusal> {
        if let Some(definition) = self.read(&definition_key(&name)) {
            return Ok(definition);
        }
        if self.meta.definitions >= limits::QUEUES_MAX {
            let detail = format!("there are {} queues, and no more may be made", limits::QUEUES_MAX);
            return Err(Refusal::new(Code::RateLimited, detail));
        }
        Ok(row::undefined(name))
    }

    fn store_definition(&mut self, mut definition: QueueDefinition, effects: &mut Vec<Effect>) -> Reply {
        if definition.version == 0 {
            self.meta.definitions += 1;
        }
        self.meta.version += 1;
        definition.version = self.meta.version;
        self.put(definition_key(&definition.name), &definition);
        effects.push(Effect::DefinitionsChanged);
        Reply::Version(definition.version)
    }
}

fn definition_key(name: &Name) -> crate::txn::Key {
    table::by_hash(tag::DEFINITION, &table::h16(&[name.as_str()]))
}

#[cfg(test)]
mod tests {
    use crate::command::Command;
    use crate::testing::{World, name, refusal};
    use crate::{Code, Effect, Envelope, QueueConfig, Reply, view};

    #[test]
    fn versions_grow_with_every_change_and_switches_outlive_a_put() {
        let mut world = World::new();
        let put = || Command::PutQueue { name: name("q"), config: QueueConfig::default() };
        let pause = Command::SwitchQueue { name: name("q"), paused: Some(true), draining: None };
        let outcome = world.run(&Envelope::plain(put()));
        assert_eq!((outcome.reply, outcome.effects), (Reply::Version(1), vec![Effect::DefinitionsChanged]));
        assert_eq!(world.ask(pause), Reply::Version(2));
        assert_eq!(world.ask(put()), Reply::Version(3));
        let definition = view::definition(&world.rows, &name("q")).expect("it is defined");
        assert_eq!((definition.version, definition.paused), (3, true));
        assert_eq!(world.ask(Command::DeleteQueue(name("q"))), Reply::Version(4));
        assert_eq!(refusal(&world.ask(Command::DeleteQueue(name("q")))), Some(Code::NotFound));
        assert_eq!(view::definitions(&world.rows), []);
    }

    #[test]
    fn a_bad_configuration_is_refused() {
        let mut world = World::new();
        let config = QueueConfig { max_ready: 0, ..QueueConfig::default() };
        let reply = world.ask(Command::PutQueue { name: name("q"), config });
        assert_eq!(refusal(&reply), Some(Code::InvalidArgument));
    }
}
