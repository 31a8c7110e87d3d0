//! Draws the backtest of a trace: `backtest TRACE.csv PICTURE.svg`.

use std::{env, error::Error, fs};

use bravo_scaling::sim::{Backtest, Trace, backtest, svg};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(from), Some(to)) = (args.next(), args.next()) else {
        return Err("backtest TRACE.csv PICTURE.svg".into());
    };
    let report = backtest(&Trace::parse(&fs::read_to_string(&from)?)?, &Backtest::default())?;
    let name = from.rsplit('/').next().unwrap_or(&from).trim_end_matches(".csv");
    fs::write(to, svg(&report, name))?;
    println!(
        "{name} coverage {:.3} fallback {:.3} cost {:.3}: {}",
        report.coverage,
        report.fallback,
        report.cost_ratio(),
        report.why
    );
    Ok(())
}
