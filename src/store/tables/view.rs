//! One table as of one checkpoint, for who reads many rows by their keys. Part of `store::tables`.

use std::marker::PhantomData;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;

use redb::{AccessGuard, Error, ReadOnlyTable};

use crate::store::error::StoreError;
use crate::store::tables::Table;

/// A table at a checkpoint; later commits do not show. Let go before the next commit, or the file grows by what that
/// one replaces.
pub struct View<T> {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    path: PathBuf,
    key: Vec<u8>,
    of: PhantomData<T>,
}

impl<T: Table> View<T> {
    pub(super) fn new(table: ReadOnlyTable<&'static [u8], &'static [u8]>, path: PathBuf) -> Self {
        Self { table, path, key: Vec::new(), of: PhantomData }
    }

    /// The bytes of a row.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub fn get(
        &mut self,
        key: &T::Key,
    ) -> Result<Option<AccessGuard<'static, &'static [u8]>>, StoreError> {
        self.key.clear();
        T::encode_key(key, &mut self.key);
        self.table.get(self.key.as_slice()).map_err(|error| self.failed(error.into()))
    }

    /// Calls `each` with keys that begin with `prefix`, in order, behind `after` if there is one, until it breaks off.
    ///
    /// # Errors
    /// [`StoreError::Row`] for a key that does not decode, [`StoreError::Table`].
    pub fn keys(
        &self,
        prefix: &[u8],
        after: Option<&T::Key>,
        mut each: impl FnMut(T::Key) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut from = prefix.to_vec();
        let mut start = Bound::Included(from.as_slice());
        if let Some(after) = after {
            from.clear();
            T::encode_key(after, &mut from);
            start = Bound::Excluded(from.as_slice());
        }
        let range = (start, Bound::Unbounded);
        let rows = self.table.range::<&[u8]>(range).map_err(|error| self.failed(error.into()))?;
        for row in rows {
            let (key, _) = row.map_err(|error| self.failed(error.into()))?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let key = T::decode_key(key.value()).map_err(|source| StoreError::Row {
                table: T::NAME,
                key: format!("{:02x?}", key.value()),
                source,
            })?;
            if each(key).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn failed(&self, error: Error) -> StoreError {
        let doing = "read a table";
        StoreError::Table { file: self.path.clone(), doing, source: Box::new(error) }
    }
}

impl<T: Table> std::fmt::Debug for View<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("table", &T::NAME).finish_non_exhaustive()
    }
}
