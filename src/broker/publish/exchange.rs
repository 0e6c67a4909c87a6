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
use super::resolve::Reach;
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
    /// A limit of the configuration is reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
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
            BrokerError::Limit(which) => Self::Limit(which),
            BrokerError::NotAuthorized | BrokerError::TooManyLevels | BrokerError::TakenOver => {
                Self::NotAuthorized
            }
        }
    }
}

impl Publisher {
    pub(super) fn exchange_route(
        &mut self,
        broker: &Broker,
        publication: &ExchangePublication<'_>,
    ) -> Result<Arc<CachedRoute>, RouteError> {
        let exchange = publication.exchange;
        let [key] = publication.keys else {
            return self.resolve_exchange(broker, publication).map(|route| Arc::new(route.once()));
        };
        if let Some(known) = self.routes.get(Some(exchange), key, &self.router, &self.exchanges) {
            return Ok(known);
        }
        let route = self.resolve_exchange(broker, publication)?;
        if !route.may_be_kept() {
            return Ok(Arc::new(route.once()));
        }
        let route = Arc::new(route);
        self.routes.put(&route);
        Ok(route)
    }

    fn resolve_exchange(
        &self,
        broker: &Broker,
        publication: &ExchangePublication<'_>,
    ) -> Result<CachedRoute, RouteError> {
        let generation = self.exchanges.generation();
        let exchange = publication.exchange;
        let address = publication.keys.first().copied().unwrap_or_default();
        // Who may not publish there does not learn whether it is there.
        if !self.may_publish_to(broker, exchange) {
            let nowhere = Reach::default();
            return Ok(CachedRoute::new(Some(exchange), address, generation, false, nowhere));
        }
        let headers = Properties::stored(publication.properties).headers();
        let reach = self.resolver(headers).exchange(exchange, publication.keys)?;
        let allowed = reach.tied_topics.iter().all(|topic| self.may_publish(broker, topic));
        Ok(CachedRoute::new(Some(exchange), address, generation, allowed, reach))
    }

    fn may_publish_to(&self, broker: &Broker, exchange: &str) -> bool {
        let by_rules =
            || broker.check_access(&self.principal, Action::Publish, Entity::Exchange, exchange);
        self.is_route || by_rules().is_ok()
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
        let message = Message {
            time_ms: now_ms,
            expires_ms: publication.expires_in_ms.map(|life_ms| now_ms.saturating_add(life_ms)),
            topic: publication.keys.first().copied().unwrap_or_default(),
            properties: publication.properties,
            client_id: "",
            username: principal.login(),
            payload: publication.payload,
            qos: if publication.persistent { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            retain: false,
            will: false,
            form: Form::Exchange(publication.exchange),
        };
        if publication.exchange.is_empty() && Replies::is_reply_key(message.topic) {
            return self.reply(publisher, &message, now_ms);
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

    /// Hands an answer to the channel that waits for it.
    fn reply(
        &self,
        publisher: &mut Publisher,
        message: &Message<'_>,
        now_ms: u64,
    ) -> Result<Published, PublishError> {
        if !publisher.may_publish_to(self, "") {
            publisher.counters.drop_messages(DropReason::Acl, 1);
            return Err(PublishError::NotAuthorized);
        }
        let asker = self.replies.get(message.topic);
        let matched = asker.is_some_and(|asker| asker.reply(message, now_ms));
        if matched {
            publisher.counters.delivered[message.qos as usize] += 1;
        } else {
            publisher.counters.drop_messages(DropReason::NoSubscriber, 1);
        }
        Ok(Published::Done { matched })
    }
}
