//! A disk in memory that fails as real ones do. Part of `store::disk`, for tests only.
//!
//! Writes reach the "platter" with a successful sync only. A failed sync loses what it should have written:
//! the pages count as clean afterwards, and a later sync will not write them either. Names change durably with
//! a folder's sync. [`SimulatedDisk::crash`] gives the disk as a power cut at this moment leaves it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::disk::{Disk, DiskFile};

/// How many of the next operations of each kind fail.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    pub(crate) creates: u32,
    pub(crate) writes: u32,
    pub(crate) syncs: u32,
    pub(crate) folder_syncs: u32,
    pub(crate) renames: u32,
    /// Every operation that changes something fails.
    pub(crate) everything: bool,
    /// So many more operations, then the power is gone: nothing changes any more.
    pub(crate) cut_after: Option<u64>,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

type Names = BTreeMap<String, Arc<Mutex<Inode>>>;

#[derive(Debug, Default)]
struct Tree {
    names: Names,
    durable_names: Names,
    folders: BTreeMap<String, SimulatedDisk>,
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

    /// The disk after a power cut. Of unsynced bytes, `keep(file, unsynced bytes)` says how many made it, in the
    /// order written.
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
            let inode = inode.lock();
            let mut durable = inode.durable.clone();
            let total = inode.unsynced.iter().map(|(_, bytes)| bytes.len()).sum();
            let mut left = keep(name, total).min(total);
            for (offset, bytes) in &inode.unsynced {
                let count = left.min(bytes.len());
                put(&mut durable, *offset, &bytes[..count]);
                left -= count;
            }
            let inode = Inode { data: durable.clone(), durable, unsynced: Vec::new() };
            after.names.insert(name.clone(), Arc::new(Mutex::new(inode)));
        }
        after.durable_names = after.names.clone();
        for (name, folder) in &tree.folders {
            after.folders.insert(name.clone(), folder.crashed(keep, faults));
        }
        let tree = Arc::new(Mutex::new(after));
        Self { root: self.root.clone(), tree, faults: Arc::clone(faults) }
    }

    /// Whether [`Faults::cut_after`] has come.
    pub(crate) fn is_cut(&self) -> bool {
        is_cut(&self.faults)
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
        change(&mut inode.data);
        inode.durable = inode.data.clone();
        inode.unsynced.clear();
    }

    fn power(&self) -> io::Result<()> {
        if self.is_cut() { Err(io::Error::other("no power for a removal")) } else { Ok(()) }
    }

    fn fails(&self, kind: fn(&mut Faults) -> &mut u32, what: &str) -> io::Result<()> {
        fails(&self.faults, kind, what)
    }
}

fn is_cut(faults: &Mutex<Faults>) -> bool {
    faults.lock().cut_after == Some(0)
}

fn fails(faults: &Mutex<Faults>, kind: fn(&mut Faults) -> &mut u32, what: &str) -> io::Result<()> {
    let mut faults = faults.lock();
    match &mut faults.cut_after {
        Some(0) => return Err(io::Error::other(format!("no power for a {what}"))),
        Some(left) => *left -= 1,
        None => {}
    }
    if faults.everything {
        return Err(io::Error::other(format!("simulated failure of every {what}")));
    }
    let left = kind(&mut faults);
    if *left > 0 {
        *left -= 1;
        return Err(io::Error::other(format!("simulated failure of a {what}")));
    }
    Ok(())
}

fn put(data: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if data.len() < offset + bytes.len() {
        data.resize(offset + bytes.len(), 0);
    }
    data[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} does not exist"))
}

impl Disk for SimulatedDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.fails(|f| &mut f.creates, "creation")?;
        let mut tree = self.tree.lock();
        if tree.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::new(Mutex::new(Inode::default()));
        tree.names.insert(name.to_owned(), inode.clone());
        Ok(Arc::new(SimulatedFile { inode, faults: self.faults.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let tree = self.tree.lock();
        let inode = tree.names.get(name).ok_or_else(|| not_found(name))?.clone();
        Ok(Arc::new(SimulatedFile { inode, faults: self.faults.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.fails(|f| &mut f.renames, "rename")?;
        let mut tree = self.tree.lock();
        let inode = tree.names.remove(from).ok_or_else(|| not_found(from))?;
        tree.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.power()?;
        self.tree.lock().names.remove(name).map(|_| ()).ok_or_else(|| not_found(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.tree.lock().names.keys().cloned().collect())
    }

    fn list_folders(&self) -> io::Result<Vec<String>> {
        Ok(self.tree.lock().folders.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.fails(|f| &mut f.folder_syncs, "folder sync")?;
        let mut tree = self.tree.lock();
        tree.durable_names = tree.names.clone();
        Ok(())
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        if !self.tree.lock().folders.contains_key(name) {
            self.fails(|f| &mut f.creates, "creation of a folder")?;
        }
        let folder = || Self {
            root: self.root.join(name),
            tree: Arc::default(),
            faults: self.faults.clone(),
        };
        let mut tree = self.tree.lock();
        if self.faults.lock().everything && !tree.folders.contains_key(name) {
            return Err(io::Error::other("simulated failure to make a folder"));
        }
        Ok(tree.folders.entry(name.to_owned()).or_insert_with(folder).shared())
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.power()?;
        self.tree.lock().folders.remove(name);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    inode: Arc<Mutex<Inode>>,
    faults: Arc<Mutex<Faults>>,
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let is_cut = is_cut(&self.faults);
        let result = fails(&self.faults, |f| &mut f.writes, "write");
        if is_cut {
            return result;
        }
        // A failing write leaves a part behind.
        let bytes = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let mut inode = self.inode.lock();
        put(&mut inode.data, offset as usize, bytes);
        inode.unsynced.push((offset as usize, bytes.to_vec()));
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
        let mut inode = self.inode.lock();
        if (inode.data.len() as u64) < len {
            inode.data.resize(len as usize, 0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        fails(&self.faults, |f| &mut f.writes, "write")?;
        let mut inode = self.inode.lock();
        inode.data.resize(len as usize, 0);
        inode.unsynced.retain_mut(|(offset, bytes)| {
            bytes.truncate((len as usize).saturating_sub(*offset));
            !bytes.is_empty()
        });
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.inode.lock().data.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let is_cut = is_cut(&self.faults);
        let result = fails(&self.faults, |f| &mut f.syncs, "sync");
        if is_cut {
            return result;
        }
        let mut inode = self.inode.lock();
        let writes = std::mem::take(&mut inode.unsynced);
        result?;
        let length = inode.data.len();
        inode.durable.resize(length, 0);
        for (offset, bytes) in writes {
            put(&mut inode.durable, offset, &bytes);
        }
        Ok(())
    }
}
