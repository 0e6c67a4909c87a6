//! DescribeCluster (60), versions 0–2: who the brokers are (KIP-700). Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | include operations `bool` | 0– |
//! | endpoint type `i8`: 1 brokers, 2 controllers (KIP-919) | 1– |
//! | include fenced brokers `bool` (KIP-1073) | 2 |
//! | tags | 0– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms, error `i16`, error message `?s` | 0– |
//! | endpoint type `i8` | 1– |
//! | cluster id `s`, controller id `i32` | 0– |
//! | `[` broker id `i32`, host `s`, port `i32`, rack `?s`, fenced `bool` (2), tags `]` | 0– |
//! | operations `i32` | 0– |
//! | tags | 0– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// The endpoint type of brokers.
pub const ENDPOINT_BROKER: i8 = 1;

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribeClusterRequest {
    /// Whether to say what the client may do with the cluster.
    pub include_operations: bool,
    /// [`ENDPOINT_BROKER`], or another.
    pub endpoint_type: i8,
}

impl DescribeClusterRequest {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        let include_operations = reader.bool()?;
        let endpoint_type = if version >= 1 { reader.i8()? } else { ENDPOINT_BROKER };
        if version >= 2 {
            reader.bool()?;
        }
        reader.end()?;
        Ok(Self { include_operations, endpoint_type })
    }
}

/// The one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribeClusterResponse<'a> {
    /// 0, or why nothing is told.
    pub error_code: i16,
    /// The reason in words.
    pub error_message: Option<&'a str>,
    /// As asked.
    pub endpoint_type: i8,
    /// Names the cluster across restarts.
    pub cluster_id: &'a str,
    /// This broker's number, which is the controller too.
    pub node_id: i32,
    /// Where clients reach it; `None` with an error, which names no broker.
    pub address: Option<(&'a str, u16)>,
    /// Bits of what the client may do; `i32::MIN` if it did not ask.
    pub operations: i32,
}

impl DescribeClusterResponse<'_> {
    /// Writes the body at `version`.
    pub fn encode(&self, writer: &mut Writer, version: i16) {
        writer.i32(0);
        writer.i16(self.error_code);
        writer.nullable_string(self.error_message);
        if version >= 1 {
            writer.i8(self.endpoint_type);
        }
        writer.string(self.cluster_id);
        writer.i32(self.node_id);
        writer.array(self.address.as_slice(), |writer, (host, port)| {
            writer.i32(self.node_id);
            writer.string(host);
            writer.i32((*port).into());
            writer.nullable_string(None);
            if version >= 2 {
                writer.bool(false);
            }
            writer.end();
        });
        writer.i32(self.operations);
        writer.end();
    }
}
