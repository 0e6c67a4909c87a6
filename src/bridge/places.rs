//! How templates are written: text, and places between braces. Part of `bridge`; pure.

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text, never empty.
    Text(String),
    /// What stands between `{` and `}`.
    Place(&'a str),
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
