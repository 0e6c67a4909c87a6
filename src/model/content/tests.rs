//! Content blocks against `amq-protocol` on accepted input, edits, and hostile bytes.

use amq_protocol::protocol::basic::parse_properties;
use proptest::prelude::*;

use super::edit::{EditError, Editor};
use super::{
    ContentError, ContentField, EXPIRATION_MS_MAX, ExpirationError, Properties, delivery_mode,
    expiration_ms,
};
use crate::model::field_table::tests::{agrees, entries, table_bytes};
use crate::model::field_table::{FieldTable, Limits, TableError};

/// A block of all fields.
fn full() -> Vec<u8> {
    let mut editor = Editor::default();
    for field in ContentField::ALL {
        let name = format!("{field:?}").into_bytes();
        if let Err(why) = editor.short_string(field, name) {
            assert_eq!(why, EditError::NotAShortString);
        }
    }
    editor.headers(&b"\x01aV"[..]).delivery_mode(2).priority(9).timestamp(1_700_000_000);
    let mut block = Vec::new();
    editor.write(&mut block);
    block
}

#[test]
fn every_field_is_found() {
    let block = full();
    let content = Properties::scan(&block, Limits::default()).unwrap();
    assert_eq!(content.content_type(), Some(&b"ContentType"[..]));
    assert_eq!(content.content_encoding(), Some(&b"ContentEncoding"[..]));
    assert_eq!(content.headers().unwrap().as_bytes(), b"\x01aV");
    assert_eq!(content.delivery_mode(), Some(2));
    assert_eq!(content.priority(), Some(9));
    assert_eq!(content.correlation_id(), Some(&b"CorrelationId"[..]));
    assert_eq!(content.reply_to(), Some(&b"ReplyTo"[..]));
    assert_eq!(content.expiration(), Some(&b"Expiration"[..]));
    assert_eq!(content.message_id(), Some(&b"MessageId"[..]));
    assert_eq!(content.timestamp(), Some(1_700_000_000));
    assert_eq!(content.type_(), Some(&b"Type"[..]));
    assert_eq!(content.user_id(), Some(&b"UserId"[..]));
    assert_eq!(content.app_id(), Some(&b"AppId"[..]));
    assert_eq!(content.cluster_id(), Some(&b"ClusterId"[..]));
    assert_eq!(content.text(ContentField::Type), Some("Type"));
    assert_eq!(content.text(ContentField::Headers), None);
    assert_eq!(delivery_mode(&block), Some(2));
}

#[test]
fn an_empty_block_has_nothing_and_an_empty_table_is_a_table() {
    let none = Properties::scan(&[0, 0], Limits::default()).unwrap();
    assert!(ContentField::ALL.iter().all(|field| !none.has(*field)));
    assert!(none.headers().is_none() && none.content_type().is_none());
    let block = [0x20, 0, 0, 0, 0, 0];
    let content = Properties::scan(&block, Limits::default()).unwrap();
    assert!(content.headers().unwrap().is_empty());
    let mut again = Vec::new();
    Editor::new(content).write(&mut again);
    assert_eq!(again, block);
}

#[test]
fn blocks_that_are_wrong_are_refused() {
    for (block, why) in [
        (&[][..], ContentError::Truncated),
        (&[0x80], ContentError::Truncated),
        (&[0x80, 0], ContentError::Truncated),
        (&[0x80, 0, 2, b'a'], ContentError::Truncated),
        (&[0x80, 1, 1, b'a', 0, 0], ContentError::Continued),
        (&[0x80, 2, 1, b'a'], ContentError::UnknownFlag),
        (&[0x80, 0, 1, b'a', 0], ContentError::Trailing),
        (&[0, 0, 0], ContentError::Trailing),
        (&[0x20, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0], ContentError::Truncated),
        (&[0x20, 0, 0, 0, 0, 1, 0], ContentError::Headers(TableError::Truncated)),
        (&[0, 0x40, 0, 0, 0, 0, 0, 0, 0], ContentError::Truncated),
        (&[0x10, 0], ContentError::Truncated),
    ] {
        assert_eq!(Properties::scan(block, Limits::default()).err(), Some(why), "{block:?}");
    }
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    let block = full();
    let content = Properties::stored(&block);
    let mut editor = Editor::new(content);
    editor.short_string(ContentField::ReplyTo, &b"amq.rabbitmq.reply-to.x"[..]).unwrap();
    editor.remove(ContentField::Expiration);
    let mut edited = Vec::new();
    editor.write(&mut edited);
    assert_eq!(edited.len(), editor.len());
    let after = Properties::scan(&edited, Limits::default()).unwrap();
    for field in ContentField::ALL {
        match field {
            ContentField::ReplyTo => {
                assert_eq!(after.reply_to(), Some(&b"amq.rabbitmq.reply-to.x"[..]));
            }
            ContentField::Expiration => assert!(!after.has(field)),
            _ => assert_eq!(after.raw(field), content.raw(field)),
        }
    }
}

#[test]
fn a_header_can_be_taken_out() {
    let mut block = vec![0x20, 0, 0, 0, 0, 12];
    block.extend(b"\x01aV\x03BCCV\x01b");
    block.extend(b"t\x01");
    let content = Properties::scan(&block, Limits::default()).unwrap();
    let mut edited = Vec::new();
    Editor::new(content).retain_headers(|name, _| name != "BCC").write(&mut edited);
    let after = Properties::scan(&edited, Limits::default()).unwrap();
    assert_eq!(after.headers().unwrap().as_bytes(), b"\x01aV\x01bt\x01");
    let mut emptied = Vec::new();
    Editor::new(content).retain_headers(|_, _| false).write(&mut emptied);
    assert_eq!(emptied, [0x20, 0, 0, 0, 0, 0]);
    let mut without = Vec::new();
    Editor::default().retain_headers(|_, _| false).write(&mut without);
    assert_eq!(without, [0, 0]);
}

#[test]
fn short_strings_are_short() {
    let mut editor = Editor::default();
    assert!(editor.short_string(ContentField::Type, vec![b'a'; 255]).is_ok());
    let long = editor.short_string(ContentField::AppId, vec![b'a'; 256]).map(drop);
    assert_eq!(long, Err(EditError::TooLong));
    assert!(!editor.has(ContentField::AppId) && editor.has(ContentField::Type));
    assert!(!editor.is_empty() && Editor::default().is_empty());
}

/// As `rabbit_basic:parse_expiration/1` of 3.10.8 answered.
#[test]
fn expirations_are_read_as_rabbitmq_reads_them() {
    use ExpirationError::{Negative, NotANumber, TooLarge};
    for (text, expected) in [
        (&b"5"[..], Ok(5)),
        (b"+5", Ok(5)),
        (b"-0", Ok(0)),
        (b"0060000", Ok(60_000)),
        (b"4294967296", Ok(4_294_967_296)),
        (b"315360000000", Ok(EXPIRATION_MS_MAX)),
        (b"315360000001", Err(TooLarge)),
        (b"99999999999999999999999", Err(TooLarge)),
        (b"-5", Err(Negative)),
        (b"-99999999999999999999999", Err(Negative)),
        (b"", Err(NotANumber)),
        (b"+", Err(NotANumber)),
        (b"+-5", Err(NotANumber)),
        (b" 5", Err(NotANumber)),
        (b"5 ", Err(NotANumber)),
        (b"1e3", Err(NotANumber)),
        (b"1.5", Err(NotANumber)),
        (b"1\0", Err(NotANumber)),
        (b"\xFF", Err(NotANumber)),
    ] {
        assert_eq!(expiration_ms(text), expected, "{:?}", String::from_utf8_lossy(text));
    }
}

/// A block of chance: some fields, valid.
fn block() -> impl Strategy<Value = Vec<u8>> {
    let text = || prop::option::of("[a-zé0-9.]{0,12}");
    (
        [text(), text(), text(), text(), text(), text(), text(), text(), text(), text()],
        prop::option::of(entries()),
        prop::option::of(any::<u8>()),
        prop::option::of(any::<u8>()),
        prop::option::of(any::<u64>()),
    )
        .prop_map(|(texts, headers, mode, priority, timestamp)| {
            let mut editor = Editor::default();
            let fields = ContentField::ALL
                .into_iter()
                .filter(|field| Editor::default().short_string(*field, vec![]).is_ok());
            for (field, text) in fields.zip(texts) {
                if let Some(text) = text {
                    editor.short_string(field, text.into_bytes()).unwrap();
                }
            }
            headers.map(|entries| editor.headers(table_bytes(&entries)).has(ContentField::Headers));
            mode.map(|mode| editor.delivery_mode(mode).is_empty());
            priority.map(|priority| editor.priority(priority).is_empty());
            timestamp.map(|timestamp| editor.timestamp(timestamp).is_empty());
            let mut block = Vec::new();
            editor.write(&mut block);
            assert_eq!(block.len(), editor.len());
            block
        })
}

fn agrees_with_the_oracle(content: &Properties<'_>) -> bool {
    let Ok((rest, oracle)) = parse_properties(content.block()) else { return false };
    let text = |own: Option<&[u8]>, other: &Option<amq_protocol::types::ShortString>| {
        own == other.as_ref().map(|text| text.as_str().as_bytes())
    };
    rest.is_empty()
        && text(content.content_type(), oracle.content_type())
        && text(content.content_encoding(), oracle.content_encoding())
        && content.headers().is_some() == oracle.headers().is_some()
        && content
            .headers()
            .zip(oracle.headers().as_ref())
            .is_none_or(|(own, other)| agrees(own, other))
        && content.delivery_mode() == *oracle.delivery_mode()
        && content.priority() == *oracle.priority()
        && text(content.correlation_id(), oracle.correlation_id())
        && text(content.reply_to(), oracle.reply_to())
        && text(content.expiration(), oracle.expiration())
        && text(content.message_id(), oracle.message_id())
        && content.timestamp() == *oracle.timestamp()
        && text(content.type_(), oracle.kind())
        && text(content.user_id(), oracle.user_id())
        && text(content.app_id(), oracle.app_id())
        && text(content.cluster_id(), oracle.cluster_id())
}

proptest! {
    #[test]
    fn the_oracle_reads_the_same(block in block()) {
        let content = Properties::scan(&block, Limits::default()).unwrap();
        prop_assert!(agrees_with_the_oracle(&content));
        prop_assert_eq!(delivery_mode(&block), content.delivery_mode());
        let mut again = Vec::new();
        Editor::new(content).write(&mut again);
        prop_assert_eq!(again, block);
    }

    #[test]
    fn what_we_accept_the_oracle_reads_alike(
        mut block in block(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for (at, byte) in changes {
            let at = at.index(block.len());
            block[at] = byte;
        }
        if let Ok(content) = Properties::scan(&block, Limits::default()) {
            // The oracle wants short strings to be UTF-8; RabbitMQ and we take any bytes.
            let texts = ContentField::ALL.iter().all(|field| {
                content.short_string(*field).is_some() == content.text(*field).is_some()
            });
            prop_assert!(!texts || agrees_with_the_oracle(&content));
        }
    }

    #[test]
    fn a_removed_field_is_gone_and_the_others_stay(block in block(), index in 0..ContentField::ALL.len()) {
        let (content, removed) = (Properties::stored(&block), ContentField::ALL[index]);
        let mut edited = Vec::new();
        Editor::new(content).remove(removed).write(&mut edited);
        let after = Properties::scan(&edited, Limits::default()).unwrap();
        for field in ContentField::ALL {
            let expected = if field == removed { None } else { content.raw(field) };
            prop_assert_eq!(after.raw(field), expected);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(block in prop::collection::vec(any::<u8>(), 0..80)) {
        let scanned = Properties::scan(&block, Limits::default());
        std::hint::black_box(delivery_mode(&block));
        let stored = Properties::stored(&block);
        for field in ContentField::ALL {
            std::hint::black_box((stored.raw(field), stored.short_string(field)));
        }
        std::hint::black_box(stored.headers().map(FieldTable::iter).map(Iterator::count));
        if let Ok(content) = scanned {
            prop_assert_eq!(content.block(), &block);
        }
    }
}
