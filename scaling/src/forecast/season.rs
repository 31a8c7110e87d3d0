//! Seasons of hours, days and weeks: their lengths are found, and the mean of the last rounds is their forecast.

/// Rounds that are averaged.
const ROUNDS: usize = 6;
/// The shortest season in roll-ups: an hour. What is shorter is a rhythm.
const SEASON_MIN: usize = 12;
/// How much a season must repeat itself.
const ECHO_MIN: f64 = 0.25;

/// The lengths of the seasons of `counts`, in its steps, the shortest first; at most two.
pub(crate) fn seasons(counts: &[f64]) -> Vec<usize> {
    if counts.len() < 3 * SEASON_MIN {
        return Vec::new();
    }
    // The root makes the noise of large and small counts alike, and single peaks small.
    let roots: Vec<f64> = counts.windows(3).map(|near| (near.iter().sum::<f64>() / 3.0).sqrt()).collect();
    let mean = roots.iter().sum::<f64>() / roots.len() as f64;
    let power: f64 = roots.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / roots.len() as f64;
    if power < 1e-9 {
        return Vec::new();
    }
    let longest = roots.len() * 45 / 100;
    let echo = |lag: usize| {
        let sum: f64 = roots[lag..].iter().zip(&roots).map(|(a, b)| (a - mean) * (b - mean)).sum();
        sum / (roots.len() - lag) as f64 / power
    };
    let echoes: Vec<f64> = (0..=longest).map(echo).collect();
    // A season is a peak after a valley, wide enough not to be noise.
    let dip = echoes.iter().position(|e| *e < 0.1).unwrap_or(longest);
    let wide = |lag: usize| (lag / 20).max(2);
    let peak = |lag: &usize| {
        let (from, to) = (lag.saturating_sub(wide(*lag)), (lag + wide(*lag)).min(longest));
        echoes[*lag] >= ECHO_MIN && to > *lag && (from..=to).all(|near| echoes[near] <= echoes[*lag])
    };
    let peaks: Vec<usize> = (dip.max(SEASON_MIN)..longest).filter(peak).collect();
    let best = peaks.iter().map(|lag| echoes[*lag]).fold(0.0, f64::max);
    let Some(first) = peaks.iter().copied().find(|lag| echoes[*lag] >= 0.6 * best) else { return Vec::new() };
    // A longer one counts when it repeats clearly better, as a week does over a day.
    let longer = peaks
        .iter()
        .copied()
        .filter(|lag| *lag > first + wide(first))
        .find(|lag| echoes[*lag] >= 0.97 * best && echoes[*lag] > echoes[first] + 0.08);
    std::iter::once(first).chain(longer).collect()
}

/// The forecast of step `target` from `counts`, of which the first one is step `first`: the mean of the same step
/// in the rounds before, times how the last hour lies beside its own season. Nothing before one round is over.
pub(crate) fn forecast(counts: &[u32], first: u64, season: usize, target: f64) -> Option<f64> {
    let mean_at = |step: f64| -> Option<f64> {
        let (mut sum, mut weight) = (0.0, 0.0);
        let mut at = step - first as f64 - season as f64;
        // A step that is not over yet looks back one more round.
        while at + 1.0 >= counts.len() as f64 {
            at -= season as f64;
        }
        for _ in 0..ROUNDS {
            if at < 0.0 {
                break;
            }
            let (below, part) = (at.floor() as usize, at.fract());
            let after = (below + 1).min(counts.len() - 1);
            sum += f64::from(counts[below]) * (1.0 - part) + f64::from(counts[after]) * part;
            weight += 1.0;
            at -= season as f64;
        }
        (weight > 0.0).then(|| sum / weight)
    };
    let expected = mean_at(target)?;
    let recent = counts.len().min(12);
    let usual: Option<f64> = (1..=recent).map(|back| mean_at((first as usize + counts.len() - back) as f64)).sum();
    let came: f64 = counts[counts.len() - recent..].iter().map(|n| f64::from(*n)).sum();
    let level = usual.map_or(1.0, |usual| ((came + 1.0) / (usual + 1.0)).clamp(0.25, 4.0));
    Some(expected * level)
}
