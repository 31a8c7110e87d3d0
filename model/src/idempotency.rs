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
            Some(kept) if kept.until > self.now() => {
                if kept.body == idempotency.body {
                    return Some(kept.reply);
                }
                Some(refuse(Code::IdempotencyKeyReuse, "this idempotency key came before with another request", None))
            }
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
            self.meta.kept += 1;
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

fn refuse(code: Code, detail: &str, retry_after_ms: Option<u64>) -> Reply {
    Reply::Refused(Refusal { code, detail: detail.into(), retry_after_ms })
}
