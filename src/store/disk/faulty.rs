//! A folder of the operating system that fails on demand, beneath a whole broker. Part of `store::disk`.
//!
//! For tests of the executable alone: it is there when the environment variable [`VARIABLE`] names a file of faults,
//! and says so in the log. Each operation looks whether that file changed, so a test breaks and mends the disk while the
//! broker runs. A line is one fault: an operation, a folder below the data directory, what happens.
//!
//! ```text
//! sync * delay 2000        # microseconds, then the real thing
//! write logs ENOSPC        # a part of the bytes is written
//! sync journal EIO
//! write journal lose       # said to be written, and is not
//! sync journal lose        # said to be synced, and is not
//! ```
//!
//! Operations are `create`, `write`, `sync`, `sync_dir`, `rename`, `remove`; `*` stands for every operation or folder,
//! `.` for the data directory itself, where the database is. The first line that fits counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::store::disk::{Disk, DiskFile};

/// Names the file of faults.
pub const VARIABLE: &str = "RIALTO_TEST_DISK";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Fail(i32),
    Delay(Duration),
    Lose,
}

#[derive(Clone, Debug)]
struct Fault {
    operation: String,
    folder: String,
    effect: Effect,
}

impl Fault {
    fn parse(line: &str) -> Option<Self> {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (operation, folder) = (words.next()?.to_owned(), words.next()?.to_owned());
        let effect = match words.next()? {
            "ENOSPC" => Effect::Fail(28),
            "EIO" => Effect::Fail(5),
            "EROFS" => Effect::Fail(30),
            "lose" => Effect::Lose,
            "delay" => Effect::Delay(Duration::from_micros(words.next()?.parse().ok()?)),
            _ => return None,
        };
        Some(Self { operation, folder, effect })
    }

    fn fits(&self, operation: &str, folder: &str) -> bool {
        (self.operation == "*" || self.operation == operation)
            && (self.folder == "*" || self.folder == folder)
    }
}

#[derive(Debug)]
struct Script {
    file: PathBuf,
    read: Mutex<(Option<SystemTime>, Arc<[Fault]>)>,
}

impl Script {
    fn faults(&self) -> Arc<[Fault]> {
        let changed = std::fs::metadata(&self.file).and_then(|data| data.modified()).ok();
        let mut read = self.read.lock();
        if read.0 != changed {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            *read = (changed, text.lines().filter_map(Fault::parse).collect());
        }
        Arc::clone(&read.1)
    }

    /// Suffers whatever is in store for `operation`; true when it must only seem to be done.
    fn suffer(&self, operation: &str, folder: &str) -> io::Result<bool> {
        let faults = self.faults();
        match faults.iter().find(|fault| fault.fits(operation, folder)).map(|fault| fault.effect) {
            None => Ok(false),
            Some(Effect::Lose) => Ok(true),
            Some(Effect::Fail(code)) => Err(io::Error::from_raw_os_error(code)),
            Some(Effect::Delay(time)) => {
                std::thread::sleep(time);
                Ok(false)
            }
        }
    }
}

/// A folder that fails as its file of faults says.
#[derive(Debug)]
pub struct FaultyDisk {
    disk: Arc<dyn Disk>,
    script: Arc<Script>,
    /// The folder's place below the data directory: its first name, or `.`.
    folder: String,
}

impl FaultyDisk {
    /// `disk`, the data directory, with the faults that `file` names.
    #[must_use]
    pub fn over(disk: Arc<dyn Disk>, file: &Path) -> Arc<dyn Disk> {
        let script = Script { file: file.to_owned(), read: Mutex::new((None, Arc::new([]))) };
        Arc::new(Self { disk, script: Arc::new(script), folder: ".".to_owned() })
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { file, script: Arc::clone(&self.script), folder: self.folder.clone() })
    }

    fn suffer(&self, operation: &str) -> io::Result<bool> {
        self.script.suffer(operation, &self.folder)
    }
}

impl Disk for FaultyDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.suffer("create")?;
        self.disk.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.file(file))
    }

    fn open_direct(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_direct(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.suffer("rename")?;
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.suffer("remove")?;
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn list_folders(&self) -> io::Result<Vec<String>> {
        self.disk.list_folders()
    }

    fn sync_dir(&self) -> io::Result<()> {
        if self.suffer("sync_dir")? {
            return Ok(());
        }
        self.disk.sync_dir()
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        let folder = if self.folder == "." { name.to_owned() } else { self.folder.clone() };
        if !self.disk.list_folders()?.iter().any(|known| known == name) {
            self.script.suffer("create", &folder)?;
        }
        let disk = self.disk.folder(name)?;
        Ok(Arc::new(Self { disk, script: Arc::clone(&self.script), folder }))
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.suffer("remove")?;
        self.disk.remove_folder(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    script: Arc<Script>,
    folder: String,
}

impl DiskFile for FaultyFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.script.suffer("write", &self.folder) {
            Ok(true) => Ok(()),
            Ok(false) => self.file.write_at(offset, bytes),
            Err(error) => {
                let part = bytes.get(..bytes.len() / 2).unwrap_or_default();
                self.file.write_at(offset, part)?;
                Err(error)
            }
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.script.suffer("write", &self.folder)?;
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let longer = self.file.length().is_ok_and(|now| now < len);
        if longer {
            self.script.suffer("write", &self.folder)?;
        }
        self.file.set_len(len)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.script.suffer("sync", &self.folder)? {
            return Ok(());
        }
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::FaultyDisk;
    use crate::store::disk::folder::Folder;
    use crate::store::disk::{DiskFile, read_full};

    fn contents(file: &dyn DiskFile) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        let count = read_full(file, 0, &mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    /// A change of the file counts even within one tick of the file system's clock.
    fn script(path: &Path, text: &str, second: u64) {
        std::fs::write(path, text).unwrap();
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn a_disk_fails_where_its_file_says_and_is_well_again() {
        let home = tempfile::tempdir().unwrap();
        let faults = home.path().join("faults");
        script(&faults, "# nothing\n", 1);
        let root = FaultyDisk::over(Folder::open(&home.path().join("data")).unwrap(), &faults);
        let (journal, logs) = (root.folder("journal").unwrap(), root.folder("logs").unwrap());
        let file = journal.create("a").unwrap();
        let log = logs.folder("1-x").unwrap().create("b").unwrap();
        file.write_at(0, b"before").unwrap();

        script(&faults, "write journal ENOSPC\nsync journal lose\n* logs EIO # all\n", 2);
        assert_eq!(file.write_at(6, b"then").unwrap_err().raw_os_error(), Some(28));
        assert_eq!(contents(&*file), b"beforeth", "a part was written");
        file.sync_data().unwrap();
        assert_eq!(log.sync_data().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(logs.remove("b").unwrap_err().raw_os_error(), Some(5));

        script(&faults, "write * lose\n", 3);
        log.write_at(0, b"nothing").unwrap();
        assert_eq!(contents(&*log), b"");

        std::fs::remove_file(&faults).unwrap();
        log.write_at(0, b"all").unwrap();
        assert_eq!(contents(&*log), b"all");
    }
}
