//! What is kept beside the pages of queues: what they come to, and which of them name a body segment. Part of
//! `store::verify`.
//!
//! A start believes the first without reading a page, and compaction finds pages by the second: both must say what
//! pages say, no more and no less.

use std::collections::BTreeSet;

use crate::store::error::StoreError;
use crate::store::tables::body_pages::{BodyPageKey, BodyPages};
use crate::store::tables::db::Db;
use crate::store::tables::page_sums::{PageSum, PageSums};
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::tables::view::View;
use crate::store::tables::{Row, Table};
use crate::store::verify::tables::rows;
use crate::store::verify::{Fault, Inspector};

/// The rows beside pages; `None` where an earlier build wrote last, which keeps none.
#[derive(Debug)]
pub struct BesidePages {
    sums: Option<View<PageSums>>,
    reverse: Option<View<BodyPages>>,
    /// Rows of `reverse` that pages ask for and that are there.
    found: u64,
}

impl BesidePages {
    /// Over the current checkpoint. `is_counted` says whether this build counted what lives in every body segment.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn open(
        db: &Db,
        is_counted: bool,
        inspector: &mut dyn Inspector,
    ) -> Result<Self, StoreError> {
        let has_sums = db.has_page_sums()?;
        if !has_sums {
            let text = "table page_sums: an earlier build wrote last; the next start adds up pages";
            inspector.note(text.to_owned());
        }
        if !is_counted {
            let text = "table body_pages: an earlier build wrote last; the next start's first \
                checkpoint makes it";
            inspector.note(text.to_owned());
        }
        let sums = has_sums.then(|| db.view::<PageSums>()).transpose()?;
        let reverse = is_counted.then(|| db.view::<BodyPages>()).transpose()?;
        Ok(Self { sums, reverse, found: 0 })
    }

    /// Looks whether what is kept beside page `key` is what the page says: its sum, and the segments that it names.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn check(
        &mut self,
        key: &PageKey,
        sum: &PageSum,
        segments: &BTreeSet<u32>,
        inspector: &mut dyn Inspector,
    ) -> Result<(), StoreError> {
        if let Some(sums) = &mut self.sums {
            let row = sums.get(key)?;
            // One that does not decode is found when all are read.
            let found = row.map(|row| PageSum::decode(row.value()).unwrap_or(*sum));
            if found != Some(*sum) {
                let found = found.map_or("no row".to_owned(), |found| format!("{found:?}"));
                let place = place::<PageSums>(key);
                inspector.fault(Fault::of(place, format!("{sum:?}, as the page says"), found));
            }
        }
        let Some(reverse) = &mut self.reverse else { return Ok(()) };
        for segment in segments {
            let key = BodyPageKey { segment: *segment, page: *key };
            match reverse.get(&key)? {
                Some(_) => self.found += 1,
                None => {
                    let place = place::<BodyPages>(&key);
                    inspector.fault(Fault::of(place, "a row, as the page names it", "none"));
                }
            }
        }
        Ok(())
    }

    /// After all pages: looks for rows of pages that are not there, or do not say so. `segments` reads which segments
    /// a page names, if it can be read.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn finish(
        self,
        db: &Db,
        segments: impl Fn(&PageKey, &[u8]) -> Option<BTreeSet<u32>>,
        inspector: &mut dyn Inspector,
    ) -> Result<(), StoreError> {
        let mut pages = db.view::<QueuePages>()?;
        if self.sums.is_some() {
            rows::<PageSums>(db, inspector, |key, _, _| match pages.get(key)? {
                Some(_) => Ok(()),
                None => Err(Fault::of(place::<PageSums>(key), "no row without a page", "one")),
            });
        }
        if self.reverse.is_none() {
            return Ok(());
        }
        let mut count = 0;
        db.for_each_raw::<BodyPages>(|_, _| {
            count += 1;
            Ok(())
        })?;
        if count == self.found {
            return Ok(());
        }
        rows::<BodyPages>(db, inspector, |key, _, _| {
            let names = match pages.get(&key.page)? {
                Some(row) => segments(&key.page, row.value()),
                None => Some(BTreeSet::new()),
            };
            match names.is_none_or(|names| names.contains(&key.segment)) {
                true => Ok(()),
                false => Err(Fault::of(place::<BodyPages>(key), "a page that names it", "none")),
            }
        });
        Ok(())
    }
}

fn place<T: Table>(key: &T::Key) -> String {
    format!("table {}, key {key:?}", T::NAME)
}
