//! Figures for people.

use crate::bench::Figure;
use crate::cli::output;

const HEADER: [&str; 11] = [
    "scenario", "clients", "ops/s", "p50", "p99", "beside", "ops/s", "p50", "ratio", "goal",
    "errors",
];
/// The columns that hold words.
const WORDS: [&str; 2] = ["scenario", "beside"];

/// The table as a terminal shows it, below the conditions.
pub(super) fn plain(conditions: &str, figures: &[Figure]) -> String {
    let table = output::table(HEADER, figures.iter().map(cells));
    let mut lines = vec![format!("\n{conditions}\n\n{table}")];
    lines.extend(comparisons(figures));
    lines.join("\n")
}

/// The same as a page shows it.
pub(super) fn markdown(conditions: &str, figures: &[Figure]) -> String {
    let line = |cells: [String; 11]| format!("| {} |\n", cells.join(" | "));
    let rule = HEADER.map(|name| if WORDS.contains(&name) { "---" } else { "---:" }.to_owned());
    let mut text = format!("```text\n{conditions}\n```\n\n");
    text += &line(HEADER.map(str::to_owned));
    text += &line(rule);
    text.extend(figures.iter().map(|figure| {
        let mut cells = cells(figure);
        cells[0] = format!("`{}`", cells[0]);
        line(cells)
    }));
    text.push('\n');
    text.extend(comparisons(figures).iter().map(|comparison| format!("- {comparison}\n")));
    text.trim_end().to_owned()
}

fn cells(figure: &Figure) -> [String; 11] {
    [
        figure.scenario.clone(),
        figure.clients.to_string(),
        format!("{:.0}", figure.ops_per_second),
        millis(figure.p50_us),
        millis(figure.p99_us),
        figure.beside.to_owned(),
        format!("{:.0}", figure.floor_ops_per_second),
        millis(figure.floor_p50_us),
        format!("{:.2}", figure.ratio),
        output::or_dash(aim_of(figure)),
        figure.errors.to_string(),
    ]
}

/// The goal of a figure: a ratio, or operations per second.
fn aim_of(figure: &Figure) -> Option<String> {
    let ratio = figure.goal.map(|goal| aim(figure.ratio, goal));
    ratio.or_else(|| {
        let goal = figure.goal_ops_per_second?;
        let missed = if figure.ops_per_second >= goal { "" } else { " missed" };
        Some(format!("{goal:.0}/s{missed}"))
    })
}

/// A ratio that is to be reached, and whether it was missed.
fn aim(ratio: f64, goal: f64) -> String {
    format!("{goal:.2}{}", if ratio >= goal { "" } else { " missed" })
}

/// What batches are held to beyond their floor, as far as it was measured in the same run.
fn comparisons(figures: &[Figure]) -> Vec<String> {
    let batches = || figures.iter().filter(|figure| figure.scenario == "batch");
    let of = |scenario: &str, clients: usize| {
        figures.iter().find(|figure| figure.scenario == scenario && figure.clients == clients)
    };
    let against = |ours: &Figure, other: &Figure, goal: f64| {
        let ratio = ours.ops_per_second / other.ops_per_second;
        format!(
            "`{}` with {} to `{}` with {}: {ratio:.2}, goal {}",
            ours.scenario,
            clients(ours.clients),
            other.scenario,
            clients(other.clients),
            aim(ratio, goal),
        )
    };
    let singly = of("cold", 16).into_iter().flat_map(|cold| batches().map(move |b| (b, cold, 4.0)));
    let together = of("batch", 4).zip(of("batch", 1)).map(|(four, one)| (four, one, 0.8));
    singly.chain(together).map(|(ours, other, goal)| against(ours, other, goal)).collect()
}

fn clients(number: usize) -> String {
    format!("{number} client{}", if number == 1 { "" } else { "s" })
}

fn millis(micros: Option<u64>) -> String {
    output::or_dash(micros.map(|micros| format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)))
}
