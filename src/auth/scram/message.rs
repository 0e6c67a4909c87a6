//! The grammar of a client's SCRAM messages (RFC 5802 §7). Part of `auth::scram`; pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::exchange::ScramError;
use super::{Key, fixed};

/// Longest message that is looked at; a name has 256 bytes at most, and nonces are short.
const MESSAGE_BYTES_MAX: usize = 4096;

/// `client-first-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// With both of its commas: what comes back in the final message.
    pub(super) gs2_header: &'a str,
    /// What the proof is about.
    pub(super) bare: &'a str,
    /// Prepared by SASLprep.
    pub(super) user: String,
    pub(super) nonce: &'a str,
}

/// `client-final-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    /// Decoded.
    pub(super) channel_binding: Vec<u8>,
    pub(super) nonce: &'a str,
    /// All before the comma in front of the proof.
    pub(super) without_proof: &'a str,
    pub(super) proof: Key,
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::Malformed("the message is too long"));
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("the message is not UTF-8"))
}

/// The value of `attribute`, which must come next.
fn value<'a>(part: Option<&'a str>, attribute: &'static str) -> Result<&'a str, ScramError> {
    part.and_then(|part| part.strip_prefix(attribute))
        .ok_or(ScramError::Malformed("an attribute is missing or out of order"))
}

/// `n,,`, `y,,` or either with the name that is to be acted for, then name and nonce.
pub(super) fn client_first(message: &[u8]) -> Result<ClientFirst<'_>, ScramError> {
    let text = text(message)?;
    let broken = ScramError::Malformed("the message has no GS2 header");
    let (flag, rest) = text.split_once(',').ok_or(broken)?;
    let (acting_for, bare) = rest.split_once(',').ok_or(broken)?;
    match flag {
        // "y": it would bind the channel and believes that we cannot, which is true.
        "n" | "y" => {}
        _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
        _ => return Err(broken),
    }
    let gs2_header = text.strip_suffix(bare).ok_or(broken)?;
    let mut parts = bare.split(',');
    let first = parts.next();
    if first.is_some_and(|first| first.starts_with("m=")) {
        return Err(ScramError::Extension);
    }
    let user = name(value(first, "n=")?)?;
    let nonce = nonce(value(parts.next(), "r=")?)?;
    if !acting_for.is_empty() && name(value(Some(acting_for), "a=")?)? != user {
        return Err(ScramError::ActingForOthers);
    }
    Ok(ClientFirst { gs2_header, bare, user, nonce })
}

/// `c=…,r=…`, extensions, which mean nothing here, and the proof.
pub(super) fn client_final(message: &[u8]) -> Result<ClientFinal<'_>, ScramError> {
    let text = text(message)?;
    let (without_proof, proof) =
        text.rsplit_once(",p=").ok_or(ScramError::Malformed("the message has no proof"))?;
    let mut parts = without_proof.split(',');
    let binding = value(parts.next(), "c=")?;
    let nonce = nonce(value(parts.next(), "r=")?)?;
    let base64 = |_| ScramError::Malformed("a value is not base64");
    let channel_binding = BASE64.decode(binding).map_err(base64)?;
    let proof = BASE64.decode(proof).map_err(base64)?;
    if proof.len() != size_of::<Key>() {
        return Err(ScramError::Malformed("the proof is not of 32 bytes"));
    }
    Ok(ClientFinal { channel_binding, nonce, without_proof, proof: fixed(&proof) })
}

/// Printable ASCII but for the comma.
fn nonce(text: &str) -> Result<&str, ScramError> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    if fits { Ok(text) } else { Err(ScramError::Malformed("the nonce is not printable ASCII")) }
}

/// A name in which `=2C` stands for a comma and `=3D` for an equals sign, prepared by SASLprep.
fn name(text: &str) -> Result<String, ScramError> {
    let mut pieces = text.split('=');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (stands_for, rest) = if let Some(rest) = piece.strip_prefix("2C") {
            (',', rest)
        } else if let Some(rest) = piece.strip_prefix("3D") {
            ('=', rest)
        } else {
            return Err(ScramError::Name);
        };
        plain.push(stands_for);
        plain.push_str(rest);
    }
    let prepared = stringprep::saslprep(&plain).map_err(|_| ScramError::Name)?;
    if prepared.is_empty() { Err(ScramError::Name) } else { Ok(prepared.into_owned()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::exchange::ScramError;
    use super::{client_final, client_first};

    #[test]
    fn a_first_message_is_taken_apart() {
        let first = client_first(b"y,a=a=2Cb=3D,n=a=2Cb=3D,r=fy+/~,x=ignored").unwrap();
        assert_eq!((first.gs2_header, first.nonce), ("y,a=a=2Cb=3D,", "fy+/~"));
        assert_eq!((&*first.user, first.bare), ("a,b=", "n=a=2Cb=3D,r=fy+/~,x=ignored"));
        assert_eq!(client_first("n,,n=e\u{301},r=x".as_bytes()).unwrap().user, "\u{E9}");
    }

    #[test]
    fn first_messages_that_are_refused() {
        for (message, error) in [
            ("p=tls-unique,,n=u,r=x", ScramError::ChannelBinding),
            ("n,,m=must,n=u,r=x", ScramError::Extension),
            ("n,a=root,n=u,r=x", ScramError::ActingForOthers),
            ("n,,n=u=2c,r=x", ScramError::Name),
            ("n,,n=u=,r=x", ScramError::Name),
            ("n,,n=,r=x", ScramError::Name),
            ("n,,n=a\u{7},r=x", ScramError::Name),
        ] {
            assert_eq!(client_first(message.as_bytes()).unwrap_err(), error, "{message}");
        }
        let long = format!("n,,n=u,r={}", "x".repeat(5000));
        for message in
            ["", "n", "n,", "n,,", "n,,n=u", "n,,r=x,n=u", "n,,n=u,r=", "x,,n=u,r=x", &long]
        {
            let error = client_first(message.as_bytes()).unwrap_err();
            assert!(matches!(error, ScramError::Malformed(_)), "{message}: {error:?}");
        }
        assert!(matches!(client_first(b"n,,n=u,r=a b"), Err(ScramError::Malformed(_))));
        assert!(matches!(client_first(b"n,,n=\xFF,r=x"), Err(ScramError::Malformed(_))));
    }

    #[test]
    fn final_messages_that_are_refused() {
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert!(client_final(format!("c=biws,r=x,e=ignored,p={proof}").as_bytes()).is_ok());
        for message in [
            String::new(),
            "c=biws,r=x".to_owned(),
            "c=biws,r=x,p=AAAA".to_owned(),
            "c=biws,r=x,p=!".to_owned(),
            format!("r=x,c=biws,p={proof}"),
            format!("c=!,r=x,p={proof}"),
            format!("c=biws,r=,p={proof}"),
        ] {
            let error = client_final(message.as_bytes()).unwrap_err();
            assert!(matches!(error, ScramError::Malformed(_)), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[nyp,=ar]{0,40}") {
            for message in [bytes.as_slice(), text.as_bytes()] {
                prop_assert!(client_first(message).is_err() || !message.is_empty());
                prop_assert!(client_final(message).is_err() || !message.is_empty());
            }
        }
    }
}
