//! A report as a picture: demand, forecast band and pools above, late jobs below.

use std::fmt::Write;

use super::report::{Report, Step};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 56.0;
const UPPER: f64 = 260.0;
const LOWER_TOP: f64 = 350.0;
const LOWER: f64 = 90.0;

/// One panel: where it is and what its upper edge stands for.
struct Panel {
    top: f64,
    height: f64,
    max: f64,
    end_s: f64,
}

impl Panel {
    fn x(&self, t: f64) -> f64 {
        LEFT + (WIDTH - LEFT - 12.0) * t / self.end_s.max(1.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - (value / self.max).min(1.0))
    }

    fn points(&self, steps: &[Step], of: impl Fn(&Step) -> f64) -> String {
        let mut points = String::with_capacity(steps.len() * 10);
        for step in steps {
            // A String takes all that is written.
            let _ = write!(points, "{:.0},{:.0} ", self.x(step.t), self.y(of(step)));
        }
        points
    }
}

fn axis(svg: &mut String, panel: &Panel, name: &str) {
    let bottom = panel.top + panel.height;
    let _ = writeln!(
        svg,
        r##"<path d="M{LEFT} {:.0}V{bottom:.0}H{:.0}" stroke="#888" fill="none"/>"##,
        panel.top,
        WIDTH - 12.0
    );
    let _ = writeln!(
        svg,
        r#"<text x="{:.0}" y="{:.0}" text-anchor="end">{:.0}</text>"#,
        LEFT - 6.0,
        panel.top + 10.0,
        panel.max
    );
    let _ = writeln!(svg, r#"<text x="{:.0}" y="{bottom:.0}" text-anchor="end">0</text>"#, LEFT - 6.0);
    let _ = writeln!(svg, r#"<text x="{:.0}" y="{:.0}">{name}</text>"#, LEFT + 6.0, panel.top + 12.0);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The picture of a report.
pub fn svg(report: &Report, title: &str) -> String {
    let steps = &report.steps;
    let end_s = steps.last().map_or(1.0, |last| last.t) + 1.0;
    let top = |of: fn(&Step) -> f64| steps.iter().map(of).fold(1.0, f64::max);
    let max = top(|s| s.pool).max(top(|s| s.pool_reactive)).max(top(|s| s.demand)).ceil();
    let pools = Panel { top: TOP, height: UPPER, max, end_s };
    let late = Panel { top: LOWER_TOP, height: LOWER, max: top(|s| s.late).max(top(|s| s.late_reactive)), end_s };
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 480" font-family="sans-serif" font-size="11" fill="#333"><rect width="100%" height="100%" fill="#fff"/>"##
    );
    let percent = |score: &super::Score| score.late_fraction() * 100.0;
    let _ = writeln!(out, r#"<text x="{LEFT}" y="18" font-size="14">{}</text>"#, escaped(title));
    let _ = writeln!(
        out,
        r#"<text x="{LEFT}" y="36">late: ours {:.2} %, Kubernetes {:.2} %, hindsight {:.2} %; agent-seconds {:.3} times those of Kubernetes; grey: learning, not scored</text>"#,
        percent(&report.ours),
        percent(&report.reactive),
        percent(&report.clairvoyant),
        report.cost_ratio()
    );
    let learned = pools.x(report.score_from_s) - LEFT;
    let _ = writeln!(out, r##"<rect x="{LEFT}" y="{TOP}" width="{learned:.0}" height="{UPPER}" fill="#f3f3f3"/>"##);
    let band: String = pools.points(steps, |s| s.p90);
    let back: Vec<Step> = steps.iter().rev().copied().collect();
    let _ =
        writeln!(out, r##"<polygon points="{band}{}" fill="#9ecae1" opacity="0.6"/>"##, pools.points(&back, |s| s.p50));
    for (of, colour) in
        [((|s| s.demand) as fn(&Step) -> f64, "#555"), (|s| s.pool_reactive, "#e6853c"), (|s| s.pool, "#1f6fb2")]
    {
        let _ = writeln!(out, r#"<polyline points="{}" fill="none" stroke="{colour}"/>"#, pools.points(steps, of));
    }
    for (of, colour) in [((|s| s.late_reactive) as fn(&Step) -> f64, "#e6853c"), (|s| s.late, "#1f6fb2")] {
        let _ = writeln!(out, r#"<polyline points="{}" fill="none" stroke="{colour}"/>"#, late.points(steps, of));
    }
    axis(&mut out, &pools, "agents: grey demand, light blue forecast (50 to 90 %), blue ours, orange Kubernetes");
    axis(&mut out, &late, "late jobs");
    let _ = writeln!(
        out,
        r#"<text x="{:.0}" y="462" text-anchor="end">{:.1} days</text></svg>"#,
        WIDTH - 12.0,
        end_s / 86_400.0
    );
    out
}
