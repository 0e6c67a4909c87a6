//! Field tables against `amq-protocol` on accepted input, and hostile bytes.

use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::parsing::parse_field_table;
use amq_protocol::types::{AMQPValue, FieldTable as OracleTable};
use proptest::prelude::*;

use super::write::{ArrayWriter, TableWriter, WriteError};
use super::{FieldTable, FieldValue, Limits, TableError};

/// A value that a test makes up.
#[derive(Clone, Debug)]
pub(crate) enum Sample {
    Scalar(FieldValue<'static>),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
    Table(Vec<(String, Self)>),
}

impl Sample {
    fn put_into(&self, name: &str, writer: &mut TableWriter<'_>) -> Result<(), WriteError> {
        match self {
            Self::Scalar(value) => writer.put(name, *value),
            Self::Text(bytes) => writer.put(name, FieldValue::LongString(bytes)),
            Self::Bytes(bytes) => writer.put(name, FieldValue::Bytes(bytes)),
            Self::Array(elements) => writer.array(name, |array| fill_array(elements, array)),
            Self::Table(entries) => writer.table(name, |table| fill(entries, table)),
        }
    }

    fn push_into(&self, writer: &mut ArrayWriter<'_>) -> Result<(), WriteError> {
        match self {
            Self::Scalar(value) => writer.put(*value),
            Self::Text(bytes) => writer.put(FieldValue::LongString(bytes)),
            Self::Bytes(bytes) => writer.put(FieldValue::Bytes(bytes)),
            Self::Array(elements) => writer.array(|array| fill_array(elements, array)),
            Self::Table(entries) => writer.table(|table| fill(entries, table)),
        }
    }

    fn is(&self, value: &FieldValue<'_>) -> bool {
        match (self, value) {
            (Self::Scalar(own), value) => own == value,
            (Self::Text(own), FieldValue::LongString(bytes))
            | (Self::Bytes(own), FieldValue::Bytes(bytes)) => own == bytes,
            (Self::Array(own), FieldValue::Array(array)) => {
                own.len() == array.iter().count()
                    && own.iter().zip(*array).all(|(own, value)| own.is(&value))
            }
            (Self::Table(own), FieldValue::Table(table)) => {
                own.len() == table.iter().count()
                    && own
                        .iter()
                        .zip(*table)
                        .all(|((own_name, own), (name, value))| own_name == name && own.is(&value))
            }
            _ => false,
        }
    }
}

fn fill(entries: &[(String, Sample)], writer: &mut TableWriter<'_>) -> Result<(), WriteError> {
    entries.iter().try_for_each(|(name, value)| value.put_into(name, writer))
}

fn fill_array(elements: &[Sample], writer: &mut ArrayWriter<'_>) -> Result<(), WriteError> {
    elements.iter().try_for_each(|value| value.push_into(writer))
}

/// The bytes of a table of these entries.
pub(crate) fn table_bytes(entries: &[(String, Sample)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(entries, &mut TableWriter::new(&mut bytes)).unwrap();
    bytes
}

fn scalar() -> impl Strategy<Value = FieldValue<'static>> {
    prop_oneof![
        any::<bool>().prop_map(FieldValue::Bool),
        any::<i8>().prop_map(FieldValue::I8),
        any::<u8>().prop_map(FieldValue::U8),
        any::<i16>().prop_map(FieldValue::I16),
        any::<u16>().prop_map(FieldValue::U16),
        any::<i32>().prop_map(FieldValue::I32),
        any::<u32>().prop_map(FieldValue::U32),
        any::<i64>().prop_map(FieldValue::I64),
        any::<f32>().prop_map(FieldValue::F32),
        any::<f64>().prop_map(FieldValue::F64),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| FieldValue::Decimal { scale, value }),
        any::<u64>().prop_map(FieldValue::Timestamp),
        Just(FieldValue::Void),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..12);
    let leaf = prop_oneof![
        4 => scalar().prop_map(Sample::Scalar),
        2 => "[a-c]{0,3}".prop_map(|text| Sample::Text(text.into_bytes())),
        1 => bytes().prop_map(Sample::Text),
        1 => bytes().prop_map(Sample::Bytes),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Sample::Array),
            prop::collection::btree_map("[a-dé]{0,3}", inner, 0..4)
                .prop_map(|entries| Sample::Table(entries.into_iter().collect())),
        ]
    })
}

/// Entries of different names, in an order of chance.
pub(crate) fn entries() -> impl Strategy<Value = Vec<(String, Sample)>> {
    prop::collection::btree_map("[a-dé.-]{0,4}", sample(), 0..6)
        .prop_map(|entries| entries.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut framed = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(bytes);
    framed
}

fn oracle(bytes: &[u8]) -> Option<OracleTable> {
    let framed = framed(bytes);
    parse_field_table(framed.as_slice()).ok().map(|(_, table)| table)
}

/// Whether the oracle read the same; of a repeated name it keeps the last.
pub(crate) fn agrees(table: FieldTable<'_>, oracle: &OracleTable) -> bool {
    let mut last = std::collections::BTreeMap::new();
    last.extend(table);
    last.len() == oracle.inner().len()
        && oracle
            .inner()
            .iter()
            .all(|(name, value)| last.get(name.as_str()).is_some_and(|own| agrees_on(own, value)))
}

fn agrees_on(own: &FieldValue<'_>, oracle: &AMQPValue) -> bool {
    match (own, oracle) {
        (FieldValue::Bool(own), AMQPValue::Boolean(other)) => own == other,
        (FieldValue::I8(own), AMQPValue::ShortShortInt(other)) => own == other,
        (FieldValue::U8(own), AMQPValue::ShortShortUInt(other)) => own == other,
        (FieldValue::I16(own), AMQPValue::ShortInt(other)) => own == other,
        (FieldValue::U16(own), AMQPValue::ShortUInt(other)) => own == other,
        (FieldValue::I32(own), AMQPValue::LongInt(other)) => own == other,
        (FieldValue::U32(own), AMQPValue::LongUInt(other)) => own == other,
        (FieldValue::I64(own), AMQPValue::LongLongInt(other)) => own == other,
        (FieldValue::F32(own), AMQPValue::Float(other)) => own.to_bits() == other.to_bits(),
        (FieldValue::F64(own), AMQPValue::Double(other)) => own.to_bits() == other.to_bits(),
        (FieldValue::Decimal { scale, value }, AMQPValue::DecimalValue(other)) => {
            (*scale, *value) == (other.scale, other.value)
        }
        (FieldValue::LongString(own), AMQPValue::LongString(other)) => *own == other.as_bytes(),
        (FieldValue::Timestamp(own), AMQPValue::Timestamp(other)) => own == other,
        (FieldValue::Void, AMQPValue::Void) => true,
        (FieldValue::Bytes(own), AMQPValue::ByteArray(other)) => *own == other.as_slice(),
        (FieldValue::Table(own), AMQPValue::FieldTable(other)) => agrees(*own, other),
        (FieldValue::Array(own), AMQPValue::FieldArray(other)) => {
            own.iter().count() == other.as_slice().len()
                && own.iter().zip(other.as_slice()).all(|(own, other)| agrees_on(&own, other))
        }
        _ => false,
    }
}

/// `levels` tables inside each other.
fn nested(levels: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for _ in 1..levels {
        let mut outer = vec![1, b'a', b'F'];
        outer.extend(framed(&bytes));
        bytes = outer;
    }
    bytes
}

#[test]
fn a_table_of_every_type_is_read() {
    let bytes = b"\x01at\x02\x01bb\xFF\x01cB\xFF\x01ds\xFF\xFF\x01eu\xFF\xFF\x01fI\xFF\xFF\xFF\xFF\
        \x01gi\xFF\xFF\xFF\xFF\x01hl\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01iL\0\0\0\0\0\0\0\x05\
        \x01jf\x3F\x80\0\0\x01kd\x3F\xF0\0\0\0\0\0\0\x01lD\x02\0\0\0\x07\x01mS\0\0\0\x01x\
        \x01nA\0\0\0\x02Vt\x01oT\0\0\0\0\0\0\0\x09\x01pF\0\0\0\0\x01qV\x01rx\0\0\0\x01\0";
    // The element `t` of the array breaks off.
    assert_eq!(FieldTable::check(bytes, Limits::default()), Err(TableError::Truncated));
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(2).position(|pair| pair == b"Vt").unwrap();
    bytes[at + 1] = b'V';
    let table = FieldTable::check(&bytes, Limits::default()).unwrap();
    let kinds: Vec<_> = table.iter().map(|(_, value)| value.type_name()).collect();
    assert_eq!(
        kinds,
        [
            "bool",
            "byte",
            "unsignedbyte",
            "short",
            "unsignedshort",
            "signedint",
            "unsignedint",
            "long",
            "long",
            "float",
            "double",
            "decimal",
            "longstr",
            "array",
            "timestamp",
            "table",
            "void",
            "binary"
        ]
    );
    let integers: Vec<_> = table.iter().filter_map(|(_, value)| value.as_i64()).collect();
    assert_eq!(integers, [-1, 255, -1, 65_535, -1, 4_294_967_295, -1, 5]);
    assert_eq!(table.get("a").unwrap().as_bool(), Some(true));
    assert_eq!(table.get("m").unwrap().as_str(), Some("x"));
    assert_eq!(table.get("r").unwrap().as_bytes(), Some(&[0][..]));
    assert_eq!(table.get("n").unwrap().as_array().unwrap().iter().count(), 2);
    assert!(table.get("p").unwrap().as_table().unwrap().is_empty());
    assert_eq!(table.get("s"), None);
}

#[test]
fn of_a_repeated_name_the_first_counts() {
    let bytes = b"\x01aB\x01\x01bV\x01aB\x02";
    let table = FieldTable::check(bytes, Limits::default()).unwrap();
    assert_eq!(table.get("a"), Some(FieldValue::U8(1)));
    let mut left = Vec::new();
    table.retain(|name, _| name != "a", &mut left);
    assert_eq!(left, b"\x01bV");
}

#[test]
fn what_is_no_table_is_refused() {
    for (bytes, why) in [
        (&b"\x01"[..], TableError::Truncated),
        (b"\x01a", TableError::Truncated),
        (b"\x01aS\0\0\0\x02x", TableError::Truncated),
        (b"\x01aS\xFF\xFF\xFF\xFFx", TableError::Truncated),
        (b"\x01aU\0\0", TableError::UnknownType(b'U')),
        (b"\x01\xFFV", TableError::NameNotUtf8),
        (b"\x01aF\0\0\0\x02\x01b", TableError::Truncated),
    ] {
        assert_eq!(FieldTable::check(bytes, Limits::default()), Err(why), "{bytes:?}");
    }
}

#[test]
fn limits_hold_exactly() {
    let limits = Limits { depth: 3, entries: 4, bytes: 21 };
    let arrays = b"\0A\0\0\0\x0AA\0\0\0\x05A\0\0\0\0";
    for (bytes, expected) in [
        (nested(3), Ok(())),
        (nested(4), Err(TableError::TooDeep)),
        (arrays.to_vec(), Err(TableError::TooDeep)),
        (b"\0V\0V\0V\0V".to_vec(), Ok(())),
        (b"\0V\0V\0V\0V\0V".to_vec(), Err(TableError::TooManyEntries)),
        (b"\0A\0\0\0\x04VVVV".to_vec(), Err(TableError::TooManyEntries)),
        (vec![0; 22], Err(TableError::TooLong)),
    ] {
        assert_eq!(FieldTable::check(&bytes, limits).map(drop), expected, "{bytes:?}");
    }
}

/// The oracle overflows its stack at 1,365 levels.
#[test]
fn deep_nesting_is_refused_and_costs_nothing() {
    let deep = nested(20_000);
    assert_eq!(
        FieldTable::check(&deep, Limits { bytes: usize::MAX, ..Limits::default() }),
        Err(TableError::TooDeep)
    );
    // Even unchecked, reading, comparing and printing end.
    let value = FieldValue::Table(FieldTable::stored(&deep));
    assert!(!super::compare::erlang_eq(&value, &value));
    assert!(value.to_string().len() < 2_000);
}

#[test]
fn a_failed_write_leaves_the_table_as_it_was() {
    let mut bytes = Vec::new();
    let mut writer = TableWriter::new(&mut bytes);
    writer.string("a", "b").unwrap();
    let long = "n".repeat(256);
    assert_eq!(writer.put(&long, FieldValue::Void), Err(WriteError::NameTooLong));
    let inner = writer.table("t", |inner| inner.put(&long, FieldValue::Void));
    assert_eq!(inner, Err(WriteError::NameTooLong));
    let inner = writer.array("t", |array| {
        array.put(FieldValue::Void)?;
        array.table(|table| table.put(&long, FieldValue::Void))
    });
    assert_eq!(inner, Err(WriteError::NameTooLong));
    assert!(writer.put(&"n".repeat(255), FieldValue::Void).is_ok());
    let names: Vec<_> = FieldTable::stored(&bytes).iter().map(|(name, _)| name.len()).collect();
    assert_eq!(names, [1, 255]);
    let mut out = vec![7];
    let failed = TableWriter::framed(&mut out, |table| table.put(&long, FieldValue::Void));
    assert_eq!((failed, out), (Err(WriteError::NameTooLong), vec![7]));
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in entries()) {
        let bytes = table_bytes(&entries);
        let table = FieldTable::check(&bytes, Limits::default()).unwrap();
        prop_assert!(Sample::Table(entries).is(&FieldValue::Table(table)));
    }

    #[test]
    fn the_oracle_reads_what_we_write(entries in entries()) {
        let bytes = table_bytes(&entries);
        prop_assert!(agrees(FieldTable::stored(&bytes), &oracle(&bytes).unwrap()));
    }

    #[test]
    fn we_read_what_the_oracle_writes(entries in entries()) {
        let table = oracle(&table_bytes(&entries)).unwrap();
        let (bytes, _) = gen_field_table::<Vec<u8>>(&table)(Vec::new().into()).unwrap().into_inner();
        let own = FieldTable::check(&bytes[4..], Limits::default()).unwrap();
        prop_assert!(agrees(own, &table));
    }

    #[test]
    fn what_we_accept_the_oracle_reads_alike(
        entries in entries(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = table_bytes(&entries);
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Ok(table) = FieldTable::check(&bytes, Limits::default()) {
            prop_assert!(agrees(table, &oracle(&bytes).unwrap()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let checked = FieldTable::check(&bytes, Limits::default());
        let table = FieldTable::stored(&bytes);
        let value = FieldValue::Table(table);
        std::hint::black_box((value.to_string(), super::compare::erlang_eq(&value, &value)));
        let mut kept = Vec::new();
        table.retain(|_, _| true, &mut kept);
        prop_assert!(bytes.starts_with(&kept));
        prop_assert!(checked.is_err() || kept == bytes);
    }
}
