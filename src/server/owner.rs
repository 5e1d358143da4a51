//! The owner's end of a guardian.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::spawn_blocking;

use super::guardian::{Order, Ready, Reply, SUBCOMMAND};
use super::{failure, io_failure};
use crate::error::Result;

/// A guardian that was started. It ends when this value is dropped, or this process ends.
#[derive(Debug)]
pub(super) struct Guardian {
    /// There until this value is dropped.
    child: Option<Child>,
    /// Nothing is written after the order: it is its end that the guardian waits for.
    lifeline: Option<ChildStdin>,
    replies: Option<BufReader<ChildStdout>>,
    /// It said that it goes on without us.
    lingers: bool,
}

impl Guardian {
    /// Starts a guardian and waits for its answer.
    pub(super) async fn start(program: Option<PathBuf>, order: &Order) -> Result<(Self, Ready)> {
        let mut guardian = Self::spawn(program, order)?;
        // Should this future be dropped, the lifeline goes with it, and the reader sees the end.
        match guardian.next_reply().await? {
            Some(Reply::Ready(ready)) => Ok((guardian, ready)),
            Some(Reply::Failed(failed)) => Err(failed.into()),
            Some(Reply::Lingering) | None => Err(failure("the guardian ended without an answer")),
        }
    }

    fn spawn(program: Option<PathBuf>, order: &Order) -> Result<Self> {
        let program = match program {
            Some(program) => program,
            None => env::current_exe().map_err(|e| io_failure("cannot find this program", e))?,
        };
        let mut command = Command::new(&program);
        command
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It must hold neither our directory nor, if it outlives us, our standard error.
            .current_dir("/")
            // Ctrl-C in the terminal is for us; the guardian ends after us, not with us.
            .process_group(0);
        if order.outlives_owner() {
            command.stderr(Stdio::null());
        }
        let mut child = command
            .spawn()
            .map_err(|e| io_failure(format_args!("cannot start {}", program.display()), e))?;
        let mut lifeline = child.stdin.take();
        let replies = child.stdout.take().map(BufReader::new);
        let mut line = serde_json::to_vec(order)
            .map_err(std::io::Error::from)
            .map_err(|e| io_failure("cannot write the order", e))?;
        line.push(b'\n');
        let sent = lifeline.as_mut().map_or(Ok(()), |lifeline| lifeline.write_all(&line));
        let guardian = Self { child: Some(child), lifeline, replies, lingers: false };
        sent.map_err(|e| io_failure("the guardian does not listen", e))?;
        Ok(guardian)
    }

    /// The guardian's next reply, or nothing at its end.
    pub(super) async fn next_reply(&mut self) -> Result<Option<Reply>> {
        let Some(mut replies) = self.replies.take() else { return Ok(None) };
        let (reply, replies) = spawn_blocking(move || (read_reply(&mut replies), replies))
            .await
            .map_err(|e| failure("cannot read the guardian's reply").caused_by(e))?;
        self.replies = Some(replies);
        self.lingers |= matches!(reply, Ok(Some(Reply::Lingering)));
        reply
    }

    /// Lets the server go: the guardian stops it unless others still use it.
    pub(super) async fn finish(mut self) -> Result<()> {
        self.lifeline = None;
        self.hear_out().await
    }

    /// Stops the server, whoever uses it.
    pub(super) async fn terminate(mut self) -> Result<()> {
        if let Some(child) = &self.child {
            // Not waited for yet, so the id is still the guardian's.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        }
        self.hear_out().await
    }

    async fn hear_out(&mut self) -> Result<()> {
        match self.next_reply().await? {
            None | Some(Reply::Lingering) => Ok(()),
            Some(Reply::Failed(failed)) => Err(failed.into()),
            Some(Reply::Ready(_)) => Err(failure("the guardian answered twice")),
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.lifeline = None;
        while !self.lingers
            && let Some(Ok(Some(reply))) = self.replies.as_mut().map(read_reply)
        {
            self.lingers = matches!(reply, Reply::Lingering);
        }
        let Some(mut child) = self.child.take() else { return };
        if self.lingers {
            // Somebody has to, lest it stays as a zombie as long as we live.
            thread::spawn(move || child.wait());
        } else {
            let _ = child.wait();
        }
    }
}

fn read_reply(replies: &mut impl BufRead) -> Result<Option<Reply>> {
    let mut line = String::new();
    replies.read_line(&mut line).map_err(|e| io_failure("cannot read the guardian's reply", e))?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&line)
        .map(Some)
        .map_err(|e| failure("the guardian's reply cannot be understood").caused_by(e))
}
