//! DescribeConfigs (32), versions 1–4: the settings of logs and of the broker. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | `[` resource type `i8`, resource name `s`, names `?[s]` (null for all), tags `]` | 1– |
//! | include synonyms `bool` | 1– |
//! | include documentation `bool` | 3– |
//! | tags | 4– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 1– |
//! | `[` error `i16`, error message `?s`, resource type `i8`, resource name `s`, settings, tags `]` | 1– |
//! | settings `[` name `s`, value `?s`, read only `bool`, source `i8`, sensitive `bool`, synonyms, type `i8` (3–), documentation `?s` (3–), tags `]` | 1– |
//! | synonyms `[` name `s`, value `?s`, source `i8`, tags `]` | 1– |
//! | tags | 4– |

use std::collections::HashSet;

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// The resource is a log.
pub const RESOURCE_TOPIC: i8 = 2;
/// The resource is a broker, named by its number; the empty name stands for all brokers' defaults.
pub const RESOURCE_BROKER: i8 = 4;
/// The resource is a broker's levels of logging.
pub const RESOURCE_BROKER_LOGGER: i8 = 8;

/// A value that the broker's configuration sets (`STATIC_BROKER_CONFIG`).
pub const SOURCE_BROKER: i8 = 4;

/// Whose settings, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeConfigsRequest<'a> {
    /// One by one, each once.
    pub resources: Vec<Resource<'a>>,
    /// Whether to list where else a value could come from.
    pub include_synonyms: bool,
    /// Whether to explain each setting.
    pub include_documentation: bool,
}

/// Which settings of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// [`RESOURCE_TOPIC`], [`RESOURCE_BROKER`], or another.
    pub resource_type: i8,
    /// The log's name, or the broker's number.
    pub name: &'a str,
    /// `None` for all.
    pub keys: Option<Vec<&'a str>>,
}

impl<'a> DescribeConfigsRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let mut resources = reader.array(|reader| {
            let resource = Resource {
                resource_type: reader.i8()?,
                name: reader.string()?,
                keys: reader.nullable_array(Reader::string)?,
            };
            reader.end()?;
            Ok(resource)
        })?;
        let mut seen = HashSet::with_capacity(resources.len());
        resources.retain(|resource| seen.insert((resource.resource_type, resource.name)));
        let include_synonyms = reader.bool()?;
        let include_documentation = if version >= 3 { reader.bool()? } else { false };
        reader.end()?;
        Ok(Self { resources, include_synonyms, include_documentation })
    }
}

/// What a value looks like, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
#[expect(missing_docs, reason = "the names are Kafka's and say what they mean")]
pub enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Its name.
    pub name: String,
    /// Its value; `None` if there is none, or if it is secret.
    pub value: Option<String>,
    /// Whether clients cannot change it.
    pub read_only: bool,
    /// Where the value comes from: `SOURCE_TOPIC` or `SOURCE_DEFAULT` of `create_topics`, or [`SOURCE_BROKER`].
    pub source: i8,
    /// Whether it is secret.
    pub sensitive: bool,
    /// Where else the value could come from, the one in force first; empty if the client did not ask.
    pub synonyms: Vec<Synonym>,
    /// What the value looks like.
    pub config_type: ConfigType,
    /// What it does, if the client asked.
    pub documentation: Option<String>,
}

/// A place that a value can come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The name that the setting has there.
    pub name: String,
    /// The value there.
    pub value: Option<String>,
    /// The place, as in [`DescribedConfig::source`].
    pub source: i8,
}

/// The settings of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedResource {
    /// 0, or why they are not told.
    pub error_code: i16,
    /// The reason in words.
    pub error_message: Option<String>,
    /// As asked.
    pub resource_type: i8,
    /// As asked.
    pub name: String,
    /// The settings; none with an error.
    pub configs: Vec<DescribedConfig>,
}

/// Writes the body at `version`.
pub fn encode_response(writer: &mut Writer, version: i16, resources: &[DescribedResource]) {
    writer.i32(0);
    writer.array(resources, |writer, resource| {
        writer.i16(resource.error_code);
        writer.nullable_string(resource.error_message.as_deref());
        writer.i8(resource.resource_type);
        writer.string(&resource.name);
        writer.array(&resource.configs, |writer, config| encode_config(writer, version, config));
        writer.end();
    });
    writer.end();
}

fn encode_config(writer: &mut Writer, version: i16, config: &DescribedConfig) {
    writer.string(&config.name);
    writer.nullable_string(config.value.as_deref());
    writer.bool(config.read_only);
    writer.i8(config.source);
    writer.bool(config.sensitive);
    writer.array(&config.synonyms, |writer, synonym| {
        writer.string(&synonym.name);
        writer.nullable_string(synonym.value.as_deref());
        writer.i8(synonym.source);
        writer.end();
    });
    if version >= 3 {
        writer.i8(config.config_type as i8);
        writer.nullable_string(config.documentation.as_deref());
    }
    writer.end();
}
