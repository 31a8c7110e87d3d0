//! What becomes of artifacts as they grow old: rules by prefix, and the class that a version is kept in.
//!
//! ```text
//!   hot ──► cold ──► archive ──► gone
//! ```
//!
//! Hot chunks lie on the disks of the replicas; cold and archived ones in the cold tier, which is not part of
//! the state. The state says what is to be moved; the leader moves it and then says so with a command.

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::artifact::Manifest;
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::limits;
use crate::table::H16;

/// Where a version's chunks are kept. Only ever moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// On the nodes' disks.
    #[default]
    Hot,
    /// In the cold tier.
    Cold,
    /// In the cold tier, packed as small as it gets.
    Archive,
}

impl Class {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
            Self::Archive => "archive",
        }
    }
}

/// One stay of a version's chunks. An object in the cold tier belongs to one stay, whose name is never used
/// again after it ended: what a late sweep still removes of it, nobody needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stay {
    /// Where.
    pub class: Class,
    /// When it was decided; 0 for hot.
    pub since: Time,
}

/// Where a version's chunks are, and where they are on their way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stays {
    /// Where they are.
    pub is: Stay,
    /// Where they are to be moved.
    pub to: Option<Stay>,
}

impl Stays {
    /// Whether chunks of this stay are needed, or will be.
    pub fn need(&self, stay: Stay) -> bool {
        self.is == stay || self.to == Some(stay)
    }
}

/// What becomes of versions whose path begins with a prefix. Ages are in milliseconds from when a version was
/// made; none: never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What the path begins with; empty: any.
    pub prefix: String,
    /// To the cold tier.
    pub cold_after_ms: Option<u64>,
    /// To the archive.
    pub archive_after_ms: Option<u64>,
    /// Gone.
    pub expire_after_ms: Option<u64>,
}

/// A project's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// The project.
    pub project: Name,
    /// Grows with every change; a partition keeps the newest.
    pub version: u64,
    /// The one with the longest prefix counts. None (pushed to a partition): the rules are deleted.
    pub rules: Vec<Rule>,
}

impl Lifecycle {
    /// The rule for a path.
    pub fn rule(&self, path: &str) -> Option<&Rule> {
        let fitting = self.rules.iter().filter(|rule| path.starts_with(&rule.prefix));
        fitting.max_by_key(|rule| rule.prefix.len())
    }

    pub(crate) fn check(rules: &[Rule]) -> Result<(), Refusal> {
        let refuse = |detail: String| Err(Refusal::new(Code::InvalidArgument, detail));
        if rules.is_empty() || rules.len() > limits::LIFECYCLE_RULES_MAX {
            return refuse(format!("rules: has not 1 to {} rules", limits::LIFECYCLE_RULES_MAX));
        }
        for (index, rule) in rules.iter().enumerate() {
            if rule.prefix.len() > limits::ARTIFACT_PATH_BYTES_MAX {
                return refuse(format!("rules[{index}].prefix: longer than {} bytes", limits::ARTIFACT_PATH_BYTES_MAX));
            }
            if rules[..index].iter().any(|other| other.prefix == rule.prefix) {
                return refuse(format!("rules[{index}].prefix: is that of another rule"));
            }
            let ages = [rule.cold_after_ms, rule.archive_after_ms, rule.expire_after_ms];
            let ages: Vec<u64> = ages.into_iter().flatten().collect();
            if ages.iter().any(|age| *age == 0 || *age > limits::HORIZON_MS_MAX) {
                return refuse(format!("rules[{index}]: an age is not 1 to {} ms", limits::HORIZON_MS_MAX));
            }
            if !ages.is_sorted() {
                return refuse(format!("rules[{index}]: cold comes before archive, and archive before the end"));
            }
        }
        Ok(())
    }
}

/// How a version stands under a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    /// It is to go.
    pub(crate) expired: bool,
    /// What it is to be kept in by now.
    pub(crate) class: Class,
    /// When the next thing is due.
    pub(crate) next: Option<Time>,
}

impl Rule {
    /// How a version stands that was made then. What is kept in the state itself only ever goes.
    pub(crate) fn stand(&self, made_at: Time, in_chunks: bool, now: Time) -> Stand {
        let at = |age: Option<u64>| age.map(|age| made_at.saturating_add(age));
        let moved = |age: Option<u64>| at(age).filter(|_| in_chunks);
        let (cold, archive, expire) =
            (moved(self.cold_after_ms), moved(self.archive_after_ms), at(self.expire_after_ms));
        let past = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let class = match (past(cold), past(archive)) {
            (_, true) => Class::Archive,
            (true, false) => Class::Cold,
            (false, false) => Class::Hot,
        };
        let next = [cold, archive, expire].into_iter().flatten().filter(|at| *at > now).min();
        Stand { expired: past(expire), class, next }
    }
}

/// What is known of a version beside what it is made of, where that is anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Where its chunks are kept.
    pub stay: Stay,
    /// When it is looked at next.
    pub due: Option<Time>,
}

/// One version in keys and in the cold tier. When it was made is part of it, since numbers may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionId {
    /// What stands for project and path.
    pub artifact: H16,
    /// Its number.
    pub version: u32,
    /// When it was made.
    pub made_at: Time,
}

/// A version that is to be kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub id: VersionId,
    /// Where it is.
    pub from: Stay,
    /// Where it is to be.
    pub to: Stay,
    /// What it is made of.
    pub manifest: Manifest,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, ages: [Option<u64>; 3]) -> Rule {
        let [cold_after_ms, archive_after_ms, expire_after_ms] = ages;
        Rule { prefix: prefix.into(), cold_after_ms, archive_after_ms, expire_after_ms }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let rules = ["", "a/", "a/b"].map(|prefix| rule(prefix, [Some(1), None, None])).to_vec();
        let lifecycle = Lifecycle { project: Name::parse("project_id", "p").unwrap(), version: 1, rules };
        for (path, prefix) in [("x", ""), ("a/x", "a/"), ("a/bc", "a/b"), ("ab", "")] {
            assert_eq!(lifecycle.rule(path).unwrap().prefix, prefix, "{path}");
        }
    }

    #[test]
    fn a_version_stands_where_its_age_puts_it() {
        let all = rule("", [Some(30), Some(90), Some(365)]);
        let of = |now| {
            let stand = all.stand(1_000, true, now);
            (stand.class, stand.expired, stand.next)
        };
        assert_eq!(of(1_029), (Class::Hot, false, Some(1_030)));
        assert_eq!(of(1_030), (Class::Cold, false, Some(1_090)));
        assert_eq!(of(1_364), (Class::Archive, false, Some(1_365)));
        assert_eq!(of(1_365), (Class::Archive, true, None));
        let small = all.stand(1_000, false, 1_100);
        assert_eq!((small.class, small.next), (Class::Hot, Some(1_365)), "it has no chunks");
    }

    #[test]
    fn rules_are_checked() {
        let good = rule("", [Some(1), Some(1), Some(2)]);
        assert!(Lifecycle::check(std::slice::from_ref(&good)).is_ok());
        assert!(Lifecycle::check(&[good.clone(), rule("a", [None; 3])]).is_ok());
        let many = (0..=limits::LIFECYCLE_RULES_MAX).map(|n| rule(&n.to_string(), [None; 3])).collect();
        for bad in [
            vec![],
            vec![good.clone(), good],
            vec![rule("", [Some(2), Some(1), None])],
            vec![rule("", [None, Some(2), Some(1)])],
            vec![rule("", [Some(0), None, None])],
            vec![rule("", [None, None, Some(limits::HORIZON_MS_MAX + 1)])],
            vec![rule(&"x".repeat(2_000), [None; 3])],
            many,
        ] {
            assert!(Lifecycle::check(&bad).is_err(), "{bad:?}");
        }
    }
}
