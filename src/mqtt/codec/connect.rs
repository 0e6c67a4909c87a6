//! CONNECT (MQTT5-3.1, MQTT-3.1): checked strictly here, then modelled by `mqttbytes`. Part of `mqtt::codec`.
//!
//! Two things stay out of `mqttbytes`: the password, which is binary data and not text, and the will's
//! properties, whose order it loses.

use crate::model::qos::QoS;
use crate::model::topic::check_topic_name;
use crate::mqtt::codec::properties::{self, Properties, id};
use crate::mqtt::codec::publish::topic_error;
use crate::mqtt::codec::wire::Reader;
use crate::mqtt::codec::{Version, v4, v5};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;

const USERNAME: u8 = 0b1000_0000;
const PASSWORD: u8 = 0b0100_0000;
const WILL_RETAIN: u8 = 0b0010_0000;
const WILL_QOS: u8 = 0b0001_1000;
const WILL: u8 = 0b0000_0100;
const RESERVED: u8 = 0b0000_0001;
/// Set in the protocol level by the bridges of mosquitto and others.
const BRIDGE: u8 = 0x80;
/// MQTT 3.1's protocol name, with its length before it.
const NAME_31: &[u8] = b"\0\x06MQIsdp";
/// What a bridge of that kind takes unacknowledged, which these versions cannot say: mosquitto's default
/// (`max_inflight_messages`). It gives up the connection, or loses what is beyond, when it gets more of QoS 2.
const BRIDGE_RECEIVE_MAX: u16 = 20;

/// The first packet of a connection. Values that MQTT 3.1.1 does not have are at MQTT 5's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// What is spoken from here on.
    pub version: Version,
    /// The peer is another broker's bridge (protocol level 0x83 or 0x84): it wants retain as published, and not its
    /// own messages back.
    pub bridge: bool,
    /// MQTT 3.1 (`MQIsdp`, protocol level 3), which is served as [`Version::V311`] but for: no session present flag in
    /// CONNACK, an identifier is needed, and flags that 3.1.1 reserved are not looked at.
    pub mqtt31: bool,
    /// Forget an earlier session; MQTT 3.1.1: and this one when the connection ends.
    pub clean_start: bool,
    /// Seconds; 0 means none.
    pub keep_alive_s: u16,
    /// Empty: the server shall assign one.
    pub client_id: String,
    /// What to publish if the connection ends without DISCONNECT.
    pub will: Option<Will>,
    /// Present with the flag, perhaps empty.
    pub username: Option<String>,
    /// Present with the flag, perhaps empty.
    pub password: Option<Vec<u8>>,
    /// Seconds; `None` is 0 for MQTT 5, and with MQTT 3.1.1 not said: clean ends at once, else never.
    pub session_expiry_s: Option<u32>,
    /// How many unacknowledged messages above QoS 0 the client takes; never 0.
    pub receive_max: u16,
    /// The longest packet the client takes; never 0.
    pub packet_bytes_max: Option<u32>,
    /// The highest topic alias the client takes; 0 means none.
    pub topic_alias_max: u16,
    /// Whether Response Information is wanted in CONNACK.
    pub request_response_information: bool,
    /// Whether reason strings and user properties are wanted elsewhere than in PUBLISH, CONNACK, DISCONNECT.
    pub request_problem_information: bool,
    /// In order, with duplicates.
    pub user_properties: Vec<(String, String)>,
    /// Name of the enhanced authentication method (MQTT5-4.12).
    pub auth_method: Option<String>,
    /// Its first data; never without a method.
    pub auth_data: Option<Vec<u8>>,
}

/// The will of a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Valid topic name.
    pub topic: String,
    /// Application data.
    pub payload: Vec<u8>,
    /// Property block of [`crate::model::message`].
    pub properties: Vec<u8>,
    /// Published at this QoS.
    pub qos: QoS,
    /// Published as retained.
    pub retain: bool,
    /// Seconds between the end of the connection and the will.
    pub delay_s: u32,
    /// Message Expiry Interval once published, seconds.
    pub expiry_s: Option<u32>,
}

/// Protocol name and level, which decide how the rest is read and how a refusal looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// A version that is spoken here.
    Spoken {
        /// The version.
        version: Version,
        /// Whether the bridge bit was set.
        bridge: bool,
    },
    /// A version that is not: it understands the refusal in this form [MQTT-3.1.2-2].
    Unspoken(Version),
}

/// Reads protocol name and level from the front of a CONNECT's body.
///
/// # Errors
/// It is not MQTT at all: the connection is closed without an answer [MQTT-3.1.2-1].
pub fn preamble(reader: &mut Reader<'_>) -> Result<Preamble, ProtocolError> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    match (name, level) {
        (b"MQTT", 4) => Ok(Preamble::Spoken { version: Version::V311, bridge: false }),
        (b"MQTT", 5) => Ok(Preamble::Spoken { version: Version::V5, bridge: false }),
        (b"MQTT", level) if level == 4 | BRIDGE => {
            Ok(Preamble::Spoken { version: Version::V311, bridge: true })
        }
        (b"MQIsdp", level) if level & !BRIDGE == 3 => {
            Ok(Preamble::Spoken { version: Version::V311, bridge: level & BRIDGE != 0 })
        }
        (b"MQIsdp", _) => Ok(Preamble::Unspoken(Version::V311)),
        (b"MQTT", level) if level & !BRIDGE < 4 => Ok(Preamble::Unspoken(Version::V311)),
        (b"MQTT", _) => Ok(Preamble::Unspoken(Version::V5)),
        _ => Err(ProtocolError::protocol("protocol name is not MQTT [MQTT-3.1.2-1]")),
    }
}

/// Parses the body of a CONNECT of `version`; `bridge` as [`preamble`] said.
///
/// # Errors
/// The reason for CONNACK: malformed, protocol error, topic name invalid (will topic), client identifier not
/// valid (MQTT 3.1.1: empty without clean session [MQTT-3.1.3-8]; MQTT 3.1: empty).
pub fn decode(version: Version, bridge: bool, body: &[u8]) -> Result<Connect, ProtocolError> {
    let checked = check(version, body)?;
    let mut connect = match version {
        Version::V311 => v4::connect(&checked.trimmed)?,
        Version::V5 => v5::connect(&checked.trimmed)?,
    };
    connect.bridge = bridge;
    connect.mqtt31 = checked.mqtt31;
    if bridge {
        connect.receive_max = BRIDGE_RECEIVE_MAX;
    }
    connect.username = checked.username.map(str::to_owned);
    connect.password = checked.password.map(<[u8]>::to_vec);
    if let Some(will) = &mut connect.will {
        will.properties = checked.will_block;
        will.delay_s = checked.will_delay_s;
        will.expiry_s = checked.will_expiry_s;
    }
    if connect.mqtt31 && connect.client_id.is_empty() {
        return Err(ProtocolError::new(
            ReasonCode::ClientIdentifierNotValid,
            "empty client identifier in MQTT 3.1",
        ));
    }
    if version == Version::V311 && connect.client_id.is_empty() && !connect.clean_start {
        return Err(ProtocolError::new(
            ReasonCode::ClientIdentifierNotValid,
            "empty client identifier without clean session [MQTT-3.1.3-8]",
        ));
    }
    Ok(connect)
}

/// What the check pass finds.
#[derive(Default)]
struct Checked<'a> {
    username: Option<&'a str>,
    password: Option<&'a [u8]>,
    will_block: Vec<u8>,
    will_delay_s: u32,
    will_expiry_s: Option<u32>,
    mqtt31: bool,
    /// The body for `mqttbytes`, which knows the name and level of MQTT 3.1.1 only: no bridge bit, no password.
    trimmed: Vec<u8>,
}

fn check(version: Version, body: &[u8]) -> Result<Checked<'_>, ProtocolError> {
    let mut checked = Checked { mqtt31: body.starts_with(NAME_31), ..Checked::default() };
    let mut reader = Reader::new(body);
    preamble(&mut reader)?;
    let flags = effective_flags(version, checked.mqtt31, reader.u8()?)?;
    let fields = reader.rest();
    reader.u16()?;
    if version == Version::V5 {
        check_properties(Properties::take(&mut reader, properties::CONNECT)?)?;
    }
    reader.string()?;
    if flags & WILL != 0 {
        if version == Version::V5 {
            check_will(Properties::take(&mut reader, properties::WILL)?, &mut checked)?;
        }
        check_topic_name(reader.binary()?).map_err(topic_error)?;
        reader.binary()?;
    }
    // In MQTT 3.1 the flags may promise what the packet's length does not hold.
    let promised =
        |flag, reader: &Reader<'_>| flags & flag != 0 && !(checked.mqtt31 && reader.is_empty());
    if promised(USERNAME, &reader) {
        checked.username = Some(reader.string()?);
    }
    let end = fields.len() - reader.rest().len();
    if promised(PASSWORD, &reader) {
        checked.password = Some(reader.binary()?);
    }
    if !reader.is_empty() {
        return Err(ProtocolError::malformed("bytes after the last field of CONNECT"));
    }
    let mut kept = flags & !PASSWORD;
    if checked.username.is_none() {
        kept &= !USERNAME;
    }
    let level = if version == Version::V5 { 5 } else { 4 };
    checked.trimmed = [b"\0\x04MQTT", [level, kept].as_slice()].concat();
    checked.trimmed.extend_from_slice(fields.get(..end).unwrap_or_default());
    Ok(checked)
}

/// The flags, checked; without those that MQTT 3.1 has no rule for.
fn effective_flags(version: Version, mqtt31: bool, flags: u8) -> Result<u8, ProtocolError> {
    let flags = match (mqtt31, flags & WILL) {
        (true, 0) => flags & !(RESERVED | WILL_QOS | WILL_RETAIN),
        (true, _) => flags & !RESERVED,
        (false, _) => flags,
    };
    check_flags(version, flags)?;
    Ok(flags)
}

fn check_flags(version: Version, flags: u8) -> Result<(), ProtocolError> {
    if flags & RESERVED != 0 {
        return Err(ProtocolError::malformed("reserved connect flag is set [MQTT-3.1.2-3]"));
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(ProtocolError::malformed("will QoS or retain without a will [MQTT-3.1.2-11]"));
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(ProtocolError::malformed("will QoS is 3 [MQTT-3.1.2-12]"));
    }
    // [MQTT-3.1.2-22] of 3.1.1; MQTT 5 allows a password alone.
    if version == Version::V311 && flags & (USERNAME | PASSWORD) == PASSWORD {
        return Err(ProtocolError::malformed("password without a user name [MQTT-3.1.2-22]"));
    }
    Ok(())
}

fn check_properties(mut properties: Properties<'_>) -> Result<(), ProtocolError> {
    let (mut method, mut data) = (false, false);
    while let Some(property) = properties.next_property()? {
        method |= property.id == id::AUTHENTICATION_METHOD;
        data |= property.id == id::AUTHENTICATION_DATA;
    }
    if data && !method {
        return Err(ProtocolError::protocol("authentication data without a method"));
    }
    Ok(())
}

fn check_will(mut will: Properties<'_>, checked: &mut Checked<'_>) -> Result<(), ProtocolError> {
    while let Some(property) = will.next_property()? {
        match property.id {
            id::WILL_DELAY => checked.will_delay_s = property.value.number(),
            id::MESSAGE_EXPIRY => checked.will_expiry_s = Some(property.value.number()),
            _ => checked.will_block.extend_from_slice(will.raw(&property)),
        }
    }
    Ok(())
}

/// A CONNECT with all that its properties and payload may say at the defaults.
pub(super) const fn blank(version: Version, clean_start: bool, keep_alive_s: u16) -> Connect {
    Connect {
        version,
        bridge: false,
        mqtt31: false,
        clean_start,
        keep_alive_s,
        client_id: String::new(),
        will: None,
        username: None,
        password: None,
        session_expiry_s: None,
        receive_max: u16::MAX,
        packet_bytes_max: None,
        topic_alias_max: 0,
        request_response_information: false,
        request_problem_information: true,
        user_properties: Vec::new(),
        auth_method: None,
        auth_data: None,
    }
}
