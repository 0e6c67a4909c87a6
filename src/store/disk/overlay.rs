//! A folder that is only looked at: what is written lies over it, in memory. Part of `store::disk`.
//!
//! Whoever opens a data directory cuts files back, repairs its database and replays its journal. Over an
//! [`Overlay`] the very same code does so without changing a byte of the directory, which may also lie on a medium
//! that cannot be written. Memory is taken for what was written, in pages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::store::disk::{Disk, DiskFile};

/// Bytes of a page over a file.
const PAGE: u64 = 4096;

/// A folder with changes over it.
#[derive(Debug)]
pub struct Overlay {
    root: PathBuf,
    /// Whether what lies beneath is hidden: the folder was made, or made anew, up here.
    bare: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Files that were touched; `None` for those removed.
    files: HashMap<String, Option<Arc<Sheet>>>,
    /// Folders that were touched; `None` for those removed.
    folders: HashMap<String, Option<Arc<Overlay>>>,
}

/// One file's changes.
#[derive(Debug)]
struct Sheet {
    beneath: Option<PathBuf>,
    pages: RwLock<Pages>,
}

#[derive(Debug)]
struct Pages {
    /// Length as seen.
    length: u64,
    /// How much of the file beneath still shows.
    shown: u64,
    written: BTreeMap<u64, Box<[u8]>>,
}

/// An open file.
#[derive(Debug)]
struct Handle {
    sheet: Arc<Sheet>,
    beneath: Option<File>,
}

impl Overlay {
    /// Lies over `root`, which need not exist.
    #[must_use]
    pub fn over(root: &Path) -> Arc<dyn Disk> {
        Arc::new(Self::new(root.to_owned(), false))
    }

    fn new(root: PathBuf, bare: bool) -> Self {
        Self { root, bare, state: Mutex::default() }
    }

    /// Names beneath, folders or files.
    fn beneath(&self, folders: bool) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        if self.bare {
            return Ok(names);
        }
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() == folders
                && let Ok(name) = entry.file_name().into_string()
            {
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// The file's sheet; laid over it when it is touched for the first time.
    fn sheet(&self, state: &mut State, name: &str) -> io::Result<Arc<Sheet>> {
        match state.files.get(name) {
            Some(Some(sheet)) => return Ok(Arc::clone(sheet)),
            Some(None) => return Err(io::ErrorKind::NotFound.into()),
            None if self.bare => return Err(io::ErrorKind::NotFound.into()),
            None => {}
        }
        let path = self.root.join(name);
        let about = fs::metadata(&path)?;
        if about.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let length = about.len();
        let pages = Pages { length, shown: length, written: BTreeMap::new() };
        let sheet = Arc::new(Sheet { beneath: Some(path), pages: RwLock::new(pages) });
        state.files.insert(name.to_owned(), Some(Arc::clone(&sheet)));
        Ok(sheet)
    }
}

fn open(sheet: Arc<Sheet>) -> io::Result<Arc<dyn DiskFile>> {
    let beneath = sheet.beneath.as_ref().map(File::open).transpose()?;
    Ok(Arc::new(Handle { sheet, beneath }))
}

impl Disk for Overlay {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        match self.sheet(&mut state, name) {
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let pages = RwLock::new(Pages { length: 0, shown: 0, written: BTreeMap::new() });
        let sheet = Arc::new(Sheet { beneath: None, pages });
        state.files.insert(name.to_owned(), Some(Arc::clone(&sheet)));
        open(sheet)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let sheet = self.sheet(&mut self.state.lock(), name)?;
        open(sheet)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let sheet = self.sheet(&mut state, from)?;
        state.files.insert(from.to_owned(), None);
        state.files.insert(to.to_owned(), Some(sheet));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        self.sheet(&mut state, name)?;
        state.files.insert(name.to_owned(), None);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.beneath(false)?;
        for (name, sheet) in &self.state.lock().files {
            match sheet {
                Some(_) => names.insert(name.clone()),
                None => names.remove(name),
            };
        }
        Ok(names.into_iter().collect())
    }

    fn list_folders(&self) -> io::Result<Vec<String>> {
        let mut names = self.beneath(true)?;
        for (name, folder) in &self.state.lock().folders {
            match folder {
                Some(_) => names.insert(name.clone()),
                None => names.remove(name),
            };
        }
        Ok(names.into_iter().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        let mut state = self.state.lock();
        let was_removed = match state.folders.get(name) {
            Some(Some(folder)) => return Ok(Arc::clone(folder) as _),
            Some(None) => true,
            None => false,
        };
        let folder = Arc::new(Self::new(self.root.join(name), self.bare || was_removed));
        state.folders.insert(name.to_owned(), Some(Arc::clone(&folder)));
        Ok(folder)
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.state.lock().folders.insert(name.to_owned(), None);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl Handle {
    /// Fills `out` with what shows of the file beneath, and zeros beyond.
    fn read_beneath(&self, shown: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let wanted = shown.saturating_sub(offset).min(out.len() as u64) as usize;
        let (part, rest) = out.split_at_mut(wanted);
        rest.fill(0);
        if let Some(file) = self.beneath.as_ref().filter(|_| !part.is_empty()) {
            file.read_exact_at(part, offset)?;
        }
        Ok(())
    }
}

impl DiskFile for Handle {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut pages = self.sheet.pages.write();
        let shown = pages.shown;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (number, from) = (at / PAGE, (at % PAGE) as usize);
            let count = rest.len().min(PAGE as usize - from);
            let (now, later) = rest.split_at(count);
            let page = match pages.written.entry(number) {
                std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    let mut page = vec![0; PAGE as usize].into_boxed_slice();
                    self.read_beneath(shown, number * PAGE, &mut page)?;
                    place.insert(page)
                }
            };
            if let Some(part) = page.get_mut(from..from + count) {
                part.copy_from_slice(now);
            }
            at += count as u64;
            rest = later;
        }
        if !bytes.is_empty() {
            pages.length = pages.length.max(at);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let pages = self.sheet.pages.read();
        let count = pages.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let Some(out) = buffer.get_mut(..count).filter(|out| !out.is_empty()) else {
            return Ok(0);
        };
        self.read_beneath(pages.shown, offset, out)?;
        let end = offset + count as u64;
        for (number, page) in pages.written.range(offset / PAGE..end.div_ceil(PAGE)) {
            let begins = number * PAGE;
            let (from, to) = (begins.max(offset), (begins + PAGE).min(end));
            let place = out.get_mut((from - offset) as usize..(to - offset) as usize);
            let written = page.get((from - begins) as usize..(to - begins) as usize);
            if let (Some(place), Some(written)) = (place, written) {
                place.copy_from_slice(written);
            }
        }
        Ok(count)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut pages = self.sheet.pages.write();
        pages.length = pages.length.max(len);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut pages = self.sheet.pages.write();
        if len < pages.length {
            pages.shown = pages.shown.min(len);
            pages.written.split_off(&len.div_ceil(PAGE));
            // What is cut off must not come back when the file grows again.
            if let Some(page) = pages.written.get_mut(&(len / PAGE))
                && let Some(cut) = page.get_mut((len % PAGE) as usize..)
            {
                cut.fill(0);
            }
        }
        pages.length = len;
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.sheet.pages.read().length)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Overlay;
    use crate::store::disk::DiskFile;

    fn whole(file: &dyn DiskFile) -> Vec<u8> {
        let mut bytes = vec![0xee; file.length().unwrap() as usize + 3];
        let count = file.read_at(0, &mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn names_come_and_go_above_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), b"a").unwrap();
        fs::create_dir(dir.path().join("f")).unwrap();
        fs::write(dir.path().join("f/x"), b"x").unwrap();
        let disk = Overlay::over(dir.path());
        assert!(disk.create("a").is_err());
        disk.rename("a", "b").unwrap();
        assert!(disk.open("a").is_err());
        disk.create("c").unwrap().write_at(2, b"c").unwrap();
        assert_eq!(disk.list().unwrap(), ["b", "c"]);
        assert_eq!(whole(&*disk.open("b").unwrap()), b"a");
        assert_eq!(whole(&*disk.open("c").unwrap()), b"\0\0c");
        disk.remove("b").unwrap();
        assert!(disk.remove("b").is_err());
        assert_eq!(disk.folder("f").unwrap().list().unwrap(), ["x"]);
        disk.remove_folder("f").unwrap();
        assert!(disk.list_folders().unwrap().is_empty());
        assert!(disk.folder("f").unwrap().list().unwrap().is_empty());
        assert_eq!(disk.list_folders().unwrap(), ["f"]);
        let beneath: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(beneath.len(), 2);
        assert_eq!(fs::read(dir.path().join("f/x")).unwrap(), b"x");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Length(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..20_000, vec(any::<u8>(), 0..6_000)).prop_map(|(at, b)| Step::Write(at, b)),
            (0u64..20_000).prop_map(Step::Length),
        ]
    }

    proptest! {
        #[test]
        fn a_file_reads_as_if_it_had_been_written(
            before in vec(any::<u8>(), 0..12_000), steps in vec(step(), 0..12),
        ) {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("a"), &before).unwrap();
            let disk = Overlay::over(dir.path());
            let mut model = before.clone();
            for step in steps {
                let file = disk.open("a").unwrap();
                match step {
                    Step::Write(at, bytes) => {
                        let end = at as usize + bytes.len();
                        if !bytes.is_empty() && model.len() < end {
                            model.resize(end, 0);
                        }
                        if !bytes.is_empty() {
                            model[at as usize..end].copy_from_slice(&bytes);
                        }
                        file.write_at(at, &bytes).unwrap();
                    }
                    Step::Length(length) => {
                        model.resize(length as usize, 0);
                        file.set_len(length).unwrap();
                    }
                }
                prop_assert_eq!(&whole(&*disk.open("a").unwrap()), &model);
            }
            prop_assert_eq!(fs::read(dir.path().join("a")).unwrap(), before);
        }
    }
}
