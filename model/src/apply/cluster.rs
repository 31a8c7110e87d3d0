//! Meta group: nodes' addresses, and what is fixed when the cluster is formed.

use super::Answer;
use crate::code::{Code, Refusal};
use crate::command::NodeRecord;
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, tag};

impl State<'_> {
    pub(super) fn put_node(&mut self, node: &NodeRecord) -> Reply {
        self.put(table::by_seq(tag::NODE, node.id), node);
        Reply::Done
    }

    pub(super) fn delete_node(&mut self, id: u64) -> Answer {
        let key = table::by_seq(tag::NODE, id);
        if !self.txn.contains(&key) {
            return Err(Refusal::new(Code::NotFound, format!("there is no node {id}")));
        }
        self.txn.delete(&key);
        Ok(Reply::Done)
    }

    /// Every founding node may say it; the first one counts, and the others must agree.
    pub(super) fn form_cluster(&mut self, name: String, partitions: u16) -> Answer {
        let key = table::key(tag::CLUSTER, &[]);
        match self.read::<(String, u16)>(&key) {
            Some(formed) if formed == (name.clone(), partitions) => Ok(Reply::Done),
            Some((name, partitions)) => {
                let detail = format!("the cluster was formed as {name} with {partitions} partitions");
                Err(Refusal::new(Code::Conflict, detail))
            }
            None => {
                self.put(key, &(name, partitions));
                Ok(Reply::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Command, NodeRecord};
    use crate::testing::{World, refusal};
    use crate::{Code, Reply, view};

    #[test]
    fn a_cluster_is_formed_once_and_founders_must_agree() {
        let mut world = World::new();
        let form = |partitions| Command::FormCluster { name: "bravo".into(), partitions };
        assert_eq!(world.ask(form(8)), Reply::Done);
        assert_eq!(world.ask(form(8)), Reply::Done);
        assert_eq!(refusal(&world.ask(form(9))), Some(Code::Conflict));
        assert_eq!(view::formed(&world.rows), Some(("bravo".into(), 8)));
    }

    #[test]
    fn nodes_come_and_go() {
        let mut world = World::new();
        let node = |id| NodeRecord {
            id,
            peer: "a:1".into(),
            public: "a:2".into(),
            version: "1".into(),
            incarnation: "i".into(),
        };
        world.ask(Command::PutNode(node(2)));
        world.ask(Command::PutNode(node(1)));
        assert_eq!(view::nodes(&world.rows), [node(1), node(2)]);
        assert_eq!(world.ask(Command::DeleteNode(2)), Reply::Done);
        assert_eq!(refusal(&world.ask(Command::DeleteNode(2))), Some(Code::NotFound));
    }
}
