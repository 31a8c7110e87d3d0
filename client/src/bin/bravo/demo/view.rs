//! The cluster as one of its nodes tells it, in plain JSON.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::bench::http::Http;

/// Jobs that are listed at a time.
const PAGE: usize = 1_000;

/// How many groups each node leads, of how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaders {
    /// By node.
    pub(super) by_node: BTreeMap<u64, usize>,
    /// All groups, those without a leader too.
    pub(super) groups: usize,
}

impl Leaders {
    /// Asks the first node that answers.
    pub(super) async fn ask(http: &Http, urls: &[String]) -> Result<Self, String> {
        let mut last = "no node".to_owned();
        for url in urls {
            match http.json(&format!("{url}/api/v1/cluster")).await {
                Ok(view) => return Ok(Self::of(&view)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn of(view: &Value) -> Self {
        let partitions = view["partitions"].as_array().into_iter().flatten();
        let mut leaders = Self::default();
        for group in partitions.chain(view.get("meta").filter(|meta| !meta.is_null())) {
            leaders.groups += 1;
            if let Some(leader) = group["leader"].as_u64() {
                *leaders.by_node.entry(leader).or_default() += 1;
            }
        }
        leaders
    }

    /// The node that leads most groups, and how many.
    pub(super) fn most(&self) -> Option<(u64, usize)> {
        self.by_node.iter().map(|(node, groups)| (*node, *groups)).max_by_key(|(_, groups)| *groups)
    }

    /// As "1: 3, 2: 4, 3: 2".
    pub(super) fn text(&self) -> String {
        let led: usize = self.by_node.values().sum();
        let mut parts: Vec<String> = self.by_node.iter().map(|(node, groups)| format!("{node}: {groups}")).collect();
        if led < self.groups {
            parts.push(format!("none: {}", self.groups - led));
        }
        parts.join(", ")
    }
}

/// All jobs of a queue as a node lists them: state and attempt by id.
pub(super) async fn list(http: &Http, url: &str, queue: &str) -> Result<HashMap<String, (String, u64)>, String> {
    let (mut jobs, mut cursor) = (HashMap::new(), String::new());
    loop {
        let page = format!("{url}/api/v1/jobs?queue={queue}&limit={PAGE}&consistency=linearizable{cursor}");
        let answer = http.json(&page).await?;
        for job in answer["jobs"].as_array().into_iter().flatten() {
            let text = |field: &str| job[field].as_str().unwrap_or_default().to_owned();
            let entry = (text("state"), job["attempt"].as_u64().unwrap_or(0));
            if jobs.insert(text("id"), entry).is_some() {
                return Err(format!("{page}: {} is listed twice", text("id")));
            }
        }
        match answer["next_cursor"].as_str().filter(|next| !next.is_empty()) {
            Some(next) => cursor = format!("&cursor={}", utf8_percent_encode(next, NON_ALPHANUMERIC)),
            None => return Ok(jobs),
        }
    }
}

/// How many groups have equal replicas on all nodes, and what is wrong with the others.
pub(super) async fn equal_groups(http: &Http, url: &str, nodes: usize) -> Result<(usize, Vec<String>), String> {
    let answer = http.json(&format!("{url}/api/v1/cluster/digest")).await?;
    let partitions = answer["partitions"].as_array().into_iter().flatten();
    let (mut equal, mut problems) = (0, Vec::new());
    for group in partitions.chain(answer.get("meta").filter(|meta| !meta.is_null())) {
        let replicas = group["replicas"].as_array().map_or(&[][..], Vec::as_slice);
        let digests: BTreeSet<&str> = replicas.iter().filter_map(|replica| replica["digest"].as_str()).collect();
        if replicas.len() == nodes && digests.len() == 1 {
            equal += 1;
        } else {
            problems.push(format!("group {}: replicas are not equal: {replicas:?}", group["partition"]));
        }
    }
    Ok((equal, problems))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_counted_by_leader() {
        let view = serde_json::json!({
            "partitions": [{"id": 0, "leader": 2}, {"id": 1, "leader": null}, {"id": 2, "leader": 2}],
            "meta": {"id": "meta", "leader": 1},
        });
        let leaders = Leaders::of(&view);
        assert_eq!(leaders.groups, 4);
        assert_eq!(leaders.most(), Some((2, 2)));
        assert_eq!(leaders.text(), "1: 1, 2: 2, none: 1");
    }
}
