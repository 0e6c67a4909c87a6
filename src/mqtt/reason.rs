//! Reason codes of MQTT 5 (MQTT5-2.4) and what MQTT 3.1.1 has in their place. Part of `mqtt`.

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Every reason code of MQTT 5; 0x80 and above are failures.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $value,)*
        }

        impl ReasonCode {
            /// All codes, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code with this value, if MQTT 5 defines one.
            #[must_use]
            pub const fn from_byte(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name of the specification, for logs and metric labels.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    /// Success; also normal disconnection and granted QoS 0.
    Success = 0x00, "success";
    /// Subscription granted with at most QoS 1.
    GrantedQos1 = 0x01, "granted QoS 1";
    /// Subscription granted with at most QoS 2.
    GrantedQos2 = 0x02, "granted QoS 2";
    /// The client leaves and wants its will published.
    DisconnectWithWill = 0x04, "disconnect with will";
    /// Accepted, but nobody subscribes.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// Nothing to unsubscribe.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// The next step of an authentication exchange.
    ContinueAuthentication = 0x18, "continue authentication";
    /// The client begins a new authentication.
    ReAuthenticate = 0x19, "re-authenticate";
    /// No other code fits, or the reason shall not be told.
    UnspecifiedError = 0x80, "unspecified error";
    /// Bytes that cannot be parsed.
    MalformedPacket = 0x81, "malformed packet";
    /// A packet that is not allowed there or then.
    ProtocolError = 0x82, "protocol error";
    /// Valid, but not accepted by this server.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// A protocol level that is not spoken here.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// A client identifier that is not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// Authentication failed.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// Not permitted to this user.
    NotAuthorized = 0x87, "not authorized";
    /// The server cannot serve now.
    ServerUnavailable = 0x88, "server unavailable";
    /// The server has too much to do; later, please.
    ServerBusy = 0x89, "server busy";
    /// This client is shut out by an administrator.
    Banned = 0x8A, "banned";
    /// The server is stopping.
    ServerShuttingDown = 0x8B, "server shutting down";
    /// An authentication method that is not offered, or another than before.
    BadAuthenticationMethod = 0x8C, "bad authentication method";
    /// Nothing was heard for one and a half keep-alive periods.
    KeepAliveTimeout = 0x8D, "keep alive timeout";
    /// Another connection uses the same client identifier.
    SessionTakenOver = 0x8E, "session taken over";
    /// A topic filter that is not accepted.
    TopicFilterInvalid = 0x8F, "topic filter invalid";
    /// A topic name that is not accepted.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// The packet identifier is in use already.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// More unacknowledged messages than were allowed.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// A topic alias of 0 or above the maximum.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// A packet longer than was allowed.
    PacketTooLarge = 0x95, "packet too large";
    /// Messages come too fast.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// A limit of the server or of the user is reached.
    QuotaExceeded = 0x97, "quota exceeded";
    /// Closed by an administrator.
    AdministrativeAction = 0x98, "administrative action";
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// Retained messages are not offered.
    RetainNotSupported = 0x9A, "retain not supported";
    /// This QoS is not offered.
    QosNotSupported = 0x9B, "QoS not supported";
    /// Another server for the time being.
    UseAnotherServer = 0x9C, "use another server";
    /// Another server from now on.
    ServerMoved = 0x9D, "server moved";
    /// Shared subscriptions are not offered.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    /// Connected for as long as is allowed.
    MaximumConnectTime = 0xA0, "maximum connect time";
    /// Subscription identifiers are not offered.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
    /// Wildcards in subscriptions are not offered.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// The value on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// Whether the code says that something failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.byte() >= 0x80
    }

    /// The CONNACK return code of MQTT 3.1.1 (MQTT-3.2.2.3) nearest to this code. `None`: there is none, and
    /// the connection is closed without a CONNACK.
    #[must_use]
    pub const fn connect_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => Some(4),
            Self::NotAuthorized | Self::Banned => Some(5),
            _ => None,
        }
    }

    /// The SUBACK return code of MQTT 3.1.1 (MQTT-3.9.3): the granted QoS, or 0x80 for every failure.
    #[must_use]
    pub const fn subscribe_return_code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::GrantedQos1 => 1,
            Self::GrantedQos2 => 2,
            _ => 0x80,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReasonCode;

    #[test]
    fn every_code_survives_its_byte() {
        for &code in ReasonCode::ALL {
            assert_eq!(ReasonCode::from_byte(code.byte()), Some(code));
        }
        assert_eq!((0..=255).filter_map(ReasonCode::from_byte).count(), ReasonCode::ALL.len());
    }

    #[test]
    fn failures_never_look_like_success_to_older_clients() {
        for &code in ReasonCode::ALL {
            if code.is_failure() {
                assert_ne!(code.connect_return_code(), Some(0), "{code:?}");
                assert_eq!(code.subscribe_return_code(), 0x80, "{code:?}");
            }
        }
    }
}
