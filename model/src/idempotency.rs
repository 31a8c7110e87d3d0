//! Idempotency keys: the first answer under a key is kept, and repeated as it was.

use crate::Time;
use crate::code::{Code, Refusal};
use crate::command::Idempotency;
use crate::limits;
use crate::reply::Reply;
use crate::row::Kept;
use crate::state::State;
use crate::table::{self, H16, due, tag};

impl State<'_> {
    /// The kept answer to this key, or a refusal; none: this is the first time.
    pub(crate) fn recall(&mut self, idempotency: &Idempotency) -> Option<Reply> {
        let key = table::by_hash(tag::KEPT, &idempotency.key);
        match self.read::<Kept>(&key) {
            Some(kept) => kept.answer(idempotency, self.now()),
            None if self.meta.kept >= limits::IDEMPOTENCY_KEYS_MAX => {
                let detail = "this partition keeps as many idempotency keys as it may";
                Some(refuse(Code::RateLimited, detail, Some(1_000)))
            }
            _ => None,
        }
    }

    /// Keeps an answer. A refusal is not kept: nothing was changed, so it may be asked again.
    pub(crate) fn keep(&mut self, idempotency: &Idempotency, reply: &Reply) {
        if matches!(reply, Reply::Refused(_)) {
            return;
        }
        let Idempotency { key: hash, body, kept_ms } = *idempotency;
        let key = table::by_hash(tag::KEPT, &hash);
        let until = self.now().saturating_add(kept_ms.min(limits::IDEMPOTENCY_KEPT_MS));
        if let Some(old) = self.read::<Kept>(&key) {
            self.txn.delete(&table::due(old.until, due::KEPT, &hash));
        } else {
            self.meta.kept = self.meta.kept.saturating_add(1);
        }
        self.put(key, &Kept { body, until, reply: reply.clone() });
        self.mark(table::due(until, due::KEPT, &hash));
    }

    /// Forgets an answer whose time is over.
    pub(crate) fn expire_kept(&mut self, hash: &H16, at: Time) {
        let key = table::by_hash(tag::KEPT, hash);
        if self.read::<Kept>(&key).is_some_and(|kept| kept.until == at) {
            self.txn.delete(&key);
            self.meta.kept = self.meta.kept.saturating_sub(1);
        }
    }
}

impl Kept {
    /// What repeating the request is answered; none if the time of the answer is over.
    pub(crate) fn answer(self, idempotency: &Idempotency, now: Time) -> Option<Reply> {
        if self.until <= now {
            return None;
        }
        if self.body == idempotency.body {
            return Some(self.reply);
        }
        Some(refuse(Code::IdempotencyKeyReuse, "this idempotency key came before with another request", None))
    }
}

fn refuse(code: Code, detail: &str, retry_after_ms: Option<u64>) -> Reply {
    Reply::Refused(Refusal { code, detail: detail.into(), retry_after_ms })
}

#[cfg(test)]
mod tests {
    use crate::command::{Command, NewJob};
    use crate::testing::{World, new_job, refusal};
    use crate::{Code, Reply};

    #[test]
    fn a_repetition_gets_the_first_answer_as_it_was() {
        let mut world = World::new();
        let enqueue = || Command::Enqueue(vec![new_job()]);
        let first = world.keyed(1, 1, enqueue());
        world.lease(1);
        assert_eq!(world.keyed(1, 1, enqueue()), first, "the state that it tells is the first one");
        assert_eq!(refusal(&world.keyed(1, 2, enqueue())), Some(Code::IdempotencyKeyReuse));
        assert_ne!(world.keyed(2, 1, enqueue()), first);
    }

    #[test]
    fn an_answer_is_kept_for_its_time() {
        let mut world = World::new();
        let first = world.keyed(1, 1, Command::Enqueue(vec![new_job()]));
        world.at += 9_999;
        assert_eq!(world.keyed(1, 1, Command::Enqueue(vec![new_job()])), first);
        world.at += 1;
        assert_eq!(world.keyed(1, 2, Command::Reserve), Reply::Done, "over, tick or not");
        world.tick(10_000);
        assert!(crate::view::next_due(&world.rows).is_none());
    }

    #[test]
    fn a_refusal_is_not_kept() {
        let mut world = World::new();
        let bad = NewJob { priority: 10, ..new_job() };
        assert_eq!(refusal(&world.keyed(1, 1, Command::Enqueue(vec![bad]))), Some(Code::InvalidArgument));
        assert!(matches!(world.keyed(1, 2, Command::Enqueue(vec![new_job()])), Reply::Enqueued(_)));
    }
}
