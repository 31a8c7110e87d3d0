//! Label values that come from users, held to a bound: a metric with a label per queue must not
//! become a way to fill memory.

use metrics::SharedString;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// What names beyond the bound are counted under.
const OTHER: &str = "other";

/// The first names that came, up to a bound.
#[derive(Debug)]
pub struct Labels {
    bound: usize,
    known: RwLock<HashMap<String, SharedString>>,
}

impl Labels {
    /// An empty set with room for `bound` names.
    pub fn new(bound: usize) -> Self {
        Self { bound, known: RwLock::default() }
    }

    /// The label for a name: the name itself while there is room for it, else `other`.
    pub fn label(&self, name: &str) -> SharedString {
        if let Some(label) = self.known.read().get(name) {
            return label.clone();
        }
        let mut known = self.known.write();
        if known.len() >= self.bound && !known.contains_key(name) {
            return SharedString::const_str(OTHER);
        }
        known.entry(name.to_string()).or_insert_with(|| SharedString::from_shared(Arc::from(name))).clone()
    }
}

static QUEUES: OnceLock<Labels> = OnceLock::new();

/// Sets the bound for queue names, once, at the start of the process.
pub(super) fn bound_queues(bound: usize) {
    let _ = QUEUES.set(Labels::new(bound));
}

/// The label for a queue.
pub(super) fn queue(name: &str) -> SharedString {
    QUEUES.get_or_init(|| Labels::new(1_000)).label(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_one_label() {
        let labels = Labels::new(2);
        assert_eq!(&*labels.label("a"), "a");
        assert_eq!(&*labels.label("b"), "b");
        assert_eq!(&*labels.label("c"), "other");
        assert_eq!(&*labels.label("a"), "a");
    }
}
