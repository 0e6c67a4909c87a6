//! Publishing to an exchange. Part of `broker::publish`.

use std::sync::Arc;

use crate::auth::acl::Action;
use crate::metrics::DropReason;
use crate::model::content::Properties;
use crate::model::qos::QoS;
use crate::store::journal::SubmitError;

use super::super::Broker;
use super::super::consumer::Waiter;
use super::super::exchanges::error::Entity;
use super::super::exchanges::hits::RouteError;
use super::super::message::{Form, Message};
use super::super::record::Condition;
use super::super::replies::Replies;
use super::route::CachedRoute;
use super::{Published, Publisher};
use crate::broker::BrokerError;

/// A message for an exchange, borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub struct ExchangePublication<'a> {
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Routing key, then those of `CC` and `BCC`; never empty.
    pub keys: &'a [&'a str],
    /// Property block (`model::content`), without what no receiver may see.
    pub properties: &'a [u8],
    /// Application data.
    pub payload: &'a [u8],
    /// Delivery mode 2.
    pub persistent: bool,
    /// Life from now on, ms.
    pub expires_in_ms: Option<u64>,
}

/// Why a message went nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no such exchange.
    #[error("no such exchange")]
    NoExchange,
    /// The exchange is not for publishers.
    #[error("the exchange is internal")]
    Internal,
    /// The access rules say no.
    #[error("not authorised")]
    NotAuthorized,
    /// The journal takes nothing at the moment.
    #[error(transparent)]
    Journal(#[from] SubmitError),
}

impl From<RouteError> for PublishError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NoExchange => Self::NoExchange,
            RouteError::Internal => Self::Internal,
        }
    }
}

impl From<BrokerError> for PublishError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Journal(error) => Self::Journal(error),
            BrokerError::NotAuthorized | BrokerError::Limit(_) | BrokerError::TakenOver => {
                Self::NotAuthorized
            }
        }
    }
}

impl Publisher {
    fn exchange_route(
        &mut self,
        broker: &Broker,
        publication: &ExchangePublication<'_>,
    ) -> Result<Arc<CachedRoute>, RouteError> {
        let exchange = publication.exchange;
        let [key] = publication.keys else {
            return self.resolve_exchange(broker, publication).map(Arc::new);
        };
        if let Some(known) = self.routes.get(Some(exchange), key, &self.router, &self.exchanges) {
            return Ok(known);
        }
        let route = Arc::new(self.resolve_exchange(broker, publication)?);
        // A queue's name that leads nowhere may lead somewhere without a new generation.
        let nowhere = exchange.is_empty() && route.reach.queues.is_empty();
        if !route.reach.by_headers && !nowhere {
            self.routes.put(&route);
        }
        Ok(route)
    }

    fn resolve_exchange(
        &self,
        broker: &Broker,
        publication: &ExchangePublication<'_>,
    ) -> Result<CachedRoute, RouteError> {
        let generation = self.exchanges.generation();
        let headers = Properties::stored(publication.properties).headers();
        let exchange = publication.exchange;
        let reach = self.resolver().exchange(exchange, publication.keys, headers)?;
        let who = &self.principal;
        let allowed = broker.check_access(who, Action::Publish, Entity::Exchange, exchange).is_ok()
            && reach.tied_topic.as_ref().is_none_or(|topic| self.may_publish(broker, topic));
        let address = publication.keys.first().copied().unwrap_or_default();
        Ok(CachedRoute::new(Some(exchange), address, generation, allowed, reach))
    }
}

impl Broker {
    /// Publishes to an exchange. `waiter` is called when something durable hangs on the message, and told when it is.
    ///
    /// # Errors
    /// See [`PublishError`]; the message went nowhere then.
    pub fn publish_to_exchange(
        &self,
        publisher: &mut Publisher,
        publication: &ExchangePublication<'_>,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Published, PublishError> {
        let principal = publisher.principal.clone();
        let username = if principal.anonymous { "" } else { &*principal.name };
        let message = Message {
            time_ms: now_ms,
            expires_ms: publication.expires_in_ms.map(|life_ms| now_ms.saturating_add(life_ms)),
            topic: publication.keys.first().copied().unwrap_or_default(),
            properties: publication.properties,
            client_id: "",
            username,
            payload: publication.payload,
            qos: if publication.persistent { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            retain: false,
            will: false,
            form: Form::Exchange(publication.exchange),
        };
        if publication.exchange.is_empty() && Replies::is_reply_key(message.topic) {
            let asker = self.replies.get(message.topic);
            let matched = asker.is_some_and(|asker| asker.reply(&message, now_ms));
            return Ok(Published::Done { matched });
        }
        let route = publisher.exchange_route(self, publication)?;
        if !route.allowed {
            publisher.counters.drop_messages(DropReason::Acl, 1);
            return Err(PublishError::NotAuthorized);
        }
        let published =
            self.publish_message(publisher, &route, message, Condition::None, waiter, now_ms)?;
        Ok(published)
    }
}
