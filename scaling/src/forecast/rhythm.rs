//! Finding the rhythm of sudden rises: work that comes every so many minutes, by a clock that nobody told us of.
//!
//! A mean by season smears a burst of two minutes over its neighbours. So rises alone are looked at: each tick's
//! minute is compared with the minute before, what Poisson noise explains is taken off, and the autocorrelation of
//! what is left is summed over the multiples of each lag, as in the folding of pulsars.

/// Ticks on either side of a rise.
const SIDE: usize = 4;
/// The longest rhythm, in ticks: four hours of 15 s.
const LAG_MAX: usize = 960;
/// How many standard errors a rhythm must stand out.
const EVIDENCE_MIN: f64 = 12.0;
/// A shorter rhythm within this share of the best is found too: bursts often skip beats.
const DIVISOR_SHARE: f64 = 0.6;

fn rises(counts: &[f64]) -> Vec<f64> {
    let mut sums = Vec::with_capacity(counts.len() + 1);
    sums.push(0.0);
    for count in counts {
        sums.push(sums[sums.len() - 1] + count);
    }
    let mut rises: Vec<f64> = (SIDE..counts.len().saturating_sub(SIDE))
        .map(|i| {
            let (after, before) = (sums[i + SIDE] - sums[i], sums[i] - sums[i - SIDE]);
            let stray = ((after - before) / (after + before + 1.0).sqrt()).max(0.0);
            (stray * stray - 4.0).clamp(0.0, 25.0)
        })
        .collect();
    let mean = rises.iter().sum::<f64>() / rises.len().max(1) as f64;
    for rise in &mut rises {
        *rise -= mean;
    }
    rises
}

/// The rhythms of `counts` in ticks, the shortest first; at most two.
pub(crate) fn rhythms(counts: &[f64]) -> Vec<usize> {
    let rises = rises(counts);
    let power: f64 = rises.iter().map(|rise| rise * rise).sum();
    let (reach, longest) = ((2 * LAG_MAX).min(rises.len() / 2), LAG_MAX.min(rises.len() / 6));
    if power <= 1e-9 || longest < SIDE {
        return Vec::new();
    }
    let echo = |lag: usize| rises[lag..].iter().zip(&rises).map(|(a, b)| a * b).sum::<f64>() / power;
    let echoes: Vec<f64> = (0..=reach).map(echo).collect();
    let root = (rises.len() as f64).sqrt();
    let evidence: Vec<f64> = (SIDE..=longest)
        .map(|lag| {
            let folds = (reach / lag).clamp(1, 8);
            (1..=folds).map(|n| echoes[n * lag]).sum::<f64>() / (folds as f64).sqrt() * root
        })
        .collect();
    let best = evidence.iter().copied().fold(0.0, f64::max);
    if best < EVIDENCE_MIN {
        return Vec::new();
    }
    let first = |share: f64| evidence.iter().position(|e| *e >= share * best).map(|i| i + SIDE);
    let mut found: Vec<usize> = [first(DIVISOR_SHARE), first(1.0)].into_iter().flatten().collect();
    found.dedup();
    found
}
