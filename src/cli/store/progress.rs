//! How far a long command has come: a bar on a terminal, plain lines elsewhere, nothing when that is wished. Part of
//! `cli::store`. All of it goes to standard error, so that standard output is data alone.

use std::io::{self, IsTerminal, Write};

/// Cells of the bar.
const CELLS: u64 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bar,
    Lines,
    Quiet,
}

/// Shows the steps of a command.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    label: String,
    total: u64,
    done: u64,
    /// What the bar shows; nothing at first.
    shown: Option<u64>,
}

impl Progress {
    /// Shows nothing when `quiet`, and a bar only on a terminal.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let mode = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Bar,
            (false, false) => Mode::Lines,
        };
        Self { mode, label: String::new(), total: 0, done: 0, shown: None }
    }

    /// A step of `total` bytes begins.
    pub fn begin(&mut self, label: impl Into<String>, total: u64) {
        self.end();
        (self.label, self.total, self.done, self.shown) = (label.into(), total, 0, None);
        match self.mode {
            Mode::Bar => self.draw(),
            Mode::Lines => say(&format!("{}: {}\n", self.label, size(total))),
            Mode::Quiet => {}
        }
    }

    /// So many bytes more.
    pub fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        self.draw();
    }

    /// The step is over.
    pub fn end(&mut self) {
        if self.mode == Mode::Bar && self.shown.is_some() {
            self.done = self.done.max(self.total);
            self.draw();
            say("\n");
        }
        self.shown = None;
    }

    /// Says something between steps, unless quiet.
    pub fn line(&mut self, text: &str) {
        self.end();
        if self.mode != Mode::Quiet {
            say(&format!("{text}\n"));
        }
    }

    /// Makes room for a line that somebody else writes to the terminal.
    pub fn step_aside(&mut self) {
        if self.shown.take().is_some() {
            say("\r\x1b[K");
        }
    }

    fn draw(&mut self) {
        if self.mode != Mode::Bar {
            return;
        }
        let done = self.done.min(self.total);
        let percent = match self.total {
            0 => 100,
            total => (u128::from(done) * 100 / u128::from(total)) as u64,
        };
        if self.shown.replace(percent) == Some(percent) {
            return;
        }
        let text = bar(percent);
        say(&format!("\r\x1b[K{text} {percent:3} % {} of {}", self.label, size(self.total)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.mode == Mode::Bar && self.shown.is_some() {
            say("\n");
        }
    }
}

fn bar(percent: u64) -> String {
    let full = percent.min(100) * CELLS / 100;
    let cells = (0..CELLS).map(|cell| if cell < full { '#' } else { '.' });
    format!("[{}]", cells.collect::<String>())
}

/// Bytes for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = None;
    let mut value = bytes as f64;
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(next);
    }
    match unit {
        None => format!("{bytes} bytes"),
        Some(unit) => format!("{value:.1} {unit}"),
    }
}

/// Standard error may be gone; what it would have shown is no reason to stop.
fn say(text: &str) {
    let mut out = io::stderr().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::{Progress, bar, size};

    #[test]
    fn sizes_and_bars_are_readable() {
        assert_eq!(
            [0, 1023, 1024, 1 << 20, (3 << 30) + (1 << 29), u64::MAX].map(size),
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.0 MiB", "3.5 GiB", "16777216.0 TiB"]
        );
        assert_eq!(bar(0), format!("[{}]", ".".repeat(30)));
        assert_eq!(bar(50), format!("[{}{}]", "#".repeat(15), ".".repeat(15)));
        assert_eq!(bar(100), format!("[{}]", "#".repeat(30)));
    }

    #[test]
    fn quiet_takes_every_call() {
        let mut progress = Progress::new(true);
        progress.add(3);
        progress.begin("a", 0);
        progress.add(u64::MAX);
        progress.add(1);
        progress.step_aside();
        progress.line("b");
    }
}
