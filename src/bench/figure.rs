//! One line of the table.

use serde::Serialize;

use crate::bench::contest::Contest;
use crate::bench::player::Slice;
use crate::bench::scenario::Goal;

/// What a scenario achieved with a number of clients; each number is the median of the slices.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) scenario: String,
    pub(crate) clients: usize,
    pub(crate) ops_per_second: f64,
    pub(crate) p50_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    /// What it is compared with.
    pub(crate) beside: &'static str,
    pub(crate) floor_ops_per_second: f64,
    pub(crate) floor_p50_us: Option<u64>,
    pub(crate) floor_p99_us: Option<u64>,
    /// Operations per second, of ours to the other's.
    pub(crate) ratio: f64,
    /// Microseconds of processors that an operation took, of the server's backends and of this
    /// program together, with whatever a turn does beside; `None` if the server is elsewhere.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) floor_cpu_us: Option<f64>,
    /// What the ratio is to reach, where that was agreed on.
    pub(crate) goal: Option<f64>,
    /// What our operations per second are to reach, where that was.
    pub(crate) goal_ops_per_second: Option<f64>,
    /// Passing errors, such as deadlocks, of ours in all slices.
    pub(crate) errors: u64,
    pub(crate) slices: usize,
    pub(crate) slice_seconds: f64,
    /// The operations per second of each slice.
    pub(crate) ops_per_second_of_slices: Vec<f64>,
    pub(crate) floor_ops_per_second_of_slices: Vec<f64>,
}

impl Figure {
    /// Sums up the slices of both teams.
    pub(super) fn new(contest: &Contest, beside: &'static str, slices: &[(Slice, Slice)]) -> Self {
        let (ours, theirs): (Vec<Slice>, Vec<Slice>) = slices.iter().copied().unzip();
        let rates = |slices: &[Slice]| slices.iter().map(|s| s.ops_per_second).collect::<Vec<_>>();
        let (ops, floor_ops) = (rates(&ours), rates(&theirs));
        let (ops_per_second, floor_ops_per_second) = (median(&ops), median(&floor_ops));
        let (goal, goal_ops_per_second) = match contest.scenario.goal(contest.clients) {
            Some(Goal::Ratio(ratio)) => (Some(ratio), None),
            Some(Goal::Speed(speed)) => (None, Some(speed)),
            None => (None, None),
        };
        Self {
            scenario: contest.scenario.to_string(),
            clients: contest.clients,
            ops_per_second,
            p50_us: median_time(&ours, |slice| slice.p50_us),
            p99_us: median_time(&ours, |slice| slice.p99_us),
            beside,
            floor_ops_per_second,
            floor_p50_us: median_time(&theirs, |slice| slice.p50_us),
            floor_p99_us: median_time(&theirs, |slice| slice.p99_us),
            ratio: ops_per_second / floor_ops_per_second,
            cpu_us: median_effort(&ours),
            floor_cpu_us: median_effort(&theirs),
            goal,
            goal_ops_per_second,
            errors: ours.iter().map(|slice| slice.errors).sum(),
            slices: slices.len(),
            slice_seconds: contest.options.slice.as_secs_f64(),
            ops_per_second_of_slices: ops,
            floor_ops_per_second_of_slices: floor_ops,
        }
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Of the slices of which it is known.
fn median_effort(slices: &[Slice]) -> Option<f64> {
    let known: Vec<_> = slices.iter().filter_map(Slice::cpu_us).collect();
    (!known.is_empty()).then(|| median(&known))
}

/// The middle one, of two the longer.
fn median_time(slices: &[Slice], time: impl Fn(&Slice) -> Option<u64>) -> Option<u64> {
    let mut sorted: Vec<_> = slices.iter().filter_map(time).collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_ignores_what_is_far_off() {
        assert!((median(&[5.0, 1.0, 1000.0]) - 5.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 1000.0, 6.0]) - 5.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
        let slice = |p50_us| Slice { p50_us, ..Slice::default() };
        let slices = [slice(Some(7)), slice(None), slice(Some(3)), slice(Some(900))];
        assert_eq!(median_time(&slices, |slice| slice.p50_us), Some(7));
        assert_eq!(median_time(&[slice(None)], |slice| slice.p50_us), None);
    }
}
