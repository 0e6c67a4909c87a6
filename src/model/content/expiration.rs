//! The time to live that a publisher writes in words. Part of `model/content`; pure.

/// The longest expiration that is accepted: ten years, as RabbitMQ has it.
pub const EXPIRATION_MS_MAX: u64 = 315_360_000_000;

/// Why an expiration is refused, RabbitMQ's three cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpirationError {
    /// It does not begin with a number, or something follows the number.
    #[error("no_integer")]
    NotANumber,
    /// Less than 0.
    #[error("value_negative")]
    Negative,
    /// More than [`EXPIRATION_MS_MAX`].
    #[error("value_too_large")]
    TooLarge,
}

/// The milliseconds that an `expiration` property says. Decimal digits, a sign and leading zeros allowed;
/// nothing else, not even a space.
///
/// # Errors
/// See [`ExpirationError`]: 406 at the publish.
pub fn expiration_ms(text: &[u8]) -> Result<u64, ExpirationError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ExpirationError::NotANumber);
    }
    let value = digits
        .iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add((digit - b'0').into()));
    match value {
        Some(0) => Ok(0),
        _ if negative => Err(ExpirationError::Negative),
        Some(value) if value <= EXPIRATION_MS_MAX => Ok(value),
        _ => Err(ExpirationError::TooLarge),
    }
}
