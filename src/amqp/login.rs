//! What clients prove their identity with: SASL PLAIN and AMQPLAIN. Part of `amqp`; pure.

use crate::model::field_table::{FieldTable, Limits};

/// The mechanisms on offer, as `connection.start` lists them.
pub const MECHANISMS: &str = "PLAIN AMQPLAIN";

/// Bounds of an AMQPLAIN response, which comes before anybody is authenticated.
const RESPONSE_LIMITS: Limits = Limits { depth: 4, entries: 32, bytes: 8192 };

/// Credentials as offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password, of any bytes.
    pub password: Vec<u8>,
}

/// Why a response cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Not one of [`MECHANISMS`].
    #[error("unknown SASL mechanism")]
    UnknownMechanism,
    /// Not what the mechanism says.
    #[error("malformed SASL response")]
    Malformed,
}

/// Reads the response of `mechanism`.
///
/// # Errors
/// [`LoginError`], which is answered with silence, as RabbitMQ does.
pub fn credentials(mechanism: &str, response: &[u8]) -> Result<Credentials, LoginError> {
    match mechanism {
        "PLAIN" => plain(response),
        "AMQPLAIN" => amqplain(response),
        _ => Err(LoginError::UnknownMechanism),
    }
    .and_then(|(user, password)| {
        let user = std::str::from_utf8(user).map_err(|_| LoginError::Malformed)?;
        Ok(Credentials { user: user.to_owned(), password: password.to_vec() })
    })
}

/// `authorization NUL user NUL password`; acting for somebody else is not offered, so the first must be empty
/// [RFC 4616].
fn plain(response: &[u8]) -> Result<(&[u8], &[u8]), LoginError> {
    let mut parts = response.split(|byte| *byte == 0);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(b""), Some(user), Some(password), None) => Ok((user, password)),
        _ => Err(LoginError::Malformed),
    }
}

/// A field table without its length, with `LOGIN` and `PASSWORD`.
fn amqplain(response: &[u8]) -> Result<(&[u8], &[u8]), LoginError> {
    let table = FieldTable::check(response, RESPONSE_LIMITS).map_err(|_| LoginError::Malformed)?;
    let field = |name| table.get(name).and_then(|value| value.as_bytes());
    field("LOGIN").zip(field("PASSWORD")).ok_or(LoginError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::{Credentials, LoginError, credentials};
    use crate::model::field_table::write::TableWriter;

    fn offered(user: &str, password: &[u8]) -> Result<Credentials, LoginError> {
        Ok(Credentials { user: user.to_owned(), password: password.to_vec() })
    }

    #[test]
    fn plain_is_three_parts_of_which_the_first_is_empty() {
        assert_eq!(credentials("PLAIN", b"\0guest\0gu\xFFest"), offered("guest", b"gu\xFFest"));
        assert_eq!(credentials("PLAIN", b"\0\0"), offered("", b""));
        for wrong in [&b""[..], b"guest\0guest", b"admin\0guest\0guest", b"\0a\0b\0c", b"\0\xFF\0x"]
        {
            assert_eq!(credentials("PLAIN", wrong), Err(LoginError::Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn amqplain_is_a_table_with_login_and_password() {
        let mut table = Vec::new();
        let mut writer = TableWriter::new(&mut table);
        writer.string("LOGIN", "alice").unwrap();
        let half = writer.string("PASSWORD", "secret");
        half.unwrap();
        assert_eq!(credentials("AMQPLAIN", &table), offered("alice", b"secret"));
        assert_eq!(credentials("AMQPLAIN", &table[..12]), Err(LoginError::Malformed));
        assert_eq!(credentials("AMQPLAIN", b"\x05LOGI"), Err(LoginError::Malformed));
        assert_eq!(credentials("EXTERNAL", b""), Err(LoginError::UnknownMechanism));
        assert_eq!(credentials("plain", b"\0a\0b"), Err(LoginError::UnknownMechanism));
    }
}
