//! Acks, nacks, extends: items of one call go to their partitions at once, answers come back in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use bravo_api::convert::leases::Item;
use bravo_api::proto;
use bravo_model::command::{Ack, Extend, Nack};
use bravo_model::reply::ItemResult;
use bravo_model::{Code, Command, Refusal, Reply};
use futures_util::future::join_all;

use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::gateway::depth;
use crate::raft::types::partition_group;

/// Does what the items ask; each one is answered in its place. The call as a whole fails if no
/// partition answered; if some did, the items of the others carry the failure's code.
pub(crate) async fn each<T: Part>(
    app: &Arc<App>,
    call: &Call,
    items: Vec<Item<T>>,
    command: impl Fn(Vec<T>) -> Command,
    digest: impl FnOnce() -> [u8; 16],
) -> Result<Vec<proto::ItemResult>, Refusal> {
    let (mut results, parts) = split(items, app.cluster.partitions());
    let digest = if call.key.is_some() { digest() } else { [0; 16] };
    let proposals = parts.into_iter().map(|(partition, (places, items))| {
        let envelope = call.envelope(call.idempotency("", digest, ""), command(items));
        async move {
            let group = partition_group(partition);
            (places, app.cluster.propose(group, &envelope, Repeat::Safe, call.deadline).await)
        }
    });
    let answers = join_all(proposals).await;
    let nothing_done = !answers.is_empty() && answers.iter().all(|(_, reply)| reply.is_err());
    for (places, reply) in answers {
        match reply {
            Ok(Reply::Items(answers)) if answers.len() == places.len() => put(&mut results, places, answers),
            Ok(other) => return Err(wrong_reply(&other)),
            Err(refusal) if nothing_done => return Err(refusal),
            Err(refusal) => {
                for place in places {
                    results[place] = refusal.code.into();
                }
            }
        }
    }
    Ok(results)
}

/// An item as a partition takes it.
pub(crate) trait Part {
    /// JSON text in it.
    fn text(&self) -> Option<&[u8]>;
}

impl Part for Ack {
    fn text(&self) -> Option<&[u8]> {
        self.result.as_ref().filter(|result| result.json).map(|result| result.bytes.as_ref())
    }
}

impl Part for Nack {
    fn text(&self) -> Option<&[u8]> {
        None
    }
}

impl Part for Extend {
    fn text(&self) -> Option<&[u8]> {
        self.progress.as_deref()
    }
}

/// Items by partition, each part with the places of its items.
type Parts<T> = BTreeMap<u16, (Vec<usize>, Vec<T>)>;

/// Items that cannot be are answered already; the rest goes to its partitions.
fn split<T: Part>(items: Vec<Item<T>>, partitions: u16) -> (Vec<proto::ItemResult>, Parts<T>) {
    let mut results = Vec::with_capacity(items.len());
    let mut parts = Parts::new();
    for (place, item) in items.into_iter().enumerate() {
        results.push(proto::ItemResult::default());
        let item = item.and_then(|(id, item)| depth::check_text("item", item.text()).map(|()| (id, item)));
        match item {
            Ok((id, item)) if id.partition < partitions => {
                let (places, items) = parts.entry(id.partition).or_default();
                places.push(place);
                items.push(item);
            }
            Ok(_) => results[place] = Code::NotFound.into(),
            Err(refusal) => results[place] = refusal.code.into(),
        }
    }
    (results, parts)
}

fn put(results: &mut [proto::ItemResult], places: Vec<usize>, answers: Vec<ItemResult>) {
    for (place, answer) in places.into_iter().zip(answers) {
        if let Some(result) = results.get_mut(place) {
            *result = answer.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bravo_model::JobId;

    #[test]
    fn items_find_their_partitions_and_keep_their_places() {
        let nack = |seq| Nack { seq, token: 1, error: None, retry_in_ms: None, dead: false, unseen: false };
        let item = |partition, seq| Ok((JobId { partition, seq }, nack(seq)));
        let bad = Err(Refusal::new(Code::PayloadTooLarge, "result"));
        let items = vec![item(1, 10), bad, item(0, 20), item(9, 30), item(1, 40)];
        let (results, parts) = split(items, 2);
        assert_eq!(parts[&0], (vec![2], vec![nack(20)]));
        assert_eq!(parts[&1], (vec![0, 4], vec![nack(10), nack(40)]));
        let codes: Vec<&str> = results.iter().map(|result| result.code.as_str()).collect();
        assert_eq!(codes, ["", "payload_too_large", "", "not_found", ""]);
    }
}
