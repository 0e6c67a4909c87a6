//! A disk in memory that fails as real ones do. Part of `store::disk`, for tests only.
//!
//! Writes reach the "platter" with a successful sync only. A failed sync loses what it should have written:
//! the pages count as clean afterwards, and a later sync will not write them either. Names change durably with
//! a folder's sync.
//!
//! - [`SimulatedDisk::cut`] the disk as a power cut at this moment leaves it, by a seed: everything that was not synced
//!   may have happened or not, page by page, name by name
//! - [`SimulatedDisk::crash`] the same, said byte by byte
//! - [`faults`] what goes wrong before; [`dice`] chance; [`inode`] pages

mod dice;
mod faults;
mod inode;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use self::dice::Cut;
pub(crate) use self::dice::Dice;
use self::faults::Operation;
pub(crate) use self::faults::{EIO, ENOSPC, Faults, Lie, Outage};
use self::inode::Inode;
use crate::store::disk::{Disk, DiskFile};

type Shared = Arc<Mutex<Inode>>;
type Names = BTreeMap<String, Shared>;

/// A change of names that the platter may not know of.
#[derive(Debug, Clone)]
enum Naming {
    Created(String, Shared),
    Renamed(String, String, Shared),
    Removed(String, Shared),
}

impl Naming {
    fn apply(&self, names: &mut Names) {
        let mut forget = |name: &str, inode: &Shared| {
            if names.get(name).is_some_and(|known| Arc::ptr_eq(known, inode)) {
                names.remove(name);
            }
        };
        match self {
            Self::Removed(name, inode) => forget(name, inode),
            Self::Created(name, inode) => drop(names.insert(name.clone(), Arc::clone(inode))),
            Self::Renamed(from, to, inode) => {
                forget(from, inode);
                names.insert(to.clone(), Arc::clone(inode));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Tree {
    names: Names,
    durable_names: Names,
    unsynced: Vec<Naming>,
    folders: BTreeMap<String, SimulatedDisk>,
    /// Folders that were removed, which the platter may still have.
    removed: BTreeMap<String, SimulatedDisk>,
}

impl Tree {
    fn change(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.unsynced.push(naming);
    }
}

/// A folder in memory; clones are the same folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk {
    root: PathBuf,
    tree: Arc<Mutex<Tree>>,
    faults: Arc<Mutex<Faults>>,
}

impl SimulatedDisk {
    pub(crate) fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    pub(crate) fn inject(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock());
    }

    /// Operations so far that changed something, or should have.
    pub(crate) fn operations(&self) -> u64 {
        self.faults.lock().operations
    }

    /// The disk after a power cut. Of unsynced bytes, `keep(file, unsynced bytes)` says how many made it, in the
    /// order written; of unsynced names none did.
    pub(crate) fn crash(&self, keep: &mut dyn FnMut(&str, usize) -> usize) -> Self {
        self.crashed(keep, &Arc::default())
    }

    fn crashed(
        &self,
        keep: &mut dyn FnMut(&str, usize) -> usize,
        faults: &Arc<Mutex<Faults>>,
    ) -> Self {
        let tree = self.tree.lock();
        let mut after = Tree::default();
        for (name, inode) in &tree.durable_names {
            let data = inode.lock().with_first(&mut |total| keep(name, total));
            after.names.insert(name.clone(), Arc::new(Mutex::new(Inode::durable(data))));
        }
        for (name, folder) in &tree.folders {
            after.folders.insert(name.clone(), folder.crashed(keep, faults));
        }
        self.settled(after, faults)
    }

    /// The disk after a power cut, as `seed` decides: each page that was not synced is as before, as it was at some
    /// moment since, or torn; each name and length that was not synced is there or is not.
    pub(crate) fn cut(&self, seed: u64) -> Self {
        self.cut_by(&mut Cut::new(seed), &Arc::default())
    }

    fn cut_by(&self, cut: &mut Cut, faults: &Arc<Mutex<Faults>>) -> Self {
        let tree = self.tree.lock();
        let mut names = tree.durable_names.clone();
        let chosen = cut.chosen(tree.unsynced.len());
        for (naming, _) in tree.unsynced.iter().zip(chosen).filter(|(_, chosen)| *chosen) {
            naming.apply(&mut names);
        }
        let mut after = Tree::default();
        for (name, inode) in names {
            let data = inode.lock().after_cut(cut);
            after.names.insert(name, Arc::new(Mutex::new(Inode::durable(data))));
        }
        for (name, folder) in &tree.folders {
            after.folders.insert(name.clone(), folder.cut_by(cut, faults));
        }
        for (name, folder) in &tree.removed {
            if cut.chosen(1) == [false] {
                after.folders.insert(name.clone(), folder.cut_by(cut, faults));
            }
        }
        self.settled(after, faults)
    }

    fn settled(&self, mut after: Tree, faults: &Arc<Mutex<Faults>>) -> Self {
        after.durable_names = after.names.clone();
        let tree = Arc::new(Mutex::new(after));
        Self { root: self.root.clone(), tree, faults: Arc::clone(faults) }
    }

    /// Whether [`Faults::cut_after`] has come.
    pub(crate) fn is_cut(&self) -> bool {
        self.faults.lock().is_cut()
    }

    pub(crate) fn contents(&self, name: &str) -> Vec<u8> {
        self.tree.lock().names[name].lock().data.clone()
    }

    pub(crate) fn everything(&self) -> BTreeMap<String, Vec<u8>> {
        let tree = self.tree.lock();
        tree.names.iter().map(|(name, inode)| (name.clone(), inode.lock().data.clone())).collect()
    }

    /// Changes bytes behind everybody's back, durably.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let tree = self.tree.lock();
        let mut inode = tree.names[name].lock();
        let mut data = inode.data.clone();
        change(&mut data);
        *inode = Inode::durable(data);
    }

    fn suffer(&self, operation: Operation) -> io::Result<()> {
        self.faults.lock().suffer(operation)
    }

    fn file(&self, inode: Shared) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { inode, faults: self.faults.clone(), folder: self.root.clone() })
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} does not exist"))
}

impl Disk for SimulatedDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.suffer(Operation::Create)?;
        let mut tree = self.tree.lock();
        if tree.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Shared::default();
        tree.change(Naming::Created(name.to_owned(), inode.clone()));
        Ok(self.file(inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let tree = self.tree.lock();
        let inode = tree.names.get(name).ok_or_else(|| not_found(name))?.clone();
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.suffer(Operation::Rename)?;
        let mut tree = self.tree.lock();
        let inode = tree.names.get(from).ok_or_else(|| not_found(from))?.clone();
        tree.change(Naming::Renamed(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.suffer(Operation::Remove)?;
        let mut tree = self.tree.lock();
        let inode = tree.names.get(name).ok_or_else(|| not_found(name))?.clone();
        tree.change(Naming::Removed(name.to_owned(), inode));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.tree.lock().names.keys().cloned().collect())
    }

    fn list_folders(&self) -> io::Result<Vec<String>> {
        Ok(self.tree.lock().folders.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.suffer(Operation::FolderSync)?;
        if let Some(Lie::FolderSyncs(_)) = self.faults.lock().lie(&self.root) {
            return Ok(());
        }
        let mut tree = self.tree.lock();
        tree.durable_names = tree.names.clone();
        tree.unsynced.clear();
        tree.removed.clear();
        Ok(())
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        if !self.tree.lock().folders.contains_key(name) {
            self.suffer(Operation::Create)?;
        }
        let folder = || Self {
            root: self.root.join(name),
            tree: Arc::default(),
            faults: self.faults.clone(),
        };
        let mut tree = self.tree.lock();
        tree.removed.remove(name);
        Ok(tree.folders.entry(name.to_owned()).or_insert_with(folder).shared())
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.suffer(Operation::Remove)?;
        let mut tree = self.tree.lock();
        if let Some(folder) = tree.folders.remove(name) {
            tree.removed.insert(name.to_owned(), folder);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    inode: Shared,
    faults: Arc<Mutex<Faults>>,
    folder: PathBuf,
}

impl SimulatedFile {
    fn suffer(&self, operation: Operation) -> io::Result<()> {
        self.faults.lock().suffer(operation)
    }
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut faults = self.faults.lock();
        let is_cut = faults.is_cut();
        let result = faults.suffer(Operation::Write);
        drop(faults);
        if is_cut {
            return result;
        }
        // A failing write leaves a part behind.
        let bytes = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.inode.lock().write(offset as usize, bytes);
        result
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inode = self.inode.lock();
        let rest = inode.data.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.suffer(Operation::Write)?;
        let mut inode = self.inode.lock();
        if (inode.data.len() as u64) < len {
            inode.set_len(len as usize);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let shrinks = self.length()? >= len;
        self.suffer(if shrinks { Operation::Shrink } else { Operation::Write })?;
        self.inode.lock().set_len(len as usize);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.inode.lock().data.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut faults = self.faults.lock();
        let is_cut = faults.is_cut();
        let delay = faults.sync_delay;
        let result = faults.suffer(Operation::Sync);
        let lie = faults.lie(&self.folder);
        let mut cut = faults.dice.as_mut().map(|dice| Cut::new(dice.roll()));
        drop(faults);
        if is_cut {
            return result;
        }
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let mut inode = self.inode.lock();
        match (&result, lie) {
            (Err(_), _) => inode.forget(cut.as_mut()),
            (Ok(()), Some(Lie::Syncs(_))) => {}
            (Ok(()), Some(Lie::LateSyncs(_))) => inode.sync_late(),
            (Ok(()), Some(Lie::FolderSyncs(_)) | None) => inode.sync(),
        }
        result
    }
}
