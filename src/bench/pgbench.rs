//! The reservation through pgbench, PostgreSQL's own load generator.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::bench::order::Choice;
use crate::bench::player::Slice;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// pgbench with a script that calls the function as the client does, ids made by the server.
pub(super) struct Pgbench {
    config: Config,
    script: NamedTempFile,
    clients: usize,
    prepared: bool,
}

impl Pgbench {
    pub(super) fn new(
        config: &Config,
        choice: &Choice,
        clients: usize,
        prepared: bool,
    ) -> Result<Self> {
        let unwritable = |error: std::io::Error| {
            Error::new(ErrorKind::Io, "cannot write pgbench's script").caused_by(error)
        };
        let mut script = NamedTempFile::new().map_err(unwritable)?;
        script.write_all(text(choice).as_bytes()).map_err(unwritable)?;
        Ok(Self { config: config.clone(), script, clients, prepared })
    }

    /// Runs it for this long, in whole seconds.
    pub(super) async fn run(&self, length: Duration) -> Result<Slice> {
        let seconds = length.as_millis().div_ceil(1000).max(1);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut command = Command::new("pgbench");
        command
            .args([
                "--no-vacuum",
                "--protocol",
                if self.prepared { "prepared" } else { "extended" },
            ])
            .args(["--client", &self.clients.to_string()])
            .args(["--jobs", &threads.min(self.clients).to_string()])
            .args(["--time", &seconds.to_string()])
            .arg("--file")
            .arg(self.script.path())
            .envs(self.config.variables())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.map_err(|error| {
            Error::new(ErrorKind::Io, "cannot run pgbench")
                .detail(error.to_string())
                .hint("it comes with PostgreSQL; put the folder that holds it on the PATH")
                .caused_by(error)
        })?;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match ops_per_second(&stdout) {
            Some(ops_per_second) if output.status.success() => {
                Ok(Slice { ops_per_second, ..Slice::default() })
            }
            _ => {
                Err(Error::new(ErrorKind::Database, format!("pgbench failed ({})", output.status))
                    .detail(stderr.trim()))
            }
        }
    }
}

fn text(choice: &Choice) -> String {
    let Choice { first_key, keys, agents, .. } = choice;
    let last_key = first_key + keys - 1;
    format!(
        r#"\set key random({first_key}, {last_key})
\set agent random(1, {agents})
select session_id, outcome, code, message, access_key, used, max, violations, kernels
  from occupancy.reserve_session(
         session_id => gen_random_uuid(),
         access_key => 'AK-' || :key,
         kernels => jsonb_build_array(jsonb_build_object(
           'kernel_id', gen_random_uuid(),
           'agent', 'i-' || :agent,
           'slots', '{{"cpu": "1", "cuda.shares": "0.5", "mem": "1g"}}'::jsonb)),
         session_type => 'interactive',
         project => null,
         manager => null,
         epoch => null);
"#
    )
}

/// Reads `tps = 1234.5 (without initial connection time)`.
fn ops_per_second(output: &str) -> Option<f64> {
    let line = output.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_in_what_pgbench_prints() {
        let output = "latency average = 0.5 ms\ntps = 1987.25 (without initial connection time)\n";
        assert_eq!(ops_per_second(output), Some(1987.25));
        assert_eq!(ops_per_second("pgbench: error"), None);
    }
}
