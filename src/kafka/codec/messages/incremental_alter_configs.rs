//! IncrementalAlterConfigs (44), versions 0–1: changes single settings of logs (KIP-339). Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | `[` resource type `i8`, resource name `s`, `[` name `s`, operation `i8`, value `?s`, tags `]`, tags `]` | 0– |
//! | validate only `bool` | 0– |
//! | tags | 1 |
//!
//! Operations: 0 sets, 1 deletes (back to the default), 2 appends to a list, 3 takes out of a list.
//!
//! The response is that of AlterConfigs, with tags from version 1: `alter_configs::encode_response`.

use crate::kafka::codec::primitives::{DecodeError, Reader};

/// Whose settings, and how they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncrementalAlterConfigsRequest<'a> {
    /// One by one.
    pub resources: Vec<ChangedConfigs<'a>>,
    /// Check, change nothing.
    pub validate_only: bool,
}

/// The changes of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedConfigs<'a> {
    /// `RESOURCE_TOPIC` of `describe_configs`, or another.
    pub resource_type: i8,
    /// The log's name, or the broker's number.
    pub name: &'a str,
    /// One by one.
    pub changes: Vec<ConfigChange<'a>>,
}

/// What happens to one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigChange<'a> {
    /// Its name.
    pub name: &'a str,
    /// The number of an [`Operation`], if it is one.
    pub operation: i8,
    /// The value, or the elements of a list, separated by commas; null when it is deleted.
    pub value: Option<&'a str>,
}

/// What can happen to a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It gets the value.
    Set,
    /// It falls back to its default.
    Delete,
    /// Its list gets the elements that it lacks.
    Append,
    /// Its list loses the elements.
    Subtract,
}

impl ConfigChange<'_> {
    /// What to do, or `None` if the number means nothing.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        match self.operation {
            0 => Some(Operation::Set),
            1 => Some(Operation::Delete),
            2 => Some(Operation::Append),
            3 => Some(Operation::Subtract),
            _ => None,
        }
    }
}

impl<'a> IncrementalAlterConfigsRequest<'a> {
    /// Reads a body; every version has the same fields.
    ///
    /// # Errors
    /// If the body does not follow the layout.
    pub fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let resources = reader.array(|reader| {
            let resource_type = reader.i8()?;
            let name = reader.string()?;
            let changes = reader.array(|reader| {
                let change = ConfigChange {
                    name: reader.string()?,
                    operation: reader.i8()?,
                    value: reader.nullable_string()?,
                };
                reader.end()?;
                Ok(change)
            })?;
            reader.end()?;
            Ok(ChangedConfigs { resource_type, name, changes })
        })?;
        let validate_only = reader.bool()?;
        reader.end()?;
        Ok(Self { resources, validate_only })
    }
}
