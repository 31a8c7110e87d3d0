//! T4 and T5: damage to the Raft log of one node that stands still.
//!
//! It refuses to start and names the segment, or it serves what its peers serve; the others go on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bravo_tests::process::fault::{flip_bit, frames, last_written, log_segments, put_back, truncate, write, zero};
use bravo_tests::process::{Load, LoadOptions, Options, Procs, Recorder, judge, settled_digests, short_or_long};

/// How a damaged node behaves at its start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It ended with this code after saying this.
    Refused(i32, String),
    /// It serves the same as its peers.
    Serves,
}

/// A cluster with some segments of log, whose third node stands still.
pub(crate) struct Patient {
    pub(crate) procs: Procs,
    pub(crate) recorder: Recorder,
    load: Load,
    /// The third node's data when it was killed, and some time before.
    pub(crate) sound: PathBuf,
    pub(crate) older: PathBuf,
}

impl Patient {
    pub(crate) async fn prepare(queue: &str) -> Self {
        let mut procs = Procs::start(Options::default()).await.unwrap();
        let recorder = Recorder::new(&procs.rest, queue);
        recorder.configure(procs.nodes[0].public).await.unwrap();
        let (sound, older) = (procs.folder().join("sound"), procs.folder().join("older"));
        let heavy = LoadOptions { padding: 60_000, pause: Duration::ZERO, ..LoadOptions::default() };
        let load = Load::start(&recorder, &procs.addresses(), &heavy);
        let data = procs.nodes[2].data.clone();
        let mut has_older = false;
        for _ in 0..400 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let segments = log_segments(&data).unwrap().len();
            if segments == 2 && !has_older {
                procs.nodes[2].kill().unwrap();
                put_back(&data, &older).unwrap();
                procs.nodes[2].start().unwrap();
                procs.ready(Duration::from_secs(30)).await.unwrap();
                has_older = true;
            }
            if segments >= 3 && has_older {
                break;
            }
        }
        load.stop().await;
        procs.nodes[2].kill().unwrap();
        put_back(&data, &sound).unwrap();
        assert!(log_segments(&sound).unwrap().len() >= 3, "inconclusive: the log did not grow");
        // The others go on while the third is damaged again and again.
        let light =
            LoadOptions { producers: 1, workers: 1, pause: Duration::from_millis(50), ..LoadOptions::default() };
        let load = Load::start(&recorder, &procs.addresses()[..2], &light);
        Self { procs, recorder, load, sound, older }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.procs.nodes[2].data
    }

    /// Starts the third node from its sound data after this damage.
    pub(crate) async fn start(&mut self, damage: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<Start> {
        if self.procs.nodes[2].runs() {
            // It has promised more meanwhile: what it holds now is what must not be rolled back.
            self.procs.nodes[2].kill()?;
            put_back(self.data(), &self.sound)?;
        } else {
            put_back(&self.sound, self.data())?;
        }
        damage(self.data())?;
        let before = self.procs.nodes[2].said().len();
        self.procs.nodes[2].start()?;
        match self.procs.node_ready(2, Duration::from_secs(20)).await {
            Ok(_) => {
                settled_digests(&self.procs).await?;
                Ok(Start::Serves)
            }
            Err(error) if self.procs.nodes[2].runs() => Err(error),
            Err(error) => {
                let said = self.procs.nodes[2].said()[before..].to_owned();
                anyhow::ensure!(!said.contains("panicked"), "it panicked:\n{said}");
                // node_ready has seen the end; its text holds the status.
                let text = format!("{error:#}");
                anyhow::ensure!(text.contains("exit status: "), "it did not exit with a code: {text}");
                let code = text.split("exit status: ").nth(1).and_then(|rest| rest.split(')').next());
                Ok(Start::Refused(code.and_then(|code| code.parse().ok()).unwrap_or(0), said))
            }
        }
    }

    /// The sound data once more, and all is judged.
    pub(crate) async fn heal(mut self, least: usize) {
        assert_eq!(self.start(|_| Ok(())).await.unwrap(), Start::Serves);
        self.load.stop().await;
        judge(&mut self.procs, &self.recorder, least).await.unwrap();
    }
}

/// It may serve; if it refuses, it does so in good order and names what is damaged.
pub(crate) fn clear(name: &str, start: anyhow::Result<Start>, faults: &mut Vec<String>) {
    match start {
        Ok(Start::Serves) => eprintln!("{name}: serves"),
        Ok(Start::Refused(code, said)) => {
            let last = said.lines().last().unwrap_or_default().to_owned();
            eprintln!("{name}: refused with {code}: {last}");
            // Which segment is bad, or that a log whose every segment is good is an older one.
            let is_named = said.contains(".seg") || said.contains("went back");
            if code <= 0 || !is_named {
                faults.push(format!("{name}: exit code {code}, and it is not said what is wrong:\n{said}"));
            }
        }
        Err(error) => faults.push(format!("{name}: {error:#}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_raft_log_is_refused_by_name_or_served_right() {
    let mut patient = Patient::prepare("damage").await;
    let segments: Vec<PathBuf> = log_segments(&patient.sound).unwrap();
    let name = |path: &Path| PathBuf::from("log").join(path.file_name().unwrap());
    let (head, middle, tail) =
        (name(&segments[0]), name(&segments[segments.len() / 2]), name(segments.last().unwrap()));
    let mut faults = Vec::new();
    for (place, file) in [("head", &head), ("middle", &middle), ("tail", &tail)] {
        let written = frames(&patient.sound.join(file)).unwrap();
        let pick = short_or_long(1, 8);
        for share in 1..=pick {
            let (at, length) = match place {
                "tail" => written[written.len() - share.min(written.len())],
                _ => written[(written.len() - 1) * share / (pick + 1)],
            };
            let start = patient.start(|data| flip_bit(&data.join(file), at + length / 2)).await;
            clear(&format!("a bit in frame {at} of the {place}"), start, &mut faults);
        }
        let (at, length) = written[written.len() / 2];
        let start = patient.start(|data| truncate(&data.join(file), at + length / 2)).await;
        clear(&format!("the {place} cut off in a frame"), start, &mut faults);
        let start = patient.start(|data| Ok(std::fs::remove_file(data.join(file))?)).await;
        clear(&format!("the {place} removed"), start, &mut faults);
    }
    patient.heal(50).await;
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolled_back_log_is_refused_or_caught_up_and_harms_no_peer() {
    let mut patient = Patient::prepare("rollback").await;
    let older = patient.older.clone();
    let mut faults = Vec::new();
    for segment in log_segments(&older).unwrap() {
        let file = Path::new("log").join(segment.file_name().unwrap());
        let start = patient.start(|data| put_back_file(&older.join(&file), &data.join(&file))).await;
        clear(&format!("{} rolled back", file.display()), start, &mut faults);
    }
    let start = patient
        .start(|data| {
            let newest = last_written(data)?;
            let written = frames(&newest)?;
            let (at, length) = written[written.len() - 1];
            zero(&newest, at + length / 2, at + length)
        })
        .await;
    clear("a hole in the last durable write", start, &mut faults);
    let start = patient.start(|data| put_back(&older.join("log"), &data.join("log"))).await;
    clear("the whole log rolled back", start, &mut faults);
    let start = patient.start(|data| put_back(&older, data)).await;
    clear("the whole node rolled back", start, &mut faults);
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    patient.heal(50).await;
}

fn put_back_file(copy: &Path, place: &Path) -> anyhow::Result<()> {
    std::fs::copy(copy, place)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_last_write_is_cut_silently_and_a_bad_one_in_the_middle_is_refused() {
    let mut patient = Patient::prepare("torn").await;
    let newest = last_written(&patient.sound).unwrap();
    let file = PathBuf::from("log").join(newest.file_name().unwrap());
    let written = frames(&newest).unwrap();
    let (last, length) = *written.last().unwrap();
    // The next write, of which the first sector never came to the disk and others did.
    assert!(written.len() > 2, "inconclusive: the newest segment was only just begun");
    let sector = (last + length).next_multiple_of(512);
    let torn = patient.start(|data| write(&data.join(&file), sector, &[0xA7; 1_300])).await.unwrap();
    assert_eq!(torn, Start::Serves, "a torn tail is nothing to refuse");
    assert!(patient.procs.nodes[2].said().contains("cut a torn write"), "inconclusive: nothing was cut");

    let (middle, length) = written[written.len() / 2];
    for (what, from, to) in [("hole", middle + length / 2, middle + length), ("nothing", middle, middle + length)] {
        let bad = patient.start(|data| zero(&data.join(&file), from, to)).await.unwrap();
        let Start::Refused(code, said) = bad else { panic!("a {what} in the middle of the log was not noticed") };
        assert!(code > 0 && said.contains(file.file_name().unwrap().to_str().unwrap()), "{code}: {said}");
    }
    patient.heal(50).await;
}
