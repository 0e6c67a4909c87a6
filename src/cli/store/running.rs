//! Asking a running broker for a backup. Part of `cli::store`; what is said is in
//! [`wire`](crate::app::control::wire).

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::app::control::PATH_BYTES_MAX;
use crate::app::control::wire::{Answer, BACKUP, END, ENDED, SOCKET, read_line, read_row};
use crate::model::ids::Lsn;
use crate::store::tables::snapshot::Copy;

use super::StoreCommandError;

/// How long the broker may take for an answer; it takes a checkpoint before the first.
const PATIENCE: Duration = Duration::from_secs(120);

/// A broker that keeps its files until this is ended or dropped.
pub struct Running {
    stream: BufReader<UnixStream>,
    socket: String,
}

impl Running {
    /// Asks the broker that serves `data_dir`; the last record that a backup holds.
    ///
    /// # Errors
    /// Nobody listens, or it refuses.
    pub fn begin(data_dir: &Path) -> Result<(Self, Lsn), StoreCommandError> {
        let path = data_dir.join(SOCKET);
        let socket = path.display().to_string();
        let length = path.as_os_str().len();
        if length > PATH_BYTES_MAX {
            return Err(StoreCommandError::Refused(format!(
                "{socket}: the path has {length} bytes, and a socket's has {PATH_BYTES_MAX} at most: a running broker \
                 needs a data directory with a shorter path; stopped, it can be backed up as it is"
            )));
        }
        let failed = || StoreCommandError::io(format!("the running broker's {socket}"));
        let stream = UnixStream::connect(&path).map_err(failed())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
        let mut running = Self { stream: BufReader::new(stream), socket: socket.clone() };
        running.say(BACKUP)?;
        let line = read_line(&mut running.stream).map_err(failed())?;
        match serde_json::from_str(&line) {
            Ok(Answer::Begun { last_lsn }) => Ok((running, Lsn(last_lsn))),
            Ok(Answer::Refused(why)) => {
                Err(StoreCommandError::Refused(format!("the running broker refuses: {why}")))
            }
            Err(error) => Err(failed()(error.into())),
        }
    }

    /// Puts the database's rows into `copy`.
    ///
    /// # Errors
    /// The connection breaks; the copy cannot be written.
    pub fn rows(&mut self, copy: &mut Copy) -> Result<(), StoreCommandError> {
        let mut count = 0;
        loop {
            let row = read_row(&mut self.stream);
            match row.map_err(StoreCommandError::io(format!("rows from {}", self.socket)))? {
                Ok(row) => copy.put(row)?,
                Err(sent) if sent == count => return Ok(()),
                Err(sent) => {
                    let text = format!("{count} of {sent} rows arrived from {}", self.socket);
                    return Err(StoreCommandError::Refused(text));
                }
            }
            count += 1;
        }
    }

    /// Says that everything is copied.
    ///
    /// # Errors
    /// The broker did not keep its files until now: it has ended meanwhile.
    pub fn end(mut self) -> Result<(), StoreCommandError> {
        self.say(END)?;
        let gone = || StoreCommandError::io("the broker ended while it was copied");
        match read_line(&mut self.stream).map_err(gone())? == ENDED {
            true => Ok(()),
            false => Err(StoreCommandError::Refused("an unknown answer at the end".to_owned())),
        }
    }

    fn say(&mut self, line: &str) -> Result<(), StoreCommandError> {
        let written = self.stream.get_mut().write_all(format!("{line}\n").as_bytes());
        written.map_err(StoreCommandError::io(format!("the running broker's {}", self.socket)))
    }
}
