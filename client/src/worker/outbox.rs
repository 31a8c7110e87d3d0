//! What has to be told to the daemon, until it is answered.
//!
//! Whatever is ready goes as one message. A few messages are under way at once; while they are,
//! the next one grows.

use std::collections::{HashMap, VecDeque};

use bravo_api::proto::work_request::Message;
use bravo_api::{limits, proto};
use tokio::time::Instant;

/// Messages of acks and nacks under way at once.
const UNDER_WAY_MAX: usize = 8;
/// Bytes of one message.
const BYTES_MAX: usize = 4 << 20;

/// A message under way.
pub(super) enum Sent {
    /// Acks; kept, to be sent again.
    Acks(Vec<proto::Ack>),
    /// Nacks; kept, to be sent again.
    Nacks(Vec<proto::Nack>),
    /// Extensions, by job and token, and when they were sent.
    Extends(Vec<(String, u64)>, Instant),
}

/// What has to be told.
#[derive(Default)]
pub(super) struct Outbox {
    acks: VecDeque<proto::Ack>,
    nacks: VecDeque<proto::Nack>,
    extends: VecDeque<proto::Extend>,
    sent: HashMap<u64, Sent>,
    last_sequence: u64,
    /// Acks and nacks rest until then, since the daemon could not take some.
    rest_until: Option<Instant>,
}

impl Outbox {
    pub(super) fn ack(&mut self, ack: proto::Ack) {
        self.acks.push_back(ack);
    }

    pub(super) fn nack(&mut self, nack: proto::Nack) {
        self.nacks.push_back(nack);
    }

    /// Leases to prolong.
    pub(super) fn extend(&mut self, extends: Vec<proto::Extend>) {
        self.extends.extend(extends);
    }

    /// Acks and nacks rest for a while.
    pub(super) fn rest(&mut self, until: Instant) {
        self.rest_until = Some(until);
    }

    /// When acks and nacks go on, if they rest and there are any.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.rest_until.filter(|_| !self.acks.is_empty() || !self.nacks.is_empty())
    }

    /// Acks and nacks that were not answered yet.
    pub(super) fn unconfirmed(&self) -> usize {
        let under_way = self.sent.values().map(|sent| match sent {
            Sent::Acks(acks) => acks.len(),
            Sent::Nacks(nacks) => nacks.len(),
            Sent::Extends(..) => 0,
        });
        self.acks.len() + self.nacks.len() + under_way.sum::<usize>()
    }

    /// The next message, if one may go.
    pub(super) fn next(&mut self, now: Instant) -> Option<Message> {
        let sequence = self.last_sequence + 1;
        let (sent, message) = if !self.extends.is_empty() {
            let leases = take(&mut self.extends);
            let kept = leases.iter().map(|extend| (extend.id.clone(), extend.lease_token)).collect();
            (Sent::Extends(kept, now), Message::Extend(proto::ExtendBatch { sequence, leases }))
        } else if self.rest_until.is_some_and(|until| until > now) || self.under_way() >= UNDER_WAY_MAX {
            return None;
        } else if !self.acks.is_empty() {
            let acks = take(&mut self.acks);
            (Sent::Acks(acks.clone()), Message::Ack(proto::AckBatch { sequence, acks }))
        } else if !self.nacks.is_empty() {
            let nacks = take(&mut self.nacks);
            (Sent::Nacks(nacks.clone()), Message::Nack(proto::NackBatch { sequence, nacks }))
        } else {
            return None;
        };
        self.last_sequence = sequence;
        self.sent.insert(sequence, sent);
        Some(message)
    }

    fn under_way(&self) -> usize {
        self.sent.values().filter(|sent| !matches!(sent, Sent::Extends(..))).count()
    }

    /// The message that an answer belongs to.
    pub(super) fn answered(&mut self, sequence: u64) -> Option<Sent> {
        self.sent.remove(&sequence)
    }

    /// The stream is lost: acks and nacks without an answer are sent again, extensions are asked anew.
    pub(super) fn stream_lost(&mut self) -> Vec<(String, u64)> {
        let mut extends: Vec<_> = self.extends.drain(..).map(|extend| (extend.id, extend.lease_token)).collect();
        for (_, sent) in self.sent.drain() {
            match sent {
                Sent::Acks(acks) => self.acks.extend(acks),
                Sent::Nacks(nacks) => self.nacks.extend(nacks),
                Sent::Extends(leases, _) => extends.extend(leases),
            }
        }
        self.rest_until = None;
        extends
    }
}

/// The first items, as many as one message carries.
fn take<T: prost::Message>(queue: &mut VecDeque<T>) -> Vec<T> {
    let mut bytes = 0;
    let fits = queue.iter().take(limits::ACK_ITEMS_MAX).take_while(|item| {
        bytes += item.encoded_len();
        bytes <= BYTES_MAX
    });
    let count = fits.count().max(1).min(queue.len());
    queue.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: u64) -> proto::Ack {
        proto::Ack { id: format!("j0-{id}"), lease_token: 1, result: None }
    }

    #[test]
    fn whatever_is_ready_is_one_message() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        (0..1_500).for_each(|id| outbox.ack(ack(id)));
        outbox.extend(vec![proto::Extend { id: "j0-1".into(), ..Default::default() }]);
        assert!(matches!(outbox.next(now), Some(Message::Extend(batch)) if batch.sequence == 1));
        assert!(matches!(outbox.next(now), Some(Message::Ack(batch)) if batch.acks.len() == 1_000));
        assert!(matches!(outbox.next(now), Some(Message::Ack(batch)) if batch.acks.len() == 500));
        assert!(outbox.next(now).is_none());
        assert_eq!(outbox.unconfirmed(), 1_500);
        outbox.answered(2);
        assert_eq!(outbox.stream_lost().len(), 1);
        assert_eq!(outbox.unconfirmed(), 500);
        assert!(matches!(outbox.next(now), Some(Message::Ack(batch)) if batch.acks.len() == 500));
    }

    #[test]
    fn few_messages_are_under_way() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for id in 0..UNDER_WAY_MAX as u64 {
            outbox.ack(ack(id));
            assert!(outbox.next(now).is_some());
        }
        (0..10).for_each(|id| outbox.ack(ack(id)));
        assert!(outbox.next(now).is_none());
        outbox.answered(1);
        assert!(matches!(outbox.next(now), Some(Message::Ack(batch)) if batch.acks.len() == 10));
    }

    #[test]
    fn large_results_are_spread() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let result = Some(proto::Payload { data: vec![0; 1 << 20].into(), json: false });
        (0..8).for_each(|id| outbox.ack(proto::Ack { result: result.clone(), ..ack(id) }));
        assert!(matches!(outbox.next(now), Some(Message::Ack(batch)) if batch.acks.len() == 3));
    }
}
