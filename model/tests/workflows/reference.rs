//! What a workflow should do, told plainly: a list of tasks, looked through from the start after
//! every change. Written from the contract, without a look at the tables.

use std::collections::BTreeSet;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Job,
    Timer(u64),
    Signal,
    /// So many items, so many at once.
    Each(u32, u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) needs: BTreeSet<usize>,
    pub(crate) kind: Kind,
    pub(crate) skip: bool,
    pub(crate) undo: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum At {
    Waiting,
    /// Since this time.
    Running(u64),
    Done,
    Skipped,
    Failed,
    Cancelled,
    Undone,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Whole {
    Running,
    Paused,
    /// Something failed, and what runs must end before it is undone.
    Ending,
    Undoing,
    Succeeded,
    Failed,
    Cancelled,
}

/// A job: of a task or item (0: the task itself), or one that undoes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Do(usize, u32),
    Undo(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) plans: Vec<Plan>,
    pub(crate) at: Vec<At>,
    pub(crate) whole: Whole,
    /// Jobs in the queue.
    pub(crate) ready: BTreeSet<Work>,
    /// Jobs with a worker.
    pub(crate) leased: BTreeSet<Work>,
    /// Items that ended well, by task.
    done: BTreeSet<(usize, u32)>,
    /// Tasks that succeeded and can be undone, in that order.
    undoable: Vec<usize>,
    /// Signals that came and that nobody took.
    pub(crate) kept: u32,
    now: u64,
}

impl Reference {
    pub(crate) fn new(plans: Vec<Plan>, now: u64) -> Self {
        let mut this = Self {
            at: vec![At::Waiting; plans.len()],
            plans,
            whole: Whole::Running,
            ready: BTreeSet::new(),
            leased: BTreeSet::new(),
            done: BTreeSet::new(),
            undoable: Vec::new(),
            kept: 0,
            now,
        };
        this.go();
        this
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.whole, Whole::Succeeded | Whole::Failed | Whole::Cancelled)
    }

    /// Does all that can be done now.
    fn go(&mut self) {
        while self.one_step() {}
        match self.whole {
            Whole::Running | Whole::Paused if self.at.iter().all(|at| matches!(at, At::Done | At::Skipped)) => {
                self.whole = Whole::Succeeded;
            }
            Whole::Ending if self.leased.is_empty() => {
                self.whole = Whole::Undoing;
                self.undo_next();
            }
            _ => {}
        }
    }

    fn one_step(&mut self) -> bool {
        if !matches!(self.whole, Whole::Running | Whole::Paused) {
            return false;
        }
        for task in 0..self.plans.len() {
            let Plan { needs, kind, skip, .. } = self.plans[task].clone();
            let free = needs.iter().all(|need| matches!(self.at[*need], At::Done | At::Skipped));
            match (self.at[task], kind) {
                (At::Waiting, _) if self.whole == Whole::Running && free => {
                    self.at[task] = if skip { At::Skipped } else { At::Running(self.now) };
                    if !skip && kind == Kind::Job {
                        self.ready.insert(Work::Do(task, 0));
                    }
                    return true;
                }
                (At::Running(since), Kind::Timer(ms)) if since + ms <= self.now => {
                    self.pass(task);
                    return true;
                }
                (At::Running(_), Kind::Signal) if self.kept > 0 => {
                    self.kept -= 1;
                    self.pass(task);
                    return true;
                }
                (At::Running(_), Kind::Each(total, parallel)) => {
                    let of_task = |work: &Work| matches!(work, Work::Do(of, _) if *of == task);
                    let running = self.ready.iter().chain(&self.leased).filter(|work| of_task(work)).count() as u32;
                    let begun = |item| {
                        let work = Work::Do(task, item);
                        self.done.contains(&(task, item)) || self.ready.contains(&work) || self.leased.contains(&work)
                    };
                    if (1..=total).all(|item| self.done.contains(&(task, item))) {
                        self.pass(task);
                        return true;
                    }
                    if self.whole == Whole::Running
                        && running < parallel
                        && let Some(item) = (1..=total).find(|item| !begun(*item))
                    {
                        self.ready.insert(Work::Do(task, item));
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }

    fn pass(&mut self, task: usize) {
        self.at[task] = At::Done;
        if self.plans[task].undo {
            self.undoable.push(task);
        }
    }

    fn fail(&mut self, task: usize) {
        self.at[task] = At::Failed;
        if matches!(self.whole, Whole::Running | Whole::Paused) {
            let cleanup = self.plans.iter().any(|plan| plan.undo);
            self.whole = if cleanup { Whole::Ending } else { Whole::Failed };
            self.stop();
        }
    }

    /// What waits in the queue goes; waits end; workers are asked.
    fn stop(&mut self) {
        self.ready.clear();
        for task in 0..self.at.len() {
            let leased = self.leased.iter().any(|work| matches!(work, Work::Do(of, _) if *of == task));
            if matches!(self.at[task], At::Running(_)) && !leased {
                self.at[task] = At::Cancelled;
            }
        }
    }

    fn undo_next(&mut self) {
        match self.undoable.last() {
            Some(task) => drop(self.ready.insert(Work::Undo(*task))),
            None => self.whole = Whole::Failed,
        }
    }

    pub(crate) fn lease(&mut self, work: Work) {
        self.ready.remove(&work);
        self.leased.insert(work);
    }

    /// A worker's job ended: well, or for good.
    pub(crate) fn end(&mut self, work: Work, well: bool) {
        self.leased.remove(&work);
        let stopped = !matches!(self.whole, Whole::Running | Whole::Paused);
        match work {
            Work::Undo(task) => {
                if well || self.whole == Whole::Undoing {
                    self.undoable.pop();
                }
                if well {
                    self.at[task] = At::Undone;
                }
                if self.whole == Whole::Undoing {
                    self.undo_next();
                }
                return;
            }
            Work::Do(task, 0) if well => self.pass(task),
            Work::Do(task, 0) if stopped => self.at[task] = At::Cancelled,
            Work::Do(task, 0) => self.fail(task),
            Work::Do(task, item) => {
                if well {
                    self.done.insert((task, item));
                } else if matches!(self.at[task], At::Running(_)) && !stopped {
                    self.fail(task);
                }
                let Kind::Each(total, _) = self.plans[task].kind else { panic!("only lists have items") };
                let running = matches!(self.at[task], At::Running(_));
                if stopped && running && (1..=total).all(|item| self.done.contains(&(task, item))) {
                    self.pass(task);
                }
            }
        }
        self.go();
    }

    pub(crate) fn tick(&mut self, now: u64) {
        self.now = now;
        // What is due at one look ends in the order in which it was due.
        let due = |(task, at): (usize, &At)| match (at, self.plans[task].kind) {
            (At::Running(since), Kind::Timer(ms)) if since + ms <= now => Some((since + ms, task)),
            _ => None,
        };
        let mut timers: Vec<(u64, usize)> = self.at.iter().enumerate().filter_map(due).collect();
        timers.sort_unstable();
        if matches!(self.whole, Whole::Running | Whole::Paused) {
            timers.into_iter().for_each(|(_, task)| self.pass(task));
        }
        self.go();
    }

    pub(crate) fn signal(&mut self) {
        self.kept += 1;
        self.go();
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        match (self.whole, paused) {
            (Whole::Running, true) => self.whole = Whole::Paused,
            (Whole::Paused, false) => self.whole = Whole::Running,
            _ => {}
        }
        self.go();
    }

    pub(crate) fn cancel(&mut self) {
        if !self.is_over() {
            self.whole = Whole::Cancelled;
            self.stop();
        }
    }

    /// False: it cannot be.
    pub(crate) fn retry(&mut self) -> bool {
        if !matches!(self.whole, Whole::Failed | Whole::Cancelled) || !self.leased.is_empty() {
            return false;
        }
        self.whole = Whole::Running;
        for task in 0..self.at.len() {
            if self.at[task] == At::Undone {
                self.done.retain(|(of, _)| *of != task);
            }
            if !matches!(self.at[task], At::Done | At::Skipped) {
                self.at[task] = At::Waiting;
            }
        }
        self.go();
        true
    }

    /// The state that a caller should see.
    pub(crate) fn shown(&self, task: usize) -> &'static str {
        let of_task = |work: &Work| matches!(work, Work::Do(of, _) if *of == task);
        let forward = matches!(self.whole, Whole::Running | Whole::Paused);
        match self.at[task] {
            At::Done => "succeeded",
            At::Skipped => "skipped",
            At::Failed => "failed",
            At::Undone => "compensated",
            At::Cancelled => "cancelled",
            At::Running(_) if self.leased.contains(&Work::Do(task, 0)) => "running",
            At::Waiting | At::Running(_) if !forward => "cancelled",
            At::Running(_) if self.ready.iter().any(of_task) && self.plans[task].kind == Kind::Job => "ready",
            At::Running(_) => "running",
            At::Waiting => {
                let needs = &self.plans[task].needs;
                let free = needs.iter().all(|need| matches!(self.at[*need], At::Done | At::Skipped));
                if free { "ready" } else { "waiting" }
            }
        }
    }

    pub(crate) fn status(&self) -> &'static str {
        match self.whole {
            Whole::Running | Whole::Ending | Whole::Undoing => "running",
            Whole::Paused => "paused",
            Whole::Succeeded => "succeeded",
            Whole::Failed => "failed",
            Whole::Cancelled => "cancelled",
        }
    }
}
