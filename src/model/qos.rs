//! Delivery promises of MQTT, which are the broker's own. Part of `model`.

/// Quality of service, [MQTT-4.3].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Delivered at most once; nothing is acknowledged or stored.
    #[default]
    AtMostOnce = 0,
    /// Delivered at least once.
    AtLeastOnce = 1,
    /// Delivered exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The promise with wire value `bits`, or `None` for 3 and above [MQTT-3.3.1-4].
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}
