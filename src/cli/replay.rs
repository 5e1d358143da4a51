//! `occupancy replay`: a cluster trace through real reservations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::queue::selectors;
use crate::cli::scratch::Scratch;
use crate::cli::{Verdict, output, summary};
use crate::config::Config;
use crate::error::Result;
use crate::scheduling::Selector;
use crate::schema::Runner;
use crate::workload::progress::Progress;
use crate::workload::queue::{self, Passage};
use crate::workload::replay::{Options, run};
use crate::workload::summary::Summary;
use crate::workload::trace::{self, Node, Pod};

/// How many nodes it takes to make the trace's tasks wait.
const QUEUE_NODES: u32 = 200;

/// Replays a cluster trace in the CSV form of OpenB through real reservations.
///
/// Each node is an agent, each task a session of one kernel: cpu_milli thousandths of `cpu`,
/// memory_mib MiB of `mem`, num_gpu * gpu_milli thousandths of `cuda.shares`. Managers take the
/// events in the order of the trace's clock; each places a task where it fits best as far as it
/// knows, and the database decides. A departure waits for its own arrival. gpu_spec, qos and
/// pod_phase are not looked at.
///
/// The trace has no owners: the access key of a task is derived from a hash of its name.
///
/// With --queue the tasks wait in the queue instead, and the managers tick: once for each selector
/// with arrivals only, until nothing more fits, and once with departures. A task that was not placed
/// when its time is over leaves the queue.
///
/// Works in a database of its own on the server, which is dropped at the end.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy replay --nodes openb_node_list_all_node.csv \
                        --pods openb_pod_list_default.csv\n         \
                        occupancy replay --nodes … --pods … --arrivals-only --node-count 40\n         \
                        occupancy replay --nodes … --pods … --queue --selector concentrated")]
#[expect(clippy::doc_markdown, reason = "it is the text of --help")]
pub(super) struct Replay {
    /// The nodes: sn, cpu_milli, memory_mib, gpu.
    #[arg(long, value_name = "CSV")]
    nodes: PathBuf,
    /// The tasks: name, cpu_milli, memory_mib, num_gpu, gpu_milli and the three times.
    #[arg(long, value_name = "CSV")]
    pods: PathBuf,
    /// Send the tasks through the queue.
    #[arg(long)]
    queue: bool,
    /// With --queue, only these selectors, separated by commas [default: all].
    #[arg(long, value_name = "SELECTOR", value_delimiter = ',', requires = "queue",
          value_parser = selectors())]
    selector: Vec<String>,
    /// How many managers work at once [default: 8, with --queue 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    managers: Option<u16>,
    /// Over how many access keys the tasks are spread.
    #[arg(long, value_name = "K", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// Sessions that a key may run at once [default: 2, with --arrivals-only 10, with --queue no
    /// limit].
    #[arg(long, value_name = "L", value_parser = clap::value_parser!(i64).range(0..))]
    limit: Option<i64>,
    /// Only this many of the nodes, spread evenly over the list so that all models are there
    /// [default: all, with --queue 200].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    node_count: Option<u32>,
    /// Nobody departs: the nodes fill up.
    #[arg(long)]
    arrivals_only: bool,
    /// The ids of the sessions follow from this number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave the database on the server.
    #[arg(long)]
    keep: bool,
}

impl Replay {
    pub(super) async fn run(self, server: &Config, json: bool) -> Result<Verdict> {
        let node_count = self.node_count.or(self.queue.then_some(QUEUE_NODES));
        let nodes = spread(trace::nodes(&self.nodes)?, node_count);
        let pods = trace::pods(&self.pods)?;
        let progress = Progress::new();
        if self.queue {
            return self.through_the_queue(server, &nodes, &pods, &progress, json).await;
        }
        let scratch = installed(server).await?;
        let assumptions = self.assumptions(&nodes, &pods);
        progress.say(&assumptions);
        let summary = run(scratch.config(), nodes, pods, self.options(), &progress).await?;
        let kept = self.leave(scratch).await?;
        report(&summary, &assumptions, kept, json)?;
        Ok(Verdict::unsound_if(!summary.broken.is_empty()))
    }

    /// Every selector, with arrivals only and then, unless that is all, with departures, each in a
    /// database of its own.
    async fn through_the_queue(
        self,
        server: &Config,
        nodes: &[Node],
        pods: &[Pod],
        progress: &Progress,
        json: bool,
    ) -> Result<Verdict> {
        let options = self.options();
        let assumptions = self.assumptions(nodes, pods);
        progress.say(&assumptions);
        let all = ["concentrated", "dispersed", "roundrobin", "legacy"].map(str::to_owned);
        let selectors = if self.selector.is_empty() { &all[..] } else { &self.selector };
        let courses = if self.arrivals_only { &[true][..] } else { &[true, false] };
        let (mut passages, mut kept) = (Vec::new(), Vec::new());
        for arrivals_only in courses {
            for selector in selectors {
                progress.say(&format!("{selector}, {}", course(*arrivals_only)));
                let scratch = installed(server).await?;
                let options = Options { arrivals_only: *arrivals_only, ..options };
                let selector = Selector::from(selector.clone());
                let passage =
                    queue::run(scratch.config(), nodes, pods, options, &selector, progress);
                passages.push(passage.await?);
                kept.extend(self.leave(scratch).await?);
            }
        }
        if json {
            let report =
                json!({ "assumptions": assumptions, "passages": passages, "databases": kept });
            output::json(&report)?;
        } else {
            output::line(format_args!("{assumptions}\n\n{}", passages_of(&passages)))?;
            for name in &kept {
                output::line(format_args!("the database {name} is still there"))?;
            }
        }
        Ok(Verdict::unsound_if(passages.iter().any(|passage| !passage.broken.is_empty())))
    }

    /// Removes the database, or leaves it as asked for and tells its name.
    async fn leave(&self, scratch: Scratch) -> Result<Option<String>> {
        if !self.keep {
            return scratch.remove().await.map(|()| None);
        }
        let name = scratch.name().to_owned();
        scratch.keep();
        Ok(Some(name))
    }

    fn options(&self) -> Options {
        let usual = match (self.queue, self.arrivals_only) {
            (true, _) => None,
            (false, true) => Some(10),
            (false, false) => Some(2),
        };
        Options {
            managers: usize::from(self.managers.unwrap_or(if self.queue { 4 } else { 8 })),
            keys: self.keys,
            limit: self.limit.or(usual),
            arrivals_only: self.arrivals_only,
            seed: self.seed,
        }
    }

    fn assumptions(&self, nodes: &[Node], pods: &[Pod]) -> String {
        let Options { keys, limit, .. } = self.options();
        let order = if self.queue {
            "through the queue"
        } else if self.arrivals_only {
            "arrivals only"
        } else {
            "by the trace's clock"
        };
        let limit = limit.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string());
        format!(
            "{} tasks on {} nodes, {order}; {keys} keys derived from a hash of the task's name, \
             {limit} sessions each",
            pods.len(),
            nodes.len()
        )
    }
}

/// A database with the schema.
async fn installed(server: &Config) -> Result<Scratch> {
    let scratch = Scratch::create(server, "occupancy_replay").await?;
    let mut client = scratch.config().connect().await?;
    Runner::embedded()?.migrate(&mut client).await?;
    Ok(scratch)
}

fn course(arrivals_only: bool) -> &'static str {
    if arrivals_only { "arrivals only" } else { "with departures" }
}

/// What became of the tasks, a line for each passage, and what the counts leave open.
fn passages_of(passages: &[Passage]) -> String {
    let header = [
        "selector",
        "course",
        "placed",
        "waiting",
        "gave up",
        "gpus at end",
        "at peak",
        "ticks",
        "ticks/s",
        "audit",
    ];
    let rows = passages.iter().map(|passage| {
        [
            passage.selector.clone(),
            course(passage.arrivals_only).to_owned(),
            passage.placed.to_string(),
            by_code(&passage.waiting),
            by_code(&passage.gave_up),
            format!("{:.1} %", passage.gpus_at_end),
            format!("{:.1} %", passage.gpus_at_peak),
            passage.ticks.to_string(),
            format!("{:.1}", passage.ticks_per_second),
            if passage.broken.is_empty() { "sound" } else { "UNSOUND" }.to_owned(),
        ]
    });
    let mut lines = vec![output::table(header, rows), String::new()];
    if let Some(Passage { tasks, managers, never_fit, .. }) = passages.first() {
        lines.push(format!("{managers} managers; the counts of a line add up to {tasks} tasks"));
        let never: u64 = never_fit.values().sum();
        let short =
            if never > 0 { format!(", too much {}", by_code(never_fit)) } else { String::new() };
        lines.push(format!("{never} of them fit on no node, not even an empty one{short}"));
    }
    for passage in passages {
        if !passage.rejected.is_empty() {
            lines.push(format!("{}: rejected {}", passage.selector, by_code(&passage.rejected)));
        }
        lines.extend(passage.broken.iter().take(20).map(|broken| format!("  {broken}")));
    }
    lines.join("\n")
}

fn by_code(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<_> = counts.iter().map(|(code, count)| format!("{count} {code}")).collect();
    if counts.is_empty() { "0".to_owned() } else { counts.join(", ") }
}

/// This many of the nodes, at equal distances: the list is sorted by model.
fn spread(nodes: Vec<Node>, count: Option<u32>) -> Vec<Node> {
    let all = nodes.len();
    let count = count.map_or(all, |count| all.min(count as usize));
    let wanted = |number: &usize| (number + 1) * count / all > number * count / all;
    let numbered = nodes.into_iter().enumerate();
    numbered.filter(|(number, _)| wanted(number)).map(|(_, node)| node).collect()
}

fn report(summary: &Summary, assumptions: &str, kept: Option<String>, json: bool) -> Result<()> {
    if json {
        let report = json!({ "assumptions": assumptions, "summary": summary, "database": kept });
        return output::json(&report);
    }
    output::line(format_args!("{assumptions}\n\n{}\n", summary::describe(summary)))?;
    if let Some(name) = kept {
        output::line(format_args!("the database {name} is still there\n"))?;
    }
    output::line(summary::verdict(summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::view::Demand;

    #[test]
    fn a_part_of_the_nodes_is_spread_over_all() {
        let node = |number: usize| Node { name: number.to_string(), capacity: Demand::default() };
        let picked = |count| -> Vec<String> {
            let nodes = (0..10).map(node).collect();
            spread(nodes, count).into_iter().map(|node| node.name).collect()
        };
        assert_eq!(picked(Some(2)), ["4", "9"]);
        assert_eq!(picked(Some(3)), ["3", "6", "9"]);
        assert_eq!(picked(Some(10)).len(), 10);
        assert_eq!(picked(Some(99)).len(), 10);
        assert_eq!(picked(None).len(), 10);
    }
}
