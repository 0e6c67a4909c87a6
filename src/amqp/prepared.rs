//! What the broker must know of a publish's properties, and what receivers may not see of them. Part of `amqp`;
//! pure.

use std::borrow::Cow;

use crate::amqp::error::{Fault, ReplyCode};
use crate::amqp::refusal;
use crate::broker::replies::REPLY_TO;
use crate::model::content::edit::Editor;
use crate::model::content::{ContentField, Properties, expiration_ms};
use crate::model::field_table::{FieldArray, FieldTable, FieldValue};

/// Delivery mode of what need not survive a restart.
const TRANSIENT: u8 = 1;
/// Delivery mode of what survives a restart.
const PERSISTENT: u8 = 2;
/// Routing keys of `CC` and `BCC` together: each is looked up by itself, so that a frame full of them would keep a
/// worker busy for long.
const MORE_KEYS_MAX: usize = 1024;
/// Fields that have a meaning for the broker.
const MEANINGFUL: [ContentField; 4] =
    [ContentField::Headers, ContentField::ReplyTo, ContentField::Expiration, ContentField::UserId];

/// A publish's properties, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Prepared<'a> {
    /// The block as receivers get it.
    pub properties: Cow<'a, [u8]>,
    /// Delivery mode 2.
    pub persistent: bool,
    /// Life from now on.
    pub expires_in_ms: Option<u64>,
    /// Routing keys of `CC` and `BCC`.
    pub more_keys: Vec<&'a str>,
}

/// Who publishes, as far as properties may name it.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// The name it logged in with.
    pub login: &'a str,
    /// The name that direct replies to its channel go to.
    pub reply_name: Option<&'a str>,
}

/// Reads `properties`.
///
/// # Errors
/// What closes the channel.
#[inline]
pub fn prepare<'a>(properties: &Properties<'a>, author: Author<'_>) -> Result<Prepared<'a>, Fault> {
    let persistent = match properties.delivery_mode() {
        None | Some(TRANSIENT) => false,
        Some(PERSISTENT) => true,
        Some(other) => {
            return Err(unmet(format!("invalid message: {{delivery_mode_unknown,{other}}}")));
        }
    };
    if MEANINGFUL.iter().any(|field| properties.has(*field)) {
        return prepare_meaningful(properties, persistent, author);
    }
    Ok(Prepared {
        properties: Cow::Borrowed(properties.block()),
        persistent,
        expires_in_ms: None,
        more_keys: Vec::new(),
    })
}

fn prepare_meaningful<'a>(
    properties: &Properties<'a>,
    persistent: bool,
    author: Author<'_>,
) -> Result<Prepared<'a>, Fault> {
    let asks_here = properties.reply_to() == Some(REPLY_TO.as_bytes());
    if asks_here && author.reply_name.is_none() {
        return Err(unmet("fast reply consumer does not exist"));
    }
    if let Some(claimed) = properties.user_id()
        && claimed != author.login.as_bytes()
    {
        return Err(unmet(format!(
            "user_id property set to '{}' but authenticated user was '{}'",
            String::from_utf8_lossy(claimed),
            author.login
        )));
    }
    let expires_in_ms = match properties.expiration() {
        Some(text) => Some(expiration_ms(text).map_err(|error| refusal::expiration(error, text))?),
        None => None,
    };
    let mut more_keys = Vec::new();
    let mut blind = false;
    if let Some(headers) = properties.headers() {
        collect_keys(headers, "CC", &mut more_keys)?;
        blind = collect_keys(headers, "BCC", &mut more_keys)?;
    }
    if more_keys.len() > MORE_KEYS_MAX {
        let count = more_keys.len();
        return Err(unmet(format!(
            "invalid message: {count} routing keys in headers CC and BCC exceed the limit of {MORE_KEYS_MAX}"
        )));
    }
    let mut block = Cow::Borrowed(properties.block());
    if asks_here || blind {
        let mut editor = Editor::new(*properties);
        if let Some(name) = author.reply_name.filter(|_| asks_here) {
            // The name is ours and short.
            drop(editor.short_string(ContentField::ReplyTo, name.as_bytes().to_vec()));
        }
        if blind {
            editor.retain_headers(|name, _| name != "BCC");
        }
        let mut edited = Vec::with_capacity(editor.len());
        editor.write(&mut edited);
        block = Cow::Owned(edited);
    }
    Ok(Prepared { properties: block, persistent, expires_in_ms, more_keys })
}

/// Appends the keys of a header that holds an array of strings; false when it is absent.
fn collect_keys<'a>(
    headers: FieldTable<'a>,
    name: &str,
    out: &mut Vec<&'a str>,
) -> Result<bool, Fault> {
    let Some(value) = headers.get(name) else { return Ok(false) };
    let array = value.as_array().ok_or_else(|| {
        let found = value.type_name();
        unmet(format!("invalid message: {{unacceptable_type_in_header,\"{name}\",{found}}}"))
    })?;
    strings(array, out).map_err(|()| {
        unmet(format!("invalid message: a routing key in header {name} is not UTF-8"))
    })?;
    Ok(true)
}

/// Elements of other types do not count.
fn strings<'a>(array: FieldArray<'a>, out: &mut Vec<&'a str>) -> Result<(), ()> {
    for element in array.iter() {
        if let FieldValue::LongString(bytes) = element {
            out.push(std::str::from_utf8(bytes).map_err(drop)?);
        }
    }
    Ok(())
}

fn unmet(text: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(ReplyCode::PreconditionFailed, text)
}

#[cfg(test)]
mod tests {
    use super::{Author, prepare};
    use crate::model::content::edit::Editor;
    use crate::model::content::{ContentField, Properties};
    use crate::model::field_table::FieldValue;
    use crate::model::field_table::write::{ArrayWriter, TableWriter};

    const GUEST: Author<'_> = Author { login: "guest", reply_name: None };

    fn block(edit: impl FnOnce(&mut Editor<'_>)) -> Vec<u8> {
        let mut editor = Editor::default();
        edit(&mut editor);
        let mut out = Vec::new();
        editor.write(&mut out);
        out
    }

    fn text(edit: impl FnOnce(&mut Editor<'_>)) -> String {
        prepare(&Properties::stored(&block(edit)), GUEST).unwrap_err().reply_text()
    }

    #[test]
    fn what_means_nothing_to_the_broker_passes_as_it_is() {
        let block = block(|editor| {
            editor.short_string(ContentField::MessageId, &b"m"[..]).unwrap();
            editor.delivery_mode(2).priority(9);
        });
        let prepared = prepare(&Properties::stored(&block), GUEST).unwrap();
        assert!(prepared.persistent && prepared.more_keys.is_empty());
        assert_eq!(*prepared.properties, *block);
        assert!(!prepare(&Properties::default(), GUEST).unwrap().persistent);
    }

    #[test]
    fn carbon_copies_are_keys_and_blind_ones_are_not_seen() {
        let mut table = Vec::new();
        let mut writer = TableWriter::new(&mut table);
        for (name, key) in [("CC", "c"), ("keep", "k"), ("BCC", "b")] {
            let written = writer.array(name, |array| {
                array.put(FieldValue::U8(1))?;
                array.string(key)
            });
            written.unwrap();
        }
        let block = block(|editor| {
            editor.headers(table.clone());
        });
        let prepared = prepare(&Properties::stored(&block), GUEST).unwrap();
        assert_eq!(prepared.more_keys, ["c", "b"]);
        let headers = Properties::stored(&prepared.properties).headers().unwrap();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["CC", "keep"]);
    }

    #[test]
    fn direct_replies_get_the_channels_own_name() {
        let block = block(|editor| {
            editor.short_string(ContentField::ReplyTo, &b"amq.rabbitmq.reply-to"[..]).unwrap();
        });
        let author = Author { reply_name: Some("amq.rabbitmq.reply-to.x"), ..GUEST };
        let prepared = prepare(&Properties::stored(&block), author).unwrap();
        let properties = Properties::stored(&prepared.properties);
        assert_eq!(properties.reply_to(), Some(&b"amq.rabbitmq.reply-to.x"[..]));
        let missing = prepare(&Properties::stored(&block), GUEST).unwrap_err().reply_text();
        assert_eq!(missing, "PRECONDITION_FAILED - fast reply consumer does not exist");
    }

    #[test]
    fn what_a_property_may_not_say_is_refused() {
        let short = |field, value: &'static str| {
            text(move |editor| {
                editor.short_string(field, value.as_bytes()).unwrap();
            })
        };
        assert_eq!(
            short(ContentField::UserId, "alice"),
            "PRECONDITION_FAILED - user_id property set to 'alice' but authenticated user was 'guest'"
        );
        assert_eq!(
            short(ContentField::Expiration, "soon"),
            "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"
        );
        let wrong = text(|editor| {
            let mut table = Vec::new();
            TableWriter::new(&mut table).string("CC", "x").unwrap();
            editor.headers(table);
        });
        let expected = "invalid message: {unacceptable_type_in_header,\"CC\",longstr}";
        assert_eq!(wrong, format!("PRECONDITION_FAILED - {expected}"));
        let wrong = text(|editor| {
            let mut table = Vec::new();
            let many = |array: &mut ArrayWriter<'_>| (0..1025).try_for_each(|_| array.string("k"));
            TableWriter::new(&mut table).array("BCC", many).unwrap();
            editor.headers(table);
        });
        let expected = "1025 routing keys in headers CC and BCC exceed the limit of 1024";
        assert_eq!(wrong, format!("PRECONDITION_FAILED - invalid message: {expected}"));
        let wrong = text(|editor| {
            editor.delivery_mode(3);
        });
        let expected = "invalid message: {delivery_mode_unknown,3}";
        assert_eq!(wrong, format!("PRECONDITION_FAILED - {expected}"));
    }
}
