//! Every row of a table. Part of `store::verify`.

use crate::store::error::StoreError;
use crate::store::tables::db::Db;
use crate::store::tables::{Row, Table};
use crate::store::verify::{Fault, Inspector};

/// Decodes every row of a table and hands it to `each`, which says what is wrong with it; returns how many there are.
pub fn rows<T: Table>(
    db: &Db,
    inspector: &mut dyn Inspector,
    mut each: impl FnMut(&T::Key, T::Row, &mut dyn Inspector) -> Result<(), Fault>,
) -> u64 {
    let mut count = 0;
    let read = db.for_each_raw::<T>(|key, bytes| {
        count += 1;
        let outcome = match T::Row::decode(bytes) {
            Ok(row) => each(&key, row, inspector),
            Err(error) => Err(Fault::row(T::NAME, &format!("{key:?}"), &error)),
        };
        if let Err(fault) = outcome {
            inspector.fault(fault);
        }
        Ok::<(), StoreError>(())
    });
    if let Err(error) = read {
        inspector.fault(error.into());
    }
    count
}
