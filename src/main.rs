//! The `occupancy` command.

use std::process::ExitCode;

use clap::Parser;
use occupancy::cli::up::{Down, Up};
use occupancy::server::guardian;

#[derive(Parser)]
enum Command {
    Up(Up),
    Down(Down),
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == guardian::SUBCOMMAND) {
        return guardian::run();
    }
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Up(up) => up.run(false, async |_| Ok(())).await,
        Command::Down(down) => down.run(false).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for part in [error.detail_text(), error.hint_text()].into_iter().flatten() {
                eprintln!("{part}");
            }
            ExitCode::FAILURE
        }
    }
}
