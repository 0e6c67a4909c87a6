//! Why the topology is not as asked. Part of `broker::exchanges`.
//!
//! The texts are RabbitMQ's, without the code's name in front: clients and their tests look for parts of them.

use crate::store::journal::SubmitError;

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entity {
    /// A declared queue.
    Queue,
    /// An exchange.
    Exchange,
}

impl Entity {
    /// The word that texts use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Exchange => "exchange",
        }
    }
}

/// Why a declaration, deletion, binding or look-up was refused. Nothing changed, except where noted.
///
/// The protocol's code follows from the variant (`amqp.md` §1.3): `NotFound` 404, `Locked` 405, `AccessRefused`
/// 403, `UnknownType` 503, `NoVhost` 530, `Journal` 541, the others 406.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// There is no queue or exchange of this name.
    #[error("no {} '{name}' in vhost '{vhost}'", .what.word())]
    NotFound {
        /// What is missing.
        what: Entity,
        /// Its name.
        name: String,
        /// Where.
        vhost: String,
    },
    /// The queue belongs to another connection, or it is not exclusive and was declared again as such.
    #[error(
        "cannot obtain exclusive access to locked queue '{name}' in vhost '{vhost}'. It could be originally \
         declared on another connection or the exclusive property value does not match that of the original \
         declaration."
    )]
    Locked {
        /// Name of the queue.
        name: String,
        /// Where.
        vhost: String,
    },
    /// It exists with another property.
    #[error(
        "inequivalent arg '{field}' for {} '{name}' in vhost '{vhost}': received {received} but current is {current}",
        .what.word()
    )]
    Inequivalent {
        /// What was declared again.
        what: Entity,
        /// Its name.
        name: String,
        /// Where.
        vhost: String,
        /// The property or argument.
        field: String,
        /// As declared now, in quotes, or `none`.
        received: String,
        /// As it is.
        current: String,
    },
    /// The access rules or the name say no; the whole sentence.
    #[error("{0}")]
    AccessRefused(String),
    /// The default exchange cannot be declared, deleted, bound or unbound.
    #[error("operation not permitted on the default exchange")]
    DefaultExchange,
    /// `if-unused`, and it has consumers or bindings.
    #[error("{} '{name}' in vhost '{vhost}' in use", .what.word())]
    InUse {
        /// What.
        what: Entity,
        /// Its name.
        name: String,
        /// Where.
        vhost: String,
    },
    /// `if-empty`, and messages are ready.
    #[error("queue '{name}' in vhost '{vhost}' not empty")]
    NotEmpty {
        /// Name of the queue.
        name: String,
        /// Where.
        vhost: String,
    },
    /// No such type of exchange.
    #[error("unknown exchange type '{0}'")]
    UnknownType(String),
    /// An argument of a declaration or binding cannot be accepted; the whole sentence.
    #[error("{0}")]
    BadArgument(String),
    /// A limit of the configuration is reached; the whole sentence.
    #[error("{0}")]
    Limit(String),
    /// No such vhost.
    #[error("vhost {0} not found")]
    NoVhost(String),
    /// The journal takes nothing at the moment. Where one request makes several records (a deletion that takes
    /// auto-delete exchanges with it), earlier ones may stand.
    #[error(transparent)]
    Journal(#[from] SubmitError),
}

impl TopologyError {
    /// There is no queue `name`.
    #[must_use]
    pub fn no_queue(vhost: &str, name: &str) -> Self {
        Self::NotFound { what: Entity::Queue, name: name.to_owned(), vhost: vhost.to_owned() }
    }

    /// There is no exchange `name`.
    #[must_use]
    pub fn no_exchange(vhost: &str, name: &str) -> Self {
        Self::NotFound { what: Entity::Exchange, name: name.to_owned(), vhost: vhost.to_owned() }
    }
}
