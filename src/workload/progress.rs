//! What people see while they wait, on standard error.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// A bar on a terminal, a line now and then elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    last_line: Cell<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        Self { bar, is_terminal, last_line: Cell::new(Instant::now()) }
    }

    /// Announces what begins now.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| {
            // Whoever closed standard error does not want to know.
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    /// Begins to count up to `length`, also after it was finished.
    pub(crate) fn start(&self, length: u64) {
        self.bar.reset();
        self.bar.set_length(length);
        if self.is_terminal {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Shows how far it is.
    pub(crate) fn update(&self, position: u64, message: String) {
        let length = self.bar.length().unwrap_or(position).max(1);
        self.bar.set_position(position.min(length));
        if self.is_terminal {
            self.bar.set_message(message);
        } else if self.last_line.get().elapsed() >= LINE_EVERY {
            self.last_line.set(Instant::now());
            self.say(&format!("{:>3} %  {message}", position.min(length) * 100 / length));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
