//! Every body of a segment, wanted or not. Part of `store::bodies`.

use crate::store::bodies::{BODY_BYTES_MAX, RECORD_HEADER, SEGMENT_HEADER, check_header, name};
use crate::store::codec::Reader;
use crate::store::disk::listed::open_listed;
use crate::store::disk::{Disk, checksum, read_full};
use crate::store::error::StoreError;
use crate::store::verify::{Fault, Inspector};

/// Where a segment's bodies are: offset and length of each, in order. 8 bytes for each body.
#[derive(Debug, Default)]
pub struct Places(Vec<(u32, u32)>);

impl Places {
    /// Whether such a body is here.
    #[must_use]
    pub fn holds(&self, offset: u32, len: u32) -> bool {
        self.0.binary_search(&(offset, len)).is_ok()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Reads the first `valid_len` bytes of a segment. A body with a wrong checksum is one of its places all the same.
pub fn check(
    disk: &dyn Disk,
    segment: u32,
    valid_len: u64,
    inspector: &mut dyn Inspector,
) -> Places {
    let mut places = Places::default();
    if let Err(error) = walk(disk, segment, valid_len, &mut places, inspector) {
        inspector.fault(error.into());
    }
    places
}

fn walk(
    disk: &dyn Disk,
    segment: u32,
    valid_len: u64,
    places: &mut Places,
    inspector: &mut dyn Inspector,
) -> Result<(), StoreError> {
    let name = name(segment);
    let listed = open_listed(disk, &name, "body segment", valid_len)?;
    let (file, path) = (listed.file.as_ref(), listed.path);
    check_header(disk, &name, file)?;
    let mut offset = SEGMENT_HEADER as u64;
    inspector.read(offset);
    while offset < valid_len {
        let mut header = [0; RECORD_HEADER];
        read_full(file, offset, &mut header).map_err(StoreError::io(&path, "read"))?;
        let mut reader = Reader::new(&header);
        let (len, stored) = (reader.u32().unwrap_or(0), reader.u32().unwrap_or(0));
        let end = offset + RECORD_HEADER as u64 + u64::from(len);
        if end > valid_len || len as usize > BODY_BYTES_MAX {
            // Where the next one would begin is not known.
            let left = valid_len - offset;
            let expected = format!("a body within the {left} bytes that count");
            return Err(StoreError::corrupt(&path, offset, expected, format!("{len} bytes")));
        }
        let crc = checksum(file, offset + RECORD_HEADER as u64, end)
            .map_err(StoreError::io(&path, "read"))?;
        if crc != stored {
            let expected = format!("a body of {len} bytes with checksum {stored:08x}");
            let file = path.display().to_string();
            inspector.fault(Fault::at(file, offset, expected, format!("{crc:08x}")));
        }
        // Offsets are below the length of a segment, which fits; a longer body is the only one of its segment.
        places.0.push((u32::try_from(offset).unwrap_or(u32::MAX), len));
        inspector.read(end - offset);
        offset = end;
    }
    Ok(())
}
