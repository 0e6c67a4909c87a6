//! InitProducerId (22), versions 0–5: gives a producer the number that its sequences count under. Part of
//! `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | transactional id `?s`, transaction timeout `i32` ms | 0– |
//! | producer id `i64`, producer epoch `i16`, −1 for none (KIP-360) | 3– |
//! | tags | 2– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms, error `i16`, producer id `i64`, producer epoch `i16` | 0– |
//! | tags | 2– |
//!
//! Version 4 adds the error PRODUCER_FENCED, 5 says that the client knows transactions of KIP-890.

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Who wants a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitProducerIdRequest<'a> {
    /// `None` from a producer that is only idempotent.
    pub transactional_id: Option<&'a str>,
    /// When its transactions are given up; means nothing without a transactional id.
    pub transaction_timeout_ms: i32,
    /// The number it has and wants a higher epoch of; −1 for none.
    pub producer_id: i64,
    /// The epoch that it has; −1 for none.
    pub producer_epoch: i16,
}

impl<'a> InitProducerIdRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let transactional_id = reader.nullable_string()?;
        let transaction_timeout_ms = reader.i32()?;
        let (producer_id, producer_epoch) =
            if version >= 3 { (reader.i64()?, reader.i16()?) } else { (-1, -1) };
        reader.end()?;
        Ok(Self { transactional_id, transaction_timeout_ms, producer_id, producer_epoch })
    }
}

/// The number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitProducerIdResponse {
    /// 0, or why there is none.
    pub error_code: i16,
    /// −1 with an error.
    pub producer_id: i64,
    /// −1 with an error.
    pub producer_epoch: i16,
}

impl InitProducerIdResponse {
    /// A refusal.
    #[must_use]
    pub fn refusal(error_code: i16) -> Self {
        Self { error_code, producer_id: -1, producer_epoch: -1 }
    }

    /// Writes the body; every version has the same fields.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i32(0);
        writer.i16(self.error_code);
        writer.i64(self.producer_id);
        writer.i16(self.producer_epoch);
        writer.end();
    }
}
