//! The `occupancy` command.

use std::process::ExitCode;

use occupancy::server::guardian;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == guardian::SUBCOMMAND) {
        return guardian::run();
    }
    occupancy::cli::main()
}
