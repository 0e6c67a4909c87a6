//! How templates are written: text, and places between braces. Part of `bridge`; pure.

use crate::bridge::json_pointer::JsonPointer;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text, never empty.
    Text(String),
    /// What stands between `{` and `}`.
    Place(&'a str),
}

/// The pointer that the place `json:/…` names; `None` if `name` is another kind of place.
///
/// # Errors
/// What is wrong with the pointer, in the user's words.
pub(super) fn json_place(name: &str) -> Result<Option<JsonPointer>, String> {
    let Some(pointer) = name.strip_prefix("json:") else { return Ok(None) };
    let parsed = JsonPointer::parse(pointer);
    parsed.map(Some).ok_or_else(|| format!("`{{{name}}}`: a JSON pointer begins with `/`"))
}

/// The pieces of `text`; `{{` and `}}` are braces.
///
/// # Errors
/// What is wrong with it, in the user's words.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(['{', '}']) {
        plain.push_str(before);
        let brace = if rest.as_bytes().get(before.len()) == Some(&b'{') { '{' } else { '}' };
        if let Some(escaped) = after.strip_prefix(brace) {
            plain.push(brace);
            rest = escaped;
            continue;
        }
        if brace == '}' {
            return Err("`}` without a `{` before it; `}}` is a brace".to_owned());
        }
        let (name, after) = after.split_once('}').ok_or("`{` is never closed; `{{` is a brace")?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Place(name));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}
