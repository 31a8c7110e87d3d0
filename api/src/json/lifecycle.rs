//! `/api/v1/lifecycle/{project_id}`: what becomes of a project's artifacts as they grow old.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{Code, Refusal};
use bravo_model::lifecycle::{Lifecycle, Rule};

const DAY_MS: u64 = 86_400_000;

/// The body of `PUT /api/v1/lifecycle/{project_id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LifecycleBody {
    /// The rules; of those whose prefix fits, the one with the longest counts.
    pub rules: Vec<RuleBody>,
}

/// A rule as it is sent. Each age is given in days or in milliseconds, not both; null is never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleBody {
    /// What the path begins with; any if absent.
    pub prefix: String,
    /// Days until a version goes to the cold tier; 30 if absent.
    #[serde(deserialize_with = "given")]
    pub cold_after_days: Option<Option<u64>>,
    /// The same in milliseconds.
    #[serde(deserialize_with = "given")]
    pub cold_after_ms: Option<Option<u64>>,
    /// Days until it goes to the archive; 90 if absent.
    #[serde(deserialize_with = "given")]
    pub archive_after_days: Option<Option<u64>>,
    /// The same in milliseconds.
    #[serde(deserialize_with = "given")]
    pub archive_after_ms: Option<Option<u64>>,
    /// Days until it is removed; 365 if absent.
    #[serde(deserialize_with = "given")]
    pub expire_after_days: Option<Option<u64>>,
    /// The same in milliseconds.
    #[serde(deserialize_with = "given")]
    pub expire_after_ms: Option<Option<u64>>,
}

/// What is given as null is not what is absent.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl LifecycleBody {
    /// The rules that are asked for.
    pub fn into_rules(self) -> Result<Vec<Rule>, Refusal> {
        self.rules.into_iter().enumerate().map(|(index, rule)| rule.into_rule(index)).collect()
    }
}

impl RuleBody {
    fn into_rule(self, index: usize) -> Result<Rule, Refusal> {
        let age = |name: &str, days: Option<Option<u64>>, ms: Option<Option<u64>>, default: u64| match (days, ms) {
            (Some(_), Some(_)) => {
                let detail = format!("rules[{index}]: {name}_days and {name}_ms are given, one says it");
                Err(Refusal::new(Code::InvalidArgument, detail))
            }
            (Some(days), None) => Ok(days.map(|days| days.saturating_mul(DAY_MS))),
            (None, Some(ms)) => Ok(ms),
            (None, None) => Ok(Some(default * DAY_MS)),
        };
        Ok(Rule {
            cold_after_ms: age("cold_after", self.cold_after_days, self.cold_after_ms, 30)?,
            archive_after_ms: age("archive_after", self.archive_after_days, self.archive_after_ms, 90)?,
            expire_after_ms: age("expire_after", self.expire_after_days, self.expire_after_ms, 365)?,
            prefix: self.prefix,
        })
    }
}

/// A project's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LifecycleAnswer {
    /// The project.
    pub project_id: String,
    /// Grows with every change.
    pub version: u64,
    /// The rules, as they were sent.
    pub rules: Vec<RuleAnswer>,
}

/// A rule; ages from when a version was made, null is never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleAnswer {
    /// What the path begins with.
    pub prefix: String,
    /// Until it goes to the cold tier.
    pub cold_after_ms: Option<u64>,
    /// Until it goes to the archive.
    pub archive_after_ms: Option<u64>,
    /// Until it is removed.
    pub expire_after_ms: Option<u64>,
}

impl From<Lifecycle> for LifecycleAnswer {
    fn from(lifecycle: Lifecycle) -> Self {
        let shown = |rule: Rule| RuleAnswer {
            prefix: rule.prefix,
            cold_after_ms: rule.cold_after_ms,
            archive_after_ms: rule.archive_after_ms,
            expire_after_ms: rule.expire_after_ms,
        };
        let Lifecycle { project, version, rules } = lifecycle;
        Self { project_id: project.to_string(), version, rules: rules.into_iter().map(shown).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Vec<Rule>, Refusal> {
        super::super::parse::<LifecycleBody>(text.as_bytes())?.into_rules()
    }

    #[test]
    fn ages_are_days_or_milliseconds_or_the_usual_ones_or_never() {
        let of = |text: &str| {
            let rule = rules(&format!(r#"{{"rules":[{{{text}}}]}}"#)).unwrap().remove(0);
            [rule.cold_after_ms, rule.archive_after_ms, rule.expire_after_ms]
        };
        assert_eq!(of(""), [Some(30 * DAY_MS), Some(90 * DAY_MS), Some(365 * DAY_MS)]);
        let some = of(r#""cold_after_ms":5,"archive_after_days":null,"expire_after_days":2"#);
        assert_eq!(some, [Some(5), None, Some(2 * DAY_MS)]);
        for bad in [r#"{"rules":[{"cold_after_ms":5,"cold_after_days":5}]}"#, r#"{"rules":[{"cold":5}]}"#] {
            assert_eq!(rules(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
    }
}
