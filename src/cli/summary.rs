//! A workload's summary, for people.

use std::cmp::Reverse;
use std::iter;

use crate::cli::output;
use crate::workload::summary::{SlotPeak, Summary};

/// The whole summary but for the verdict.
pub(super) fn describe(summary: &Summary) -> String {
    let tables = [rejections(summary), keys(summary), quotas(summary)].into_iter().flatten();
    let parts = iter::once(totals(summary)).chain(tables);
    let parts: Vec<_> = parts.chain([slots(summary), latencies(summary)]).collect();
    parts.join("\n\n")
}

fn totals(summary: &Summary) -> String {
    let rejected: u64 = summary.rejected.values().sum();
    let mut lines = vec![
        format!(
            "{} managers made {} calls in {:.1} s: {:.0} calls per second",
            summary.managers, summary.calls, summary.seconds, summary.calls_per_second
        ),
        format!(
            "{} sessions admitted, {rejected} rejected, at most {} at once",
            summary.admitted, summary.peak_sessions
        ),
    ];
    if summary.duplicates > 0 {
        lines.push(format!(
            "{} reservations sent twice at once: {} answered already_admitted, none admitted twice",
            summary.duplicates, summary.already_admitted
        ));
    }
    if summary.moved_on > 0 {
        let moved_on = summary.moved_on;
        lines.push(format!("{moved_on} times an agent was full and another one was tried"));
    }
    lines.join("\n")
}

fn rejections(summary: &Summary) -> Option<String> {
    let rows = summary.rejected.iter().map(|(code, count)| [code.clone(), count.to_string()]);
    (!summary.rejected.is_empty()).then(|| output::table(["rejected for", "sessions"], rows))
}

/// The keys that came nearest to their limits.
fn keys(summary: &Summary) -> Option<String> {
    const SHOWN: usize = 10;
    let mut keys: Vec<_> = summary.keys.iter().collect();
    keys.sort_by_key(|key| (key.max.map_or(i64::MAX, |max| max - key.peak), Reverse(key.rejected)));
    let rows = keys.iter().take(SHOWN).map(|key| {
        [
            key.access_key.clone(),
            key.peak.to_string(),
            output::limit(key.max),
            key.rejected.to_string(),
        ]
    });
    let more = match keys.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("\n… and {more} more keys"),
    };
    let table = output::table(["key", "peak", "limit", "rejected by it"], rows);
    (!keys.is_empty()).then_some(table + &more)
}

fn quotas(summary: &Summary) -> Option<String> {
    let rows = summary.quotas.iter().flat_map(|quota| {
        let name = format!("{} {}", quota.scope, quota.scope_id);
        let sessions = quota.max.map(|max| {
            [name.clone(), "sessions".to_owned(), quota.peak.to_string(), max.to_string()]
        });
        let slots = quota.slots.iter().map({
            let name = name.clone();
            move |peak| {
                let [used, of] = amounts(peak);
                [name.clone(), peak.slot.clone(), used, of]
            }
        });
        sessions.into_iter().chain(slots).collect::<Vec<_>>()
    });
    let table = output::table(["quota", "of", "peak", "limit"], rows);
    (!summary.quotas.is_empty()).then_some(table)
}

fn slots(summary: &Summary) -> String {
    let rows = summary.slots.iter().map(|peak| {
        let [used, of] = amounts(peak);
        [peak.slot.clone(), used, of, format!("{:.1} %", peak.percent)]
    });
    output::table(["slot", "peak", "available", "share"], rows)
}

/// Rounded where an exact number of bytes would be unreadable; `--json` has that.
fn amounts(peak: &SlotPeak) -> [String; 2] {
    const GIBI: f64 = 1_073_741_824.0;
    [&peak.peak, &peak.available].map(|amount| match amount.parse::<f64>() {
        Ok(bytes) if peak.slot == "mem" => format!("{:.1} GiB", bytes / GIBI),
        _ => amount.clone(),
    })
}

fn latencies(summary: &Summary) -> String {
    let millis = |micros: u64| format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10);
    let rows = summary.latencies.iter().map(|latency| {
        [
            latency.call.to_owned(),
            latency.count.to_string(),
            millis(latency.p50_us),
            millis(latency.p99_us),
        ]
    });
    output::table(["call", "count", "p50", "p99"], rows)
}

/// What was held against limits meanwhile, and the verdict in the last line.
pub(super) fn verdict(summary: &Summary) -> String {
    let mut lines = vec![format!(
        "every limit was read {} times meanwhile: {}",
        summary.samples,
        match summary.broken.len() {
            0 => "never exceeded".to_owned(),
            broken => format!("{broken} numbers are wrong"),
        }
    )];
    if let Some(end) = &summary.end {
        lines.push(format!(
            "released the {} sessions that still ran: {} of {} agents have nothing occupied",
            end.released, end.empty_agents, end.agents
        ));
    }
    lines.extend(summary.broken.iter().take(20).map(|broken| format!("  {broken}")));
    let sound = if summary.broken.is_empty() { "sound" } else { "UNSOUND" };
    lines.push(format!("audit: {sound}"));
    lines.join("\n")
}
