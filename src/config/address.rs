//! Where a listener binds. Part of `config`; also the type of the command line's `ADDR`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `host:port`, `:port` for `127.0.0.1:port`, `[::1]:port`, or `off`. Port 0 lets the system choose; the
/// start-up line tells which it chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// This listener is not opened.
    Off,
    /// Bound to this host (a name, an IPv4 or an IPv6 address, without brackets) and port.
    At {
        /// Name or address.
        host: String,
        /// TCP port; 0 is any free one.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address: expected `host:port`, `:port`, `[IPv6]:port` or `off`")]
pub struct AddressError {
    text: String,
}

impl ListenAddress {
    /// `127.0.0.1` and `port`.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self::At { host: "127.0.0.1".to_owned(), port }
    }

    /// Whether only this machine can reach it: a loopback address, or the name `localhost`. Other names count
    /// as reachable from outside, whatever they resolve to today. [`Self::Off`] is reached by nobody.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Off => true,
            Self::At { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// The socket addresses to bind, in order of preference; `None` when off. May ask the resolver, so blocking.
    ///
    /// # Errors
    /// The name does not resolve.
    pub fn resolve(&self) -> io::Result<Option<Vec<SocketAddr>>> {
        match self {
            Self::Off => Ok(None),
            Self::At { host, port } => {
                (host.as_str(), *port).to_socket_addrs().map(|found| Some(found.collect()))
            }
        }
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = || AddressError { text: text.to_owned() };
        if text == "off" {
            return Ok(Self::Off);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = port.parse().map_err(|_| refuse())?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(inside) if inside.parse::<std::net::Ipv6Addr>().is_ok() => inside,
            Some(_) => return Err(refuse()),
            None if host.is_empty() => return Ok(Self::loopback(port)),
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bracketed.is_none() && !host.chars().all(plain) {
            return Err(refuse());
        }
        Ok(Self::At { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::At { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ListenAddress;

    fn parse(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_parses_and_prints_itself() {
        assert_eq!(parse("off"), ListenAddress::Off);
        assert_eq!(parse(":1883"), ListenAddress::loopback(1883));
        for text in ["0.0.0.0:0", "[::1]:8883", "broker.example:1", "localhost:65535", "off"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "1883", "host:", "host:65536", "::1:1883", "[x]:1", "a b:1", "[::1]", "[]:1"]
        {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_loopback_addresses_and_localhost_count_as_loopback() {
        for text in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "off"] {
            assert!(parse(text).is_loopback(), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "broker:1"] {
            assert!(!parse(text).is_loopback(), "{text}");
        }
    }
}
