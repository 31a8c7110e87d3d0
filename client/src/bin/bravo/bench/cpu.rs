//! CPU seconds of this process and of the daemons.

use std::fs;

use bytes::Bytes;
use http::Method;

use super::http::Http;

/// Ticks of a second in `/proc/*/stat`: part of the kernel's interface, always 100.
const TICKS_PER_SECOND: f64 = 100.0;
const GAUGE: &str = "process_cpu_seconds_total";

/// Where the daemons' CPU seconds are read.
#[derive(Clone, Debug)]
pub(super) enum Daemons {
    /// In `/proc`, by their process ids.
    Processes(Vec<u32>),
    /// In their metrics, by their URLs.
    Metrics(Vec<String>),
}

impl Daemons {
    /// Their CPU seconds so far.
    pub(super) async fn cpu_seconds(&self, http: &Http) -> Result<f64, String> {
        let mut seconds = 0.0;
        match self {
            Self::Processes(pids) => {
                for pid in pids {
                    seconds += of_process(&pid.to_string())?;
                }
            }
            Self::Metrics(urls) => {
                for url in urls {
                    let (_, body) = http.call(Method::GET, &format!("{url}/metrics"), Bytes::new()).await?;
                    let text = String::from_utf8_lossy(&body);
                    seconds += gauge(&text).ok_or_else(|| format!("{url}/metrics does not tell {GAUGE}"))?;
                }
            }
        }
        Ok(seconds)
    }
}

/// CPU seconds of a process so far, user and system; `self` is this one.
pub(super) fn of_process(pid: &str) -> Result<f64, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    ticks(&stat).map(|ticks| ticks as f64 / TICKS_PER_SECOND).ok_or_else(|| format!("{path} is not understood"))
}

/// The 14th and 15th field; the second one is a name that may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn gauge(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(GAUGE).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_do_not_confuse() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 9 0 1 1 1";
        assert_eq!(ticks(stat), Some(175));
        assert!(of_process("self").unwrap() >= 0.0);
        assert!(of_process("0").is_err());
    }

    #[test]
    fn the_gauge_is_found() {
        let text = "# TYPE process_cpu_seconds_total gauge\nprocess_cpu_seconds_totals 1\nprocess_cpu_seconds_total 12.5\n";
        assert_eq!(gauge(text), Some(12.5));
        assert_eq!(gauge("process_cpu_seconds_total{node=\"1\"} 3\n"), Some(3.0));
        assert_eq!(gauge("nothing 1\n"), None);
    }
}
