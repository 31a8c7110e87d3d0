//! What a node tells its operator: log lines and metrics.
//!
//! The rest of the daemon says what happened, as a struct of `events`; how that becomes a log line
//! and a metric is decided there and nowhere else. Metrics are declared in `metric`.

pub mod events;
mod labels;
mod logs;
pub(crate) mod machine;
mod metric;
pub(crate) mod process;
pub mod samples;

pub use labels::Labels;
pub use metric::{Buckets, METRICS, Metric, MetricKind, reference};
pub use process::ProcessSample;

use crate::config::Config;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often observations are folded into their histograms when nobody asks for them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The telemetry of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    handle: PrometheusHandle,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Somebody else has set the process's subscriber or recorder already.
    #[error("telemetry is already installed in this process")]
    AlreadyInstalled,
    /// `RUST_LOG` cannot be read.
    #[error("RUST_LOG: cannot read {directives:?}: {error}")]
    Filter {
        /// What it holds.
        directives: String,
        /// What is wrong with it.
        error: tracing_subscriber::filter::ParseError,
    },
    /// The recorder was refused.
    #[error("metrics: {0}")]
    Recorder(#[from] BuildError),
}

impl Telemetry {
    /// Installs log lines and metrics for the whole process; to be called once, before anything that
    /// logs or counts.
    pub fn init(config: &Config) -> Result<Self, TelemetryError> {
        logs::init(&config.log, std::env::var("RUST_LOG").ok().as_deref())?;
        labels::bound_queues(config.limits.queue_labels_max as usize);
        let recorder = recorder()?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::AlreadyInstalled)?;
        describe();
        metrics::gauge!(metric::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self { handle })
    }

    /// The answer to `GET /metrics`. Reads `/proc`: a fraction of a millisecond.
    pub fn render(&self) -> String {
        ProcessSample::take().emit();
        self.handle.render()
    }

    /// Folds observations into their histograms until stopped. Without it they would pile up between
    /// scrapes, without bound where nobody scrapes.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.handle.run_upkeep();
        }
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        if let MetricKind::Histogram(buckets) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets.bounds())?;
        }
    }
    Ok(builder.build_recorder())
}

fn describe() {
    for metric in METRICS {
        let doc = metric.doc.trim();
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, doc),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, doc),
            MetricKind::Histogram(_) => metrics::describe_histogram!(metric.name, doc),
        }
    }
}

/// Runs `body` with a recorder of its own and gives what `/metrics` would say.
#[cfg(test)]
fn recorded(body: impl FnOnce()) -> String {
    let recorder = recorder().unwrap();
    metrics::with_local_recorder(&recorder, || {
        describe();
        body();
    });
    recorder.handle().render()
}
