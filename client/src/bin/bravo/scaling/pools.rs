//! `bravo scaling list`, `get`, `put` and `delete`: policies, and how pools stand.

use bravo_client::json::{BehaviourBody, BlockBody, ObjectiveBody, ScalingAnswer, ScalingBody, ScalingListAnswer};
use bravo_client::{Timestamp, proto};

use crate::exit::Failure;
use crate::global::{Format, Global};
use crate::output::{Table, fields, show};

#[derive(clap::Args)]
pub(super) struct Named {
    /// The type of agents
    agent_type: String,
}

#[derive(clap::Args)]
pub(super) struct Put {
    /// The type of agents
    agent_type: String,
    /// The smallest pool; 2 if absent
    #[arg(long, value_name = "AGENTS")]
    min: Option<u32>,
    /// The largest pool; 15 if absent, 20 at most
    #[arg(long, value_name = "AGENTS")]
    max: Option<u32>,
    /// The wait that 95 % of the jobs shall stay below; 30000 if absent
    #[arg(long, value_name = "MS")]
    start_delay_p95_ms: Option<u32>,
    /// off, advise or act; advise if absent
    #[arg(long)]
    mode: Option<String>,
    /// predictive, reactive or threshold; predictive if absent
    #[arg(long)]
    policy: Option<String>,
    #[command(flatten)]
    behaviour: Behaviour,
}

/// How fast the pool may change. With any of these the others take their defaults; without any it is as the policy has it.
#[derive(clap::Args)]
struct Behaviour {
    /// It grows when all wishes of so long agree; 60000 if absent
    #[arg(long, value_name = "MS")]
    up_stabilisation_ms: Option<u32>,
    /// It grows by so much in one period; 100 if absent
    #[arg(long, value_name = "PERCENT")]
    up_percent: Option<u32>,
    /// The period, 0 for no limit; 15000 if absent
    #[arg(long, value_name = "MS")]
    up_period_ms: Option<u32>,
    /// It shrinks when all wishes of so long agree; 300000 if absent
    #[arg(long, value_name = "MS")]
    down_stabilisation_ms: Option<u32>,
    /// It shrinks by so much in one period; 10 if absent
    #[arg(long, value_name = "PERCENT")]
    down_percent: Option<u32>,
    /// The period, 0 for no limit; 60000 if absent
    #[arg(long, value_name = "MS")]
    down_period_ms: Option<u32>,
}

impl Behaviour {
    fn body(self) -> Option<BehaviourBody> {
        let block = |stabilisation_ms, percent, period_ms| BlockBody { stabilisation_ms, percent, period_ms };
        let up = block(self.up_stabilisation_ms, self.up_percent, self.up_period_ms);
        let down = block(self.down_stabilisation_ms, self.down_percent, self.down_period_ms);
        Some(BehaviourBody { up, down }).filter(|body| *body != BehaviourBody::default())
    }
}

impl Put {
    fn policy(self) -> proto::ScalingPolicy {
        let Self { agent_type, min, max, start_delay_p95_ms, mode, policy, behaviour } = self;
        let (objective, behaviour) = (ObjectiveBody { start_delay_p95_ms }, behaviour.body());
        let body = ScalingBody { min, max, objective, mode, policy, behaviour };
        body.into_message(agent_type).policy.unwrap_or_default()
    }
}

pub(super) async fn list(global: &Global) -> Result<(), Failure> {
    let list = ScalingListAnswer::from(global.client()?.scalings().await?);
    show(global.output, &list, listed);
    Ok(())
}

pub(super) async fn get(named: Named, global: &Global) -> Result<(), Failure> {
    tell(global.output, global.client()?.scaling(&named.agent_type).await?);
    Ok(())
}

pub(super) async fn put(put: Put, global: &Global) -> Result<(), Failure> {
    tell(global.output, global.client()?.put_scaling(put.policy()).await?);
    Ok(())
}

pub(super) async fn delete(named: Named, global: &Global) -> Result<(), Failure> {
    Ok(global.client()?.delete_scaling(&named.agent_type).await?)
}

fn tell(format: Format, state: proto::ScalingState) {
    show(format, &ScalingAnswer::from(state), details);
}

fn behaviour(of: Option<BehaviourBody>) -> String {
    let Some(BehaviourBody { up, down }) = of else { return "as the policy has it".into() };
    let block = |of: BlockBody| {
        let seconds = |ms: Option<u32>| f64::from(ms.unwrap_or_default()) / 1000.0;
        match of.period_ms {
            Some(0) => format!("after {} s", seconds(of.stabilisation_ms)),
            _ => format!(
                "{} % in {} s after {} s",
                of.percent.unwrap_or_default(),
                seconds(of.period_ms),
                seconds(of.stabilisation_ms)
            ),
        }
    };
    format!("up {}, down {}", block(up), block(down))
}

/// Agents, if the load was looked at.
fn count(agents: Option<u32>) -> String {
    agents.map_or_else(|| "unknown".into(), |agents| agents.to_string())
}

fn listed(list: &ScalingListAnswer) -> String {
    let mut table = Table::new(&["agents", "mode", "policy", "min", "max", "current", "recommended"]);
    for pool in &list.scaling {
        table.row([
            pool.agent_type.clone(),
            pool.mode.clone(),
            pool.policy.clone(),
            pool.min.to_string(),
            pool.max.to_string(),
            count(pool.current),
            count(pool.recommended),
        ]);
    }
    table.render()
}

fn details(pool: &ScalingAnswer) -> String {
    let mut text = fields(&[
        ("agents", pool.agent_type.clone()),
        ("mode", pool.mode.clone()),
        ("policy", pool.policy.clone()),
        ("bounds", format!("{} to {}", pool.min, pool.max)),
        ("start delay p95 ms", pool.objective.start_delay_p95_ms.unwrap_or_default().to_string()),
        ("behaviour", behaviour(pool.behaviour)),
        ("current", count(pool.current)),
        ("recommended", count(pool.recommended)),
        ("why", pool.why.clone()),
        ("at", pool.at.to_string()),
    ]);
    if !pool.forecast.points.is_empty() {
        let mut table = Table::new(&["at", "load p50", "load p90", "agents", "cpu %", "memory %", "workflows"]);
        for point in &pool.forecast.points {
            let at: Timestamp = point.at;
            let load = |load: f64| format!("{load:.2}");
            let percent = |share: f64| format!("{:.0}", share * 100.0);
            table.row([
                at.to_string(),
                load(point.p50),
                load(point.p90),
                point.agents.to_string(),
                percent(point.cpu),
                percent(point.memory),
                format!("{:.1}", point.workflows),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}
