//! Lists of jobs, by seq upwards (in enqueue order), a bounded number of rows a page.

use crate::command::ListFilter;
use crate::job::{Job, JobState};
use crate::limits;
use crate::row;
use crate::table::{self, tag};
use crate::txn::{Key, Read};

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Jobs that match.
    pub jobs: Vec<Job>,
    /// Where the next page goes on (its `after`); none at the end. A page may be short, even
    /// empty, and have a next one: it stops after [`limits::LIST_SCAN_MAX`] rows.
    pub next: Option<u64>,
}

/// Jobs that match, with a seq above `after`, lowest first; at most `limit`, and at most
/// [`limits::LIST_PAGE_MAX`].
pub fn list(rows: &impl Read, filter: &ListFilter, after: Option<u64>, limit: usize) -> Page {
    let limit = limit.clamp(1, limits::LIST_PAGE_MAX);
    let Some(mut tables) = tables(rows, filter) else { return Page::default() };
    let mut page = Page::default();
    let mut from = after.map_or(0, |seq| seq.saturating_add(1));
    let mut looked_at = 0;
    while looked_at < limits::LIST_SCAN_MAX {
        let wanted = (limit - page.jobs.len()).saturating_add(1).min(limits::LIST_SCAN_MAX - looked_at);
        let seqs = merge(rows, &mut tables, from, wanted);
        let Some(&last) = seqs.last() else {
            page.next = None;
            return page;
        };
        for seq in &seqs {
            looked_at += 1;
            let job = row::job(rows, *seq);
            if page.jobs.len() == limit {
                page.next = page.jobs.last().map(|job| job.seq);
                return page;
            }
            page.jobs.extend(job.filter(|job| matches(filter, job)));
        }
        page.next = Some(last);
        from = last.saturating_add(1);
    }
    page
}

/// A table whose keys end in a seq, as a function of the seq.
type Table = Box<dyn Fn(u64) -> Key>;

/// The tables that together hold what may match; none if nothing can.
fn tables(rows: &impl Read, filter: &ListFilter) -> Option<Vec<Table>> {
    let Some(queue) = &filter.queue else {
        return Some(vec![Box::new(|seq| table::by_seq(tag::JOB, seq))]);
    };
    let number = row::queue_number(rows, queue)?;
    let states = JobState::ALL.into_iter().filter(|state| filter.state.is_none_or(|wanted| wanted == *state));
    Some(states.map(|state| Box::new(move |seq| table::state(number, state, seq)) as Table).collect())
}

/// The first `wanted` seqs from `from` on over all tables.
fn merge(rows: &impl Read, tables: &mut Vec<Table>, from: u64, wanted: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    tables.retain(|key| {
        let before = seqs.len();
        rows.scan(&key(from), &key(u64::MAX), &mut |key, _| {
            seqs.push(table::last_u64(key));
            seqs.len() - before < wanted
        });
        seqs.len() > before
    });
    seqs.sort_unstable();
    seqs.truncate(wanted);
    seqs
}

fn matches(filter: &ListFilter, job: &Job) -> bool {
    filter.queue.as_ref().is_none_or(|queue| *queue == job.queue)
        && filter.state.is_none_or(|state| state == job.state)
        && filter.project.as_ref().is_none_or(|project| *project == job.project)
}

#[cfg(test)]
mod tests {
    use super::list;
    use crate::JobState;
    use crate::command::{Command, ListFilter};
    use crate::testing::{World, name, new_job};

    #[test]
    fn pages_go_through_all_that_matches_in_order() {
        let mut world = World::new();
        for n in 0..10u64 {
            world.add(|job| job.project = name(if n % 2 == 0 { "even" } else { "odd" }));
        }
        world.lease(3);
        let filters = [
            (ListFilter::default(), vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            (ListFilter { queue: Some(name("q")), ..Default::default() }, vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            (ListFilter { project: Some(name("even")), ..Default::default() }, vec![1, 3, 5, 7, 9]),
            (ListFilter { queue: Some(name("q")), state: Some(JobState::Leased), project: None }, vec![1, 2, 3]),
            (ListFilter { state: Some(JobState::Ready), ..Default::default() }, vec![4, 5, 6, 7, 8, 9, 10]),
            (ListFilter { queue: Some(name("nowhere")), ..Default::default() }, vec![]),
        ];
        for (filter, expected) in filters {
            for limit in [1, 2, 3, 100] {
                let (mut seqs, mut after) = (Vec::new(), None);
                loop {
                    let page = list(&world.rows, &filter, after, limit);
                    assert!(page.jobs.len() <= limit);
                    seqs.extend(page.jobs.iter().map(|job| job.seq));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(seqs, expected, "{filter:?} {limit}");
            }
        }
    }

    #[test]
    fn a_page_looks_at_so_many_rows_and_no_more() {
        let mut world = World::new();
        let entry = |n: usize| crate::Entry {
            at: 1,
            commands: vec![crate::Envelope::plain(Command::Enqueue(vec![new_job(); n])).encode()],
        };
        for _ in 0..21 {
            crate::apply(&mut world.rows, 1, &entry(1_000));
        }
        let filter = ListFilter { project: Some(name("nobody")), ..Default::default() };
        let page = list(&world.rows, &filter, None, 10);
        assert_eq!((page.jobs.len(), page.next), (0, Some(20_000)));
        assert_eq!(list(&world.rows, &filter, page.next, 10).next, None);
    }
}
