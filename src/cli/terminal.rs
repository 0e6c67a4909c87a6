//! Asking for a password without showing it. Part of `cli`.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Whether somebody sits there to be asked.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Shows `prompt` on standard error and reads a line that is not echoed.
///
/// # Errors
/// The terminal's.
pub fn ask(prompt: &str) -> io::Result<String> {
    let mut out = io::stderr();
    out.write_all(prompt.as_bytes())?;
    out.flush()?;
    let silence = Silence::begin()?;
    let line = first_line(&mut io::stdin().lock());
    drop(silence);
    out.write_all(b"\n")?;
    line
}

/// The first line of `input`, without its end.
///
/// # Errors
/// The input's; not UTF-8.
pub fn first_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(LINE_BYTES_MAX).read_line(&mut line)?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line)
}

/// A terminal that does not echo; as it was again when dropped.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that went away cannot be restored, and needs not.
        let (Ok(()) | Err(_)) = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::first_line;

    #[test]
    fn only_the_line_end_is_cut_off() {
        for (input, line) in [("a b \r\nc", "a b "), ("x", "x"), ("", ""), ("\nx", "")] {
            assert_eq!(first_line(&mut input.as_bytes()).unwrap(), line);
        }
        assert!(first_line(&mut b"\xff\n".as_slice()).is_err());
    }
}
