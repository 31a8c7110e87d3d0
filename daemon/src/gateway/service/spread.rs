//! After a write to meta: waits until all nodes know of it, so that the next call obeys it wherever it goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::gateway::app::App;
use crate::raft::types::META_GROUP;
use crate::transport::TransportError;
use crate::transport::wire::{Answer, Query, Request, Response};

/// Pause before a node is asked again.
const PAUSE: Duration = Duration::from_millis(2);

/// How long nodes are waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// Those that answer.
    lagging: Duration,
    /// Those to which there is no way: a node that is not there takes no calls either, as far as anybody can tell.
    unreachable: Duration,
}

/// For what may be seen a moment late.
const SPREAD: Patience = Patience { lagging: Duration::from_millis(300), unreachable: Duration::ZERO };
/// For what must not go on anywhere. One failed dial is no proof: there is time for another.
const SPREAD_SURELY: Patience = Patience { lagging: Duration::from_secs(2), unreachable: Duration::from_millis(500) };

/// Asks each node's own replica of meta until its answer shows the write.
pub(crate) async fn spread(app: &Arc<App>, query: Query, shows: impl Fn(&Answer) -> bool) {
    within(app, SPREAD, query, shows).await;
}

/// The same for what takes a right away: a node that lags or does not answer is waited for longer. One that has not shown
/// the write by then may obey what was before for as long as the door lets it, which is ten seconds without word of the
/// cluster.
pub(crate) async fn spread_surely(app: &Arc<App>, query: Query, shows: impl Fn(&Answer) -> bool) {
    within(app, SPREAD_SURELY, query, shows).await;
}

async fn within(app: &Arc<App>, patience: Patience, query: Query, shows: impl Fn(&Answer) -> bool) {
    let began = Instant::now();
    let nodes = app.cluster.members().into_keys().map(|node| {
        let (query, shows) = (query.clone(), &shows);
        async move {
            loop {
                let answer = app.cluster.call(node, Request::Query(META_GROUP, query.clone(), false)).await;
                if is_done(answer, shows, patience, began.elapsed()) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
    let _ = tokio::time::timeout_at((began + patience.lagging).into(), join_all(nodes)).await;
}

/// Whether a node that answered so, after so long, need not be asked again.
fn is_done(
    answer: Result<Response, TransportError>,
    shows: impl Fn(&Answer) -> bool,
    patience: Patience,
    waited: Duration,
) -> bool {
    match answer {
        Ok(Response::Answer(answer)) => shows(&answer),
        Err(TransportError::Unreachable { .. }) => waited >= patience.unreachable,
        // A connection that broke says nothing of what the node knows.
        Ok(_) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_node_that_shows_the_write_or_stays_away_is_not_asked_again() {
        let shows = |answer: &Answer| matches!(answer, Answer::Keys(found) if found.is_empty());
        let done = |answer, waited| is_done(answer, shows, SPREAD_SURELY, Duration::from_millis(waited));
        let away = || Err(TransportError::Unreachable { node: 3, detail: String::new() });
        assert!(done(Ok(Response::Answer(Box::new(Answer::Keys(Vec::new())))), 0));
        assert!(!done(Ok(Response::Answer(Box::new(Answer::Definitions(Vec::new())))), 1_999));
        assert!(!done(Err(TransportError::Closed), 1_999), "a broken connection does not stand for a node that knows");
        assert!(!done(Err(TransportError::Malformed(String::new())), 1_999));
        assert!(!done(Ok(Response::Done), 1_999));
        assert!(!done(away(), 0) && done(away(), 500));
        assert!(is_done(away(), shows, SPREAD, Duration::ZERO), "what may be late waits for nobody who is away");
    }
}
