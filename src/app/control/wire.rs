//! What is said over `control.sock`. Part of `app::control`; pure.
//!
//! | who | what |
//! |---|---|
//! | client | the line [`BACKUP`] |
//! | broker | a line of JSON, [`Answer`]; after a refusal nothing |
//! | broker | rows of the database: for each the table's name behind its length (`u8`), key and row each behind its length (`u32`, little endian); then a zero byte and the number of rows (`u64`) |
//! | client | the line [`END`], when it has copied the files |
//! | broker | the line [`ENDED`]: up to here nothing was removed |
//!
//! Files stay as long as the connection does.

use std::io::{self, Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::tables::snapshot::RawRow;

/// Name of the socket in the data directory.
pub const SOCKET: &str = "control.sock";
/// Asks for everything that a backup needs.
pub const BACKUP: &str = "rialto-control 1 backup";
/// Says that nothing is needed any more.
pub const END: &str = "end";
/// Says that everything was there until now.
pub const ENDED: &str = "ended";
/// Longest line.
pub const LINE_BYTES_MAX: u64 = 4096;
/// Longest key or row.
const FIELD_BYTES_MAX: u32 = 512 << 20;

/// The first answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A backup may be taken.
    Begun {
        /// The last record that is on disk.
        last_lsn: u64,
    },
    /// It may not.
    Refused(
        /// Why.
        String,
    ),
}

/// Writes one row.
///
/// # Errors
/// The peer's.
pub fn write_row(out: &mut impl Write, table: &str, key: &[u8], row: &[u8]) -> io::Result<()> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    out.write_all(&[u8::try_from(table.len()).map_err(io::Error::other)?])?;
    out.write_all(table.as_bytes())?;
    for field in [key, row] {
        out.write_all(&length(field)?.to_le_bytes())?;
        out.write_all(field)?;
    }
    Ok(())
}

/// Writes the end of all rows.
///
/// # Errors
/// The peer's.
pub fn write_end(out: &mut impl Write, rows: u64) -> io::Result<()> {
    out.write_all(&[0])?;
    out.write_all(&rows.to_le_bytes())
}

/// Reads one row; at their end how many there were.
///
/// # Errors
/// The peer's; bytes that are no row.
pub fn read_row(input: &mut impl Read) -> io::Result<Result<RawRow, u64>> {
    let mut length = [0; 1];
    input.read_exact(&mut length)?;
    if length == [0] {
        let mut rows = [0; 8];
        input.read_exact(&mut rows)?;
        return Ok(Err(u64::from_le_bytes(rows)));
    }
    let table = field(input, length[0].into())?;
    let table = String::from_utf8(table).map_err(io::Error::other)?;
    let mut next = || {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        field(input, u32::from_le_bytes(length)).map(Bytes::from)
    };
    Ok(Ok(RawRow { table, key: next()?, row: next()? }))
}

fn field(input: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    if length > FIELD_BYTES_MAX {
        return Err(io::Error::other(format!("a field of {length} bytes")));
    }
    let mut bytes = Vec::new();
    input.take(length.into()).read_to_end(&mut bytes)?;
    match bytes.len() == length as usize {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads a line without its end.
///
/// # Errors
/// The peer's; a line that is longer than [`LINE_BYTES_MAX`] or has no end.
pub fn read_line(input: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    for byte in input.take(LINE_BYTES_MAX).bytes() {
        match byte? {
            b'\n' => return String::from_utf8(line).map_err(io::Error::other),
            other => line.push(other),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Answer, read_line, read_row, write_end, write_row};
    use crate::store::tables::snapshot::RawRow;

    proptest! {
        #[test]
        fn rows_come_back_as_written(
            rows in vec(("[a-z]{1,20}", vec(any::<u8>(), 0..50), vec(any::<u8>(), 0..300)), 0..20),
        ) {
            let mut bytes = Vec::new();
            for (table, key, row) in &rows {
                write_row(&mut bytes, table, key, row).unwrap();
            }
            write_end(&mut bytes, rows.len() as u64).unwrap();
            let mut input = &bytes[..];
            for (table, key, row) in rows.clone() {
                let row = RawRow { table, key: Bytes::from(key), row: Bytes::from(row) };
                prop_assert_eq!(read_row(&mut input).unwrap(), Ok(row));
            }
            prop_assert_eq!(read_row(&mut input).unwrap(), Err(rows.len() as u64));
            for cut in 0..bytes.len() {
                let mut input = &bytes[..cut];
                let mut read = 0;
                while let Ok(Ok(_)) = read_row(&mut input) {
                    read += 1;
                }
                prop_assert!(read <= rows.len());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            let mut input = &bytes[..];
            while let Ok(Ok(_)) = read_row(&mut input) {}
            std::hint::black_box(read_line(&mut &bytes[..])).ok();
        }
    }

    #[test]
    fn answers_are_lines_of_json() {
        let answer = Answer::Begun { last_lsn: 7 };
        let line = serde_json::to_string(&answer).unwrap();
        assert_eq!(line, r#"{"begun":{"last_lsn":7}}"#);
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
        assert_eq!(read_line(&mut &b"ab\nc"[..]).unwrap(), "ab");
        assert!(read_line(&mut &b"ab"[..]).is_err());
        assert!(read_line(&mut &vec![b'a'; 10_000][..]).is_err());
    }
}
