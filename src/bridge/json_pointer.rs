//! One scalar out of a JSON document by its pointer (RFC 6901). Part of `bridge`; pure.
//!
//! The document is read once and nothing of it is kept but the value asked for: a payload of a megabyte of
//! brackets costs time, not memory. Nesting is bounded by `serde_json` (128 levels).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A compiled pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPointer {
    steps: Vec<String>,
}

/// Why a document did not give a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It is not JSON.
    #[error("the payload is not JSON")]
    NotJson,
    /// The pointer leads nowhere, to `null`, or to an object or array.
    #[error("the payload has no text, number or truth value there")]
    Absent,
}

impl JsonPointer {
    /// Compiles `text`: empty, or steps with a `/` before each; `~1` is a slash in a step, `~0` a tilde.
    /// `None` when it is no pointer.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self { steps: Vec::new() });
        }
        let steps = text.strip_prefix('/')?.split('/').map(|step| {
            let tildes = step.split('~').skip(1);
            let escaped = tildes.fold(true, |good, rest| good && rest.starts_with(['0', '1']));
            escaped.then(|| step.replace("~1", "/").replace("~0", "~"))
        });
        steps.collect::<Option<Vec<_>>>().map(|steps| Self { steps })
    }

    /// Appends the value to `out`: a text as it is, numbers and truth values as JSON writes them. Where a
    /// document repeats a name, its first value is taken.
    ///
    /// # Errors
    /// [`PointerError`]; then `out` is unchanged.
    pub fn find(&self, document: &[u8], out: &mut Vec<u8>) -> Result<(), PointerError> {
        let mut reader = serde_json::Deserializer::from_slice(document);
        let found = Steps(&self.steps).deserialize(&mut reader);
        let found = found.and_then(|found| reader.end().map(|()| found));
        let value = found.map_err(|_| PointerError::NotJson)?.ok_or(PointerError::Absent)?;
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }
}

/// The rest of the way; gives the value's text, or `None` when there is no scalar.
struct Steps<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Steps<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl Steps<'_> {
    /// A scalar is the value if the way ends here.
    fn scalar(&self, value: impl fmt::Display) -> Option<String> {
        self.0.is_empty().then(|| value.to_string())
    }
}

impl<'de> Visitor<'de> for Steps<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.scalar(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.scalar(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.scalar(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(serde_json::Number::from_f64(value).and_then(|number| self.scalar(number)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.scalar(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut seen) = (None, false);
        while let Some(name) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((step, rest)) if *step == name && !seen => {
                    seen = true;
                    found = map.next_value_seed(Steps(rest))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let step = self.0.split_first().and_then(|(step, rest)| Some((index(step)?, rest)));
        let (mut found, mut at) = (None, 0);
        loop {
            match step {
                Some((wanted, rest)) if wanted == at => {
                    match items.next_element_seed(Steps(rest))? {
                        Some(value) => found = value,
                        None => return Ok(None),
                    }
                }
                _ => {
                    if items.next_element::<IgnoredAny>()?.is_none() {
                        return Ok(found);
                    }
                }
            }
            at += 1;
        }
    }
}

/// An array's index as RFC 6901 writes it: no sign, no leading zero.
fn index(step: &str) -> Option<usize> {
    let plain =
        step.bytes().all(|byte| byte.is_ascii_digit()) && (step == "0" || !step.starts_with('0'));
    if plain { step.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{JsonPointer, PointerError};

    fn find(pointer: &str, document: &str) -> Result<String, PointerError> {
        let mut out = Vec::new();
        JsonPointer::parse(pointer).unwrap().find(document.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn scalars_are_found_wherever_they_stand() {
        let document = r#"{"a": {"b": [1, {"c": "x/y"}, -2.5, true], "": "e"}, "d/~": "t", "n": null, "a2": 18446744073709551615}"#;
        for (pointer, value) in [
            ("/a/b/0", "1"),
            ("/a/b/1/c", "x/y"),
            ("/a/b/2", "-2.5"),
            ("/a/b/3", "true"),
            ("/a/", "e"),
            ("/d~1~0", "t"),
            ("/a2", "18446744073709551615"),
        ] {
            assert_eq!(find(pointer, document).as_deref(), Ok(value), "{pointer}");
        }
        for pointer in
            ["", "/a", "/a/b", "/a/b/4", "/a/b/00", "/a/b/-", "/n", "/x", "/a/b/0/x", "/a2/0"]
        {
            assert_eq!(find(pointer, document), Err(PointerError::Absent), "{pointer}");
        }
        assert_eq!(find("", "\"whole\"").as_deref(), Ok("whole"));
        assert_eq!(find("/a", r#"{"a": 1, "a": 2}"#).as_deref(), Ok("1"));
    }

    #[test]
    fn what_is_not_json_is_refused_to_its_end() {
        let deep = "[".repeat(100_000);
        for document in
            ["", "x", "{\"a\": 1", "{\"a\": 1} x", "{\"a\": 1e999}", "\u{0}", deep.as_str()]
        {
            assert_eq!(find("/a", document), Err(PointerError::NotJson));
        }
        assert!(
            JsonPointer::parse("/a").unwrap().find(b"{\"a\": \"\xff\"}", &mut Vec::new()).is_err()
        );
    }

    #[test]
    fn pointers_are_checked() {
        for text in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert_eq!(JsonPointer::parse(text), None, "{text}");
        }
    }
}
