//! When a schedule ticks: cron with seconds and time zones, by croner and chrono-tz. Pure: the time
//! zone data is part of the program.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::Time;

/// A schedule's ticks.
#[derive(Clone, Debug)]
pub struct Ticks {
    cron: Cron,
    zone: Tz,
}

impl Ticks {
    /// Reads a pattern of five fields, or six with seconds first, and a zone's name; or says what is wrong,
    /// with the field's name.
    pub fn parse(cron: &str, timezone: &str) -> Result<Self, (&'static str, String)> {
        if cron.len() > crate::limits::NAME_BYTES_MAX {
            return Err(("cron", format!("at most {} bytes", crate::limits::NAME_BYTES_MAX)));
        }
        let zone =
            timezone.parse().map_err(|_| ("timezone", "not a name of the IANA time zone database".to_owned()))?;
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(cron).map_err(|error| ("cron", error.to_string()))?;
        Ok(Self { cron, zone })
    }

    /// The first tick after a time; none if there is none in sight.
    pub fn after(&self, time: Time) -> Option<Time> {
        let at = DateTime::<Utc>::from_timestamp_millis(i64::try_from(time).ok()?)?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&at, false).ok()?;
        u64::try_from(next.timestamp_millis()).ok().filter(|next| *next > time)
    }

    /// The first ticks after a time, so many at most.
    pub fn next(&self, time: Time, count: usize) -> Vec<Time> {
        std::iter::successors(self.after(time), |time| self.after(*time)).take(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis() as Time
    }

    fn next(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let ticks = Ticks::parse(cron, zone).expect("it parses");
        let show = |time| DateTime::<Utc>::from_timestamp_millis(time as i64).expect("a time").to_rfc3339();
        ticks.next(at(from), count).into_iter().map(show).collect()
    }

    #[test]
    fn five_fields_are_minutes_and_six_have_seconds_first() {
        let from = "2026-01-01T00:00:00.500Z";
        assert_eq!(next("*/5 * * * *", "UTC", from, 2), ["2026-01-01T00:05:00+00:00", "2026-01-01T00:10:00+00:00"]);
        assert_eq!(next("* * * * * *", "UTC", from, 2), ["2026-01-01T00:00:01+00:00", "2026-01-01T00:00:02+00:00"]);
        assert_eq!(next("0 9 * * MON", "Europe/Berlin", from, 1), ["2026-01-05T08:00:00+00:00"]);
    }

    #[test]
    fn a_day_that_loses_or_repeats_an_hour_has_each_tick_once() {
        // 2026-03-29 02:00 does not exist in Berlin, 2026-10-25 02:30 comes twice.
        let spring = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(spring.len(), 2);
        assert!(spring[0].starts_with("2026-03-29T01:"), "{spring:?}");
        let autumn = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert!(autumn[0].starts_with("2026-10-25") && autumn[1].starts_with("2026-10-26"), "{autumn:?}");
    }

    #[test]
    fn what_is_no_schedule_is_told_by_field() {
        assert_eq!(Ticks::parse("* * *", "UTC").expect_err("bad").0, "cron");
        assert_eq!(Ticks::parse("61 * * * *", "UTC").expect_err("bad").0, "cron");
        assert_eq!(Ticks::parse("* * * * *", "Mars/Base").expect_err("bad").0, "timezone");
        assert_eq!(Ticks::parse("0 0 30 2 *", "UTC").expect("it parses").after(0), None);
    }
}
