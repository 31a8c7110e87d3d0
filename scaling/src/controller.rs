//! research
use crate::Observation;
use crate::erlang::{normal, waiting_chance};
use crate::histogram::{BINS, Histogram, bin, ratio};
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub struct Tuning {
    pub x: f64,       // late job cost
    pub w: usize,     // window ticks
    pub eta: f64,
    pub score_keep: f64,
    pub keep: f32,
    pub strength: f64,
    pub near: f64,
    pub x1: f64,
    pub late_s: f64,
    pub tailx: f64,
    pub lo: f64, pub beta: f64, pub pstr: f64, pub pkeep: f32, pub zclip: f64, pub zmin: f64, pub phase: bool, pub pe: Vec<f64>, pub psk: f64, pub clear: f64,
    pub ewmas: Vec<f64>,
}
impl Default for Tuning {
    fn default() -> Self {
        Self { x: 20.0, w: 2, eta: 1.0, score_keep: 0.99, keep: 0.9995, strength: 4.0, near: 1.0, x1: 30.0, late_s: 30.0, tailx: 1.0, lo: 0.0, beta: 0.3, pstr: 4.0, pkeep: 0.99, zclip: 16.0, zmin: 12.0, phase: true, pe: vec![0.0, 1.0], psk: 0.97, clear: 30.0, ewmas: vec![2.0, 6.0, 20.0, 80.0, 400.0, 2000.0] }
    }
}

const LEVELS: usize = 14;
const GRID: usize = 40;
fn axis(i: usize) -> f64 { (-2.5 + i as f64 * 0.15).exp() - 0.05 }
/// A table of residuals by phase (and level when the period is short) over a short average.
pub struct PhaseTable { period: usize, e: usize, phases: Vec<Histogram>, leaves: Vec<Histogram>, scores: Vec<f64> }
const COARSE: usize = 7;
impl PhaseTable {
    fn new(period: usize, e: usize) -> Self { Self { period, e, phases: vec![Histogram::default(); period], leaves: if period <= 64 { vec![Histogram::default(); period * COARSE] } else { Vec::new() }, scores: Vec::new() } }
    fn shares(&self, phase: usize, lv: usize, prior: &[f64; BINS], k: &Tuning) -> [f64; BINS] {
        let p = self.phases[phase].shares(prior, k.pstr);
        if self.leaves.is_empty() { p } else { self.leaves[phase * COARSE + lv / 2].shares(&p, k.pstr) }
    }
    fn learn(&mut self, phase: usize, lv: usize, b: usize, k: &Tuning) {
        self.phases[phase].learn(b, k.pkeep);
        if !self.leaves.is_empty() { self.leaves[phase * COARSE + lv / 2].learn(b, k.pkeep) }
    }
}
/// The lags at which sudden changes repeat.
pub fn periods(counts: &[f64], k: &Tuning) -> Vec<usize> {
    const WIN: usize = 4;
    let n = counts.len();
    if n < 240 { return Vec::new() }
    let mut sums = vec![0.0; n + 1];
    for i in 0..n { sums[i + 1] = sums[i] + counts[i] }
    let mut z: Vec<f64> = (WIN..n - WIN).map(|i| { let a = sums[i + WIN] - sums[i]; let b = sums[i] - sums[i - WIN]; let u = ((a - b) / (a + b + 1.0).sqrt()).max(0.0); (u * u - 4.0).clamp(0.0, 25.0) }).collect();
    let m = z.iter().sum::<f64>() / z.len() as f64;
    for x in &mut z { *x -= m }
    let v: f64 = z.iter().map(|x| x * x).sum();
    if v <= 1e-9 { return Vec::new() }
    let reach = 1920.min(z.len() / 2);
    let r: Vec<f64> = (0..=reach).map(|lag| z[lag..].iter().zip(&z).map(|(a, b)| a * b).sum::<f64>() / v).collect();
    let root = (z.len() as f64).sqrt();
    let top = 960.min(z.len() / 6);
    let score: Vec<f64> = (0..=top).map(|p| if p < 4 { 0.0 } else { let j = 8.min(reach / p).max(1); (1..=j).map(|j| r[j * p]).sum::<f64>() / (j as f64).sqrt() * root }).collect();
    let best = (4..=top).max_by(|a, b| score[*a].total_cmp(&score[*b])).unwrap_or(0);
    if best == 0 || score[best] < k.zmin { return Vec::new() }
    let small = (4..=top).find(|p| score[*p] >= 0.6 * score[best]).unwrap_or(best);
    if small == best { vec![best] } else { vec![small, best] }
}

pub struct Candidate { by_level: Vec<Histogram>, all: Histogram, score: f64, past: VecDeque<(f64, usize)> }
pub struct Controller {
    pub k: Tuning,
    counts: VecDeque<f64>,
    ewma: Vec<(f64, f64)>,
    cand: Vec<Candidate>,
    service: (f64, f64, f64, f64),
    boots: VecDeque<(f64, u32)>,
    pub ticks: usize,
    last_booting: u32, table: Vec<f64>, key: (f64, f64), pub found: Vec<usize>, tables: Vec<PhaseTable>, pscore: Vec<Vec<f64>>, ratios: Vec<f64>, prior: [f64; BINS],
}
fn level(f: f64) -> usize { ((f + 0.5).log2() * 1.5 + 2.0).clamp(0.0, (LEVELS - 1) as f64) as usize }

impl Controller {
    pub fn new(k: Tuning) -> Self {
        let n = k.ewmas.len();
        Self { counts: VecDeque::new(), ewma: vec![(0.0, 0.0); n], cand: (0..n).map(|_| Candidate { by_level: vec![Histogram::default(); LEVELS], all: Histogram::default(), score: 0.0, past: VecDeque::new() }).collect(),
            service: (20.0 * 3.0, 3.0, 400.0 * 3.0, 3.0), boots: VecDeque::new(), ticks: 0, last_booting: 0, table: Vec::new(), key: (0.0, 0.0), found: Vec::new(), tables: Vec::new(), pscore: Vec::new(), ratios: (0..BINS).map(ratio).collect(), prior: Self::prior(), k }
    }
    fn cell(&self, a: f64) -> usize { (((a + 0.05).ln() + 2.5) / 0.15).round().clamp(0.0, (GRID - 1) as f64) as usize }
    fn prior() -> [f64; BINS] {
        let mut p: [f64; BINS] = std::array::from_fn(|i| { let x = ratio(i).ln(); (-x.abs() / 0.4).exp() });
        let s: f64 = p.iter().sum();
        for q in &mut p { *q /= s }
        p
    }
    fn shares(&self, c: usize, lv: usize) -> [f64; BINS] {
        let all = self.cand[c].all.shares(&self.prior, 10.0);
        self.cand[c].by_level[lv].shares(&all, self.k.strength)
    }
    fn replay(&mut self, counts: &[f64]) {
        let k = self.k.clone();
        self.tables = self.found.iter().flat_map(|p| k.pe.iter().map(|e| PhaseTable::new(*p, *e as usize))).collect();
        let Some(&p0) = self.found.first() else { return };
        self.pscore = vec![vec![0.0; p0]; self.cand.len()];
        for t in &mut self.tables { t.scores = vec![0.0; p0] }
        let mut e = vec![(0.0, 0.0); self.ewma.len()];
        let first = self.ticks - 1 - counts.len(); // counts[i] is known at tick first + i + 1
        let lag = 4 + k.w;
        let mut past: VecDeque<Vec<f64>> = VecDeque::new();
        for (i, x) in counts.iter().enumerate() {
            for (e, w) in e.iter_mut().zip(&k.ewmas) { let a: f64 = 1.0 - 1.0 / w; e.0 = e.0 * a + x; e.1 = e.1 * a + 1.0; }
            past.push_back(e.iter().map(|e: &(f64, f64)| e.0 / e.1 * k.w as f64).collect());
            if past.len() <= lag { continue }
            let then = past.pop_front().unwrap();
            let origin = first + i + 1 - lag;
            let y: f64 = counts[i + 1 - k.w..=i].iter().sum();
            let ph0 = origin % p0;
            for c in 0..self.cand.len() {
                let f = then[c]; let lv = level(f); let b = bin((y + 0.5) / (f + 0.5));
                let p = self.shares(c, lv);
                let sc = &mut self.pscore[c][ph0]; *sc = *sc * k.psk + p[b].ln();
            }
            for t in 0..self.tables.len() {
                let f = then[self.tables[t].e]; let lv = level(f); let b = bin((y + 0.5) / (f + 0.5));
                let ph = origin % self.tables[t].period;
                let prior = self.shares(self.tables[t].e, lv);
                let p = self.tables[t].shares(ph, lv, &prior, &k);
                let sc = &mut self.tables[t].scores[ph0]; *sc = *sc * k.psk + p[b].ln();
                self.tables[t].learn(ph, lv, b, &k);
            }
        }
    }
    pub fn decide(&mut self, o: &Observation) -> u32 {
        let k = self.k.clone();
        // service
        let keep = 0.995f64.powf(f64::from(o.completed));
        let s = &mut self.service;
        s.0 = s.0 * keep + o.service_sum; s.1 = s.1 * keep + f64::from(o.completed);
        let mean = s.0 / s.1;
        if o.completed > 0 { let n = f64::from(o.completed); let d = o.service_sum - n * mean; s.2 = s.2 * 0.99 + d * d / n; s.3 = s.3 * 0.99 + 1.0; }
        let var = s.2 / s.3;
        let cv2 = (var / mean / mean).clamp(0.2, 4.0);
        // count
        if self.ticks > 0 {
            self.counts.push_back(f64::from(o.arrivals));
            if self.counts.len() > 23040 { self.counts.pop_front(); }
            for (e, w) in self.ewma.iter_mut().zip(&k.ewmas) { let a: f64 = 1.0 - 1.0 / w; e.0 = e.0 * a + f64::from(o.arrivals); e.1 = e.1 * a + 1.0; }
        }
        self.ticks += 1;
        // learn
        let lag = 4 + k.w;
        if self.counts.len() > lag {
            let y: f64 = self.counts.iter().rev().take(k.w).sum();
            for c in 0..self.cand.len() {
                if self.cand[c].past.len() >= lag {
                    let (f, lv) = self.cand[c].past[self.cand[c].past.len() - lag];
                    let b = bin((y + 0.5) / (f + 0.5));
                    let p = self.shares(c, lv);
                    let cd = &mut self.cand[c];
                    cd.score = cd.score * k.score_keep + p[b].ln();
                    cd.all.learn(b, k.keep); cd.by_level[lv].learn(b, k.keep);
                    if self.found.len() > 0 { let ph = (self.ticks - 1 - lag) % self.found[0]; let sc = &mut self.pscore[c][ph]; *sc = *sc * k.psk + p[b].ln(); }
                }
            }
            for t in 0..self.tables.len() {
                let e = self.tables[t].e;
                let past = &self.cand[e].past;
                if past.len() < lag { continue }
                let (f, lv) = past[past.len() - lag];
                let b = bin((y + 0.5) / (f + 0.5));
                let ph = (self.ticks - 1 - lag) % self.tables[t].period;
                let prior = self.shares(e, lv);
                let p = self.tables[t].shares(ph, lv, &prior, &k);
                let ph0 = (self.ticks - 1 - lag) % self.found[0];
                let sc = &mut self.tables[t].scores[ph0]; *sc = *sc * k.psk + p[b].ln();
                self.tables[t].learn(ph, lv, b, &k);
            }
        }
        if k.phase && (self.ticks == 480 || self.ticks % 960 == 0) {
            let c: Vec<f64> = self.counts.iter().copied().collect();
            let found = periods(&c, &k);
            if found != self.found {
                self.found = found;
                self.replay(&c);
            }
        }
        // forecast
        let best = if self.found.is_empty() { self.cand.iter().map(|c| c.score).fold(f64::MIN, f64::max) } else { let ph = (self.ticks - 1) % self.found[0]; self.pscore.iter().map(|s| s[ph]).chain(self.tables.iter().map(|t| t.scores[ph])).fold(f64::MIN, f64::max) };
        let mut wsum = 0.0; let mut pts: Vec<(f64, f64)> = Vec::new();
        for c in 0..self.cand.len() {
            let f = if self.ewma[c].1 > 0.0 { self.ewma[c].0 / self.ewma[c].1 * k.w as f64 } else { 0.0 };
            let lv = level(f);
            self.cand[c].past.push_back((f, lv)); if self.cand[c].past.len() > 32 { self.cand[c].past.pop_front(); }
            let wt = (k.eta * ((if self.found.is_empty() { self.cand[c].score } else { self.pscore[c][(self.ticks - 1) % self.found[0]] }) - best)).exp();
            if wt < 1e-3 { continue }
            wsum += wt;
            for (i, p) in self.shares(c, lv).iter().enumerate() { if *p > 1e-5 { pts.push((((f + 0.5) * self.ratios[i] - 0.5).max(0.0) / k.w as f64 / 15.0 * mean, p * wt)); } }
        }
        for t in 0..self.tables.len() {
            let tb = &self.tables[t];
            let wt = (k.eta * (tb.scores[(self.ticks - 1) % self.found[0]] - best)).exp();
            if wt < 1e-3 { continue }
            wsum += wt;
            let (f, lv) = *self.cand[tb.e].past.back().unwrap();
            let prior = self.shares(tb.e, lv);
            for (i, p) in tb.shares((self.ticks - 1) % tb.period, lv, &prior, &k).iter().enumerate() { if *p > 1e-5 { pts.push((((f + 0.5) * self.ratios[i] - 0.5).max(0.0) / k.w as f64 / 15.0 * mean, p * wt)); } }
        }
        for p in &mut pts { p.1 /= wsum }
        // compress
        let mut grid = [0.0f64; GRID];
        for (a, p) in pts { grid[self.cell(a)] += p; }
        let level_now = if self.ewma[1].1 > 0.0 { self.ewma[1].0 / self.ewma[1].1 / 15.0 * mean } else { 0.0 };
        if o.booting > self.last_booting { self.boots.push_back((o.t, o.booting - self.last_booting)); }
        if self.table.is_empty() || (self.key.0 / mean - 1.0).abs() > 0.03 || (self.key.1 / cv2 - 1.0).abs() > 0.1 {
            self.key = (mean, cv2);
            self.table = (0..GRID).flat_map(|i| (0..=20).map(move |n| late(0.0, axis(i), f64::from(n.max(1)), mean, cv2, k.x1, k.late_s))).collect();
        }
        let mut bestn = (f64::MAX, 2);
        let q0 = f64::from(o.queue) * mean;
        for n in 2..=20u32 {
            let mut loss = 0.0;
            for (i, &p) in grid.iter().enumerate() {
                if p < 1e-5 { continue }
                let a = axis(i);
                let an = (a + level_now) / 2.0;
                let mut w = q0;
                let mut near = 0.0;
                for j in 0..4 {
                    let arriving = if j == 0 { 0 } else { o.booting }; // rough
                    let c = f64::from(n.min(o.ready + arriving * j / 4));
                    if j == 2 && k.near > 0.0 { near = if w == 0.0 { self.table[self.cell(an) * 21 + (c as usize).min(20)] } else { late(w, an, c, mean, cv2, k.x1, k.late_s) }; }
                    w = (w + (an - c) * 15.0).max(0.0);
                }
                let nf = f64::from(n);
                let far = if w == 0.0 { self.table[i * 21 + n as usize] } else { late(w, a, nf, mean, cv2, k.x1, k.late_s) };
                let end = (w + (a - nf) * k.clear).max(0.0) / k.clear;
                loss += p * (a * far + k.near * an * near + k.beta * end);
            }
            let cost = f64::from(n) + k.x * loss;
            if cost < bestn.0 { bestn = (cost, n) }
        }
        self.last_booting = o.booting;
        bestn.1
    }
}
fn late(w0: f64, a: f64, c: f64, s: f64, cv2: f64, x: f64, wait: f64) -> f64 {
    if a <= 0.0 && w0 <= 0.0 { return 0.0 }
    let thr = c * wait; let m = a - c; let sd = (a.max(0.05) * s * (1.0 + cv2) * x).sqrt();
    let first = normal((w0 + m * x - thr) / sd);
    let second = if m < 0.0 { waiting_chance(a, c as u32) * (2.0 * m * wait / (s * (1.0 + cv2))).exp() * normal((-thr - w0 - m * x) / sd) } else { 0.0 };
    (first + second).min(1.0)
}
