//! Fewer calls that still fail.

use std::fmt::Debug;

/// How a list of calls went wrong: after how many of them, and what was seen.
pub(crate) type Failure = (usize, String);

/// Leaves out whatever is not needed to fail, in ever smaller pieces. Tells the calls and what was
/// seen.
pub(crate) async fn shorten<S: Clone + Debug>(
    mut steps: Vec<S>,
    mut failure: Failure,
    play: impl AsyncFn(&[S]) -> Result<(), Failure>,
) -> String {
    steps.truncate(failure.0);
    let mut piece = steps.len() / 2;
    while piece > 0 {
        let mut start = 0;
        while start < steps.len() {
            let end = steps.len().min(start + piece);
            let fewer = [&steps[..start], &steps[end..]].concat();
            match play(&fewer).await {
                Ok(()) => start = end,
                Err(same) => {
                    steps = fewer;
                    steps.truncate(same.0);
                    failure = same;
                }
            }
        }
        piece /= 2;
    }
    let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
    format!("{}\n{}", steps.join("\n"), failure.1)
}
