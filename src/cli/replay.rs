//! `occupancy replay`: a cluster trace through real reservations.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::scratch::Scratch;
use crate::cli::{Verdict, output, summary};
use crate::config::Config;
use crate::error::Result;
use crate::schema::Runner;
use crate::workload::progress::Progress;
use crate::workload::replay::{Options, run};
use crate::workload::summary::Summary;
use crate::workload::trace::{self, Node, Pod};

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
/// Works in a database of its own on the server, which is dropped at the end.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy replay --nodes openb_node_list_all_node.csv \
                        --pods openb_pod_list_default.csv\n         \
                        occupancy replay --nodes … --pods … --arrivals-only --node-count 40")]
#[expect(clippy::doc_markdown, reason = "it is the text of --help")]
pub(super) struct Replay {
    /// The nodes: sn, cpu_milli, memory_mib, gpu.
    #[arg(long, value_name = "CSV")]
    nodes: PathBuf,
    /// The tasks: name, cpu_milli, memory_mib, num_gpu, gpu_milli and the three times.
    #[arg(long, value_name = "CSV")]
    pods: PathBuf,
    /// How many managers work at once.
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    managers: u16,
    /// Over how many access keys the tasks are spread.
    #[arg(long, value_name = "K", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// Sessions that a key may run at once [default: 2, with --arrivals-only 10].
    #[arg(long, value_name = "L", value_parser = clap::value_parser!(i64).range(0..))]
    limit: Option<i64>,
    /// Only this many of the nodes, spread evenly over the list so that all models are there.
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
        let nodes = spread(trace::nodes(&self.nodes)?, self.node_count);
        let pods = trace::pods(&self.pods)?;
        let progress = Progress::new();
        let scratch = Scratch::create(server, "occupancy_replay").await?;
        let mut client = scratch.config().connect().await?;
        Runner::embedded()?.migrate(&mut client).await?;
        drop(client);

        let assumptions = self.assumptions(&nodes, &pods);
        progress.say(&assumptions);
        let summary = run(scratch.config(), nodes, pods, self.options(), &progress).await?;
        let kept = self.keep.then(|| scratch.name().to_owned());
        if self.keep {
            scratch.keep();
        } else {
            scratch.remove().await?;
        }
        report(&summary, &assumptions, kept, json)?;
        Ok(Verdict::unsound_if(!summary.broken.is_empty()))
    }

    fn options(&self) -> Options {
        Options {
            managers: usize::from(self.managers),
            keys: self.keys,
            limit: self.limit.unwrap_or(if self.arrivals_only { 10 } else { 2 }),
            arrivals_only: self.arrivals_only,
            seed: self.seed,
        }
    }

    fn assumptions(&self, nodes: &[Node], pods: &[Pod]) -> String {
        let Options { keys, limit, .. } = self.options();
        let order = if self.arrivals_only { "arrivals only" } else { "by the trace's clock" };
        format!(
            "{} tasks on {} nodes, {order}; {keys} keys derived from a hash of the task's name, \
             {limit} sessions each",
            pods.len(),
            nodes.len()
        )
    }
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
