//! Scaling policies: from what was asked to what the model keeps, and back.

use bravo_model::scaling::{Behaviour, Block, Mode, Rule, ScalingPolicy};
use bravo_model::{Name, limits};

use super::invalid;
use crate::{Refusal, proto};

/// The type of agents that a call names.
pub fn agent_type(text: &str) -> Result<Name, Refusal> {
    Name::parse("agent_type", text)
}

/// A policy as it is kept; what is left open takes the defaults.
pub fn policy(asked: proto::ScalingPolicy) -> Result<ScalingPolicy, Refusal> {
    let mut policy = ScalingPolicy::of(agent_type(&asked.agent_type)?);
    policy.max = asked.max.unwrap_or(policy.max);
    // Whoever lowers max alone wants no refusal for a min that was never named.
    policy.min = asked.min.unwrap_or(policy.min.min(policy.max));
    policy.start_delay_p95_ms = asked.start_delay_p95_ms.unwrap_or(policy.start_delay_p95_ms);
    if !asked.mode.is_empty() {
        policy.mode = Mode::parse(&asked.mode)?;
    }
    if !asked.policy.is_empty() {
        policy.rule = Rule::parse(&asked.policy)?;
    }
    policy.behaviour = asked.behaviour.map(behaviour);
    policy.validate()?;
    Ok(policy)
}

/// What is left open takes the defaults.
fn behaviour(asked: proto::ScalingBehaviour) -> Behaviour {
    let block = |asked: Option<proto::ScalingBlock>, default: Block| {
        let asked = asked.unwrap_or_default();
        Block {
            stabilisation_ms: asked.stabilisation_ms.unwrap_or(default.stabilisation_ms),
            percent: asked.percent.unwrap_or(default.percent),
            period_ms: asked.period_ms.unwrap_or(default.period_ms),
        }
    };
    Behaviour { up: block(asked.up, Behaviour::DEFAULT.up), down: block(asked.down, Behaviour::DEFAULT.down) }
}

/// A policy as it is told.
pub fn told(policy: ScalingPolicy) -> proto::ScalingPolicy {
    let block = |block: Block| proto::ScalingBlock {
        stabilisation_ms: Some(block.stabilisation_ms),
        percent: Some(block.percent),
        period_ms: Some(block.period_ms),
    };
    let behaviour = |of: Behaviour| proto::ScalingBehaviour { up: Some(block(of.up)), down: Some(block(of.down)) };
    proto::ScalingPolicy {
        agent_type: policy.agent_type.into(),
        min: Some(policy.min),
        max: Some(policy.max),
        start_delay_p95_ms: Some(policy.start_delay_p95_ms),
        mode: policy.mode.as_str().to_owned(),
        policy: policy.rule.as_str().to_owned(),
        behaviour: policy.behaviour.map(behaviour),
    }
}

/// A history that may be taken, and whose it is.
pub fn history(asked: proto::ScalingHistory) -> Result<(Name, proto::ScalingHistory), Refusal> {
    let name = agent_type(&asked.agent_type)?;
    let most = |what: &str, is: usize, max: usize| match is <= max {
        true => Ok(()),
        false => Err(invalid(format!("{what}: at most {max} numbers"))),
    };
    most("older", asked.older.len(), limits::SCALING_ROLLUPS_MAX)?;
    most("arrivals", asked.arrivals.len(), limits::SCALING_TICKS_MAX)?;
    let within = |what: &str, ms: Option<u64>, max: u64| match ms.is_none_or(|ms| (1..=max).contains(&ms)) {
        true => Ok(()),
        false => Err(invalid(format!("{what}: 1 to {max}"))),
    };
    within("service_ms", asked.service_ms, limits::SCALING_SERVICE_MS_MAX)?;
    within("boot_ms", asked.boot_ms, limits::SCALING_BOOT_MS_MAX)?;
    Ok((name, asked))
}

/// What one of KEDA's calls is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The pool of a type of agents.
    AgentType(Name),
    /// The pool of whatever agents work a queue.
    Queue(Name),
}

/// What stands in the trigger's metadata: `agentType`, or `queue`.
pub fn asked_by_keda(of: Option<&crate::keda::ScaledObjectRef>) -> Result<Asked, Refusal> {
    let metadata = of.map(|of| &of.scaler_metadata);
    let named = |key: &str| metadata.and_then(|metadata| metadata.get(key)).filter(|name| !name.is_empty());
    match (named("agentType"), named("queue")) {
        (Some(name), _) => Name::parse("scalerMetadata.agentType", name).map(Asked::AgentType),
        (None, Some(name)) => Name::parse("scalerMetadata.queue", name).map(Asked::Queue),
        (None, None) => Err(invalid("scalerMetadata: agentType, or queue, says what is asked")),
    }
}

/// The metric's name for KEDA.
pub fn keda_metric(agent_type: &Name) -> String {
    format!("bravo-{agent_type}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_open_takes_the_defaults_and_a_low_max_brings_min_along() {
        let asked = proto::ScalingPolicy { agent_type: "coder".into(), max: Some(1), ..Default::default() };
        let policy = policy(asked).unwrap();
        assert_eq!((policy.min, policy.max, policy.start_delay_p95_ms), (1, 1, 30_000));
        assert_eq!((policy.mode, policy.rule), (Mode::Advise, Rule::Predictive));
    }

    #[test]
    fn blocks_are_as_they_are_said_and_what_is_left_open_of_them_is_as_kubernetes_has_it() {
        let plain = proto::ScalingPolicy { agent_type: "coder".into(), ..Default::default() };
        assert_eq!(policy(plain.clone()).unwrap().behaviour, None);
        let down = proto::ScalingBlock { percent: Some(50), period_ms: Some(0), ..Default::default() };
        let behaviour = Some(proto::ScalingBehaviour { up: None, down: Some(down) });
        let kept = policy(proto::ScalingPolicy { behaviour, ..plain.clone() }).unwrap();
        let down = Block { stabilisation_ms: 300_000, percent: 50, period_ms: 0 };
        assert_eq!(kept.behaviour, Some(Behaviour { up: Behaviour::DEFAULT.up, down }));
        assert_eq!(policy(told(kept.clone())).unwrap(), kept, "told and put again it is the same");
        let refused = |set: fn(&mut proto::ScalingBlock), is_up: bool| {
            let mut block = proto::ScalingBlock::default();
            set(&mut block);
            let (up, down) = if is_up { (Some(block), None) } else { (None, Some(block)) };
            let behaviour = Some(proto::ScalingBehaviour { up, down });
            policy(proto::ScalingPolicy { behaviour, ..plain.clone() }).unwrap_err().detail
        };
        assert!(refused(|of| of.percent = Some(0), true).starts_with("behaviour.up.percent: 1 to "));
        assert!(refused(|of| of.percent = Some(101), false).starts_with("behaviour.down.percent: 1 to 100"));
        assert!(
            refused(|of| of.stabilisation_ms = Some(3_600_001), false).starts_with("behaviour.down.stabilisation_ms:")
        );
        assert!(refused(|of| of.period_ms = Some(3_600_001), true).starts_with("behaviour.up.period_ms:"));
    }

    #[test]
    fn unknown_words_and_bounds_without_sense_are_refused_by_name() {
        let asked = |set: fn(&mut proto::ScalingPolicy)| {
            let mut asked = proto::ScalingPolicy { agent_type: "coder".into(), ..Default::default() };
            set(&mut asked);
            policy(asked).unwrap_err().detail
        };
        assert!(asked(|p| p.mode = "on".into()).starts_with("mode:"));
        assert!(asked(|p| p.policy = "lucky".into()).starts_with("policy:"));
        assert!(asked(|p| p.min = Some(16)).starts_with("min:"));
        assert!(asked(|p| p.max = Some(21)).starts_with("max:"));
        assert!(asked(|p| p.start_delay_p95_ms = Some(0)).starts_with("objective.start_delay_p95_ms:"));
    }

    #[test]
    fn a_history_has_bounds_and_says_which() {
        let good =
            proto::ScalingHistory { agent_type: "coder".into(), arrivals: vec![1; 23_040], ..Default::default() };
        assert_eq!(history(good.clone()).unwrap().0.as_str(), "coder");
        let refused = |set: fn(&mut proto::ScalingHistory)| {
            let mut asked = good.clone();
            set(&mut asked);
            history(asked).unwrap_err().detail
        };
        assert!(refused(|of| of.arrivals.push(1)).starts_with("arrivals:"));
        assert!(refused(|of| of.older = vec![1; 8_065]).starts_with("older:"));
        assert!(refused(|of| of.service_ms = Some(0)).starts_with("service_ms:"));
        assert!(refused(|of| of.boot_ms = Some(3_600_001)).starts_with("boot_ms:"));
        assert!(refused(|of| of.agent_type = String::new()).starts_with("agent_type:"));
    }

    #[test]
    fn keda_names_a_pool_by_its_agents_or_by_its_queue() {
        let of = |pairs: &[(&str, &str)]| {
            let metadata = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let of = crate::keda::ScaledObjectRef { scaler_metadata: metadata, ..Default::default() };
            asked_by_keda(Some(&of))
        };
        let name = |text| Name::parse("name", text).unwrap();
        assert_eq!(of(&[("queue", "builds")]).unwrap(), Asked::Queue(name("builds")));
        let both = [("queue", "builds"), ("agentType", "coder")];
        assert_eq!(of(&both).unwrap(), Asked::AgentType(name("coder")));
        assert!(of(&[("scalerAddress", "bravo:7700")]).is_err());
    }
}
