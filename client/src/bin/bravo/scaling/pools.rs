//! `bravo scaling list`, `get`, `put` and `delete`: policies, and how pools stand.

use bravo_client::json::{ObjectiveBody, ScalingAnswer, ScalingBody, ScalingListAnswer};
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
}

impl Put {
    fn policy(self) -> proto::ScalingPolicy {
        let Self { agent_type, min, max, start_delay_p95_ms, mode, policy } = self;
        let body = ScalingBody { min, max, objective: ObjectiveBody { start_delay_p95_ms }, mode, policy };
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

fn listed(list: &ScalingListAnswer) -> String {
    let mut table = Table::new(&["agents", "mode", "policy", "min", "max", "current", "recommended"]);
    for pool in &list.scaling {
        table.row([
            pool.agent_type.clone(),
            pool.mode.clone(),
            pool.policy.clone(),
            pool.min.to_string(),
            pool.max.to_string(),
            pool.current.to_string(),
            pool.recommended.to_string(),
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
        ("current", pool.current.to_string()),
        ("recommended", pool.recommended.to_string()),
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
