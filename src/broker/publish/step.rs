//! Publishing what a route brings out of a log: delivery and the route's position in one record. Part of
//! `broker::publish`; `broker::carry` is who publishes so, and says why.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::ids::{LogId, Lsn};
use crate::model::qos::QoS;
use crate::store::journal::SubmitError;

use super::super::consumer::Waiter;
use super::super::exchanges::hits::RouteError;
use super::super::message::{Form, Message};
use super::super::record::{Condition, Record};
use super::super::sessions::registry::NOBODY;
use super::super::{Broker, BrokerError};
use super::exchange::ExchangePublication;
use super::{Published, Publisher};

/// A move of a group along one partition.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The group.
    pub group: &'a str,
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: u32,
    /// Where the group stands when all that was submitted before is applied; −1 for nowhere.
    pub expected: i64,
    /// Where it stands afterwards.
    pub next: i64,
}

impl<'a> Step<'a> {
    fn condition(&self) -> Condition<'a> {
        let Self { group, log, partition, expected, next } = *self;
        Condition::Position { group, log, partition, expected, next }
    }
}

/// A message that a record of a log becomes.
#[derive(Clone, Copy, Debug)]
pub struct Stepping<'a> {
    /// Topic, or exchange and routing key; the properties are of that world.
    pub address: Address<'a>,
    /// Property block.
    pub properties: &'a [u8],
    /// Application data.
    pub payload: &'a [u8],
    /// The promise; with an exchange everything above 0 is delivery mode 2.
    pub qos: QoS,
    /// Becomes the topic's retained message.
    pub retain: bool,
    /// When it stops being worth delivering.
    pub expires_ms: Option<u64>,
}

/// Where it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// In the topic tree.
    Topic(&'a str),
    /// To an exchange.
    Exchange {
        /// Its name.
        name: &'a str,
        /// Routing key.
        key: &'a str,
    },
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// One record delivers and moves the group.
    Recorded,
    /// Nothing durable hung on it; the group was not moved.
    Direct,
}

/// Why a message was not published, which may be otherwise another time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The exchange is not there, or not for publishers.
    #[error("the exchange: {0}")]
    Exchange(#[from] RouteError),
    /// The topic has more levels than the configuration allows.
    #[error("the topic has too many levels")]
    TooManyLevels,
    /// The journal or a limit.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Publisher {
    /// A publisher for a route of the configuration, called `client_id` in what it publishes. Access rules are not
    /// asked.
    #[must_use]
    pub fn of_route(broker: &Broker, vhost: &Arc<str>, client_id: Arc<str>) -> Self {
        let mut principal = Principal::anonymous();
        principal.vhost = Arc::clone(vhost);
        let counters = LocalCounters::new(Protocol::Kafka);
        let publisher = Self::new(broker, principal, client_id, NOBODY, counters);
        Self { is_route: true, can_be_told: true, ..publisher }
    }
}

impl Broker {
    /// Publishes `message` and, if anything durable hangs on it, takes `step` in the same record; `waiter` is called
    /// then, and told what came of it. With `repeats`, what does not wait for the record has been delivered before.
    ///
    /// # Errors
    /// See [`StepError`]; the message went nowhere then.
    pub fn publish_step(
        &self,
        publisher: &mut Publisher,
        message: &Stepping<'_>,
        step: &Step<'_>,
        repeats: bool,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Stepped, StepError> {
        let client_id = Arc::clone(&publisher.client_id);
        let (topic, form) = match message.address {
            Address::Topic(topic) => (topic, Form::Topic),
            Address::Exchange { name, key } => (key, Form::Exchange(name)),
        };
        let accepted = Message {
            time_ms: now_ms,
            expires_ms: message.expires_ms,
            topic,
            properties: message.properties,
            client_id: &client_id,
            username: "",
            payload: message.payload,
            qos: message.qos,
            retain: message.retain,
            will: false,
            form,
        };
        let route = match message.address {
            Address::Topic(topic) => {
                let route = publisher.route(self, topic);
                publisher.route_of(self, &accepted, route)
            }
            Address::Exchange { name, key } => {
                let publication = ExchangePublication {
                    exchange: name,
                    keys: &[key],
                    properties: message.properties,
                    payload: message.payload,
                    persistent: message.qos > QoS::AtMostOnce,
                    expires_in_ms: None,
                };
                publisher.exchange_route(self, &publication)?
            }
        };
        if !route.allowed {
            return Err(StepError::TooManyLevels);
        }
        let is_durable = route.durable && message.qos > QoS::AtMostOnce;
        let is_recorded = is_durable || message.retain || !route.reach.logs.is_empty();
        if repeats && !is_recorded {
            return Ok(Stepped::Direct);
        }
        let condition = if is_recorded { step.condition() } else { Condition::None };
        publisher.repeats = repeats;
        let published =
            self.publish_message(publisher, &route, accepted, condition, waiter, now_ms);
        publisher.repeats = false;
        Ok(match published? {
            Published::Waiting { .. } => Stepped::Recorded,
            Published::Done { .. } | Published::Refused => Stepped::Direct,
        })
    }

    /// Takes `step` without a message; returns its record's place. Without a waiter it may take the journal milliseconds to begin.
    ///
    /// # Errors
    /// The journal's refusal.
    pub fn step_on(
        &self,
        vhost: &str,
        step: &Step<'_>,
        waiter: Option<Waiter>,
        now_ms: u64,
    ) -> Result<Lsn, SubmitError> {
        let nothing = Message {
            time_ms: now_ms,
            expires_ms: None,
            topic: "",
            properties: &[],
            client_id: "",
            username: "",
            payload: &[],
            qos: QoS::AtMostOnce,
            retain: false,
            will: false,
            form: Form::Topic,
        };
        let record = Record::Publish {
            vhost,
            condition: step.condition(),
            set: None,
            members: Vec::new(),
            retained: false,
            appends: Vec::new(),
            message: &[],
        };
        let fill = &mut |_, out: &mut Vec<u8>| {
            record.encode(out);
            nothing.encode(out);
        };
        match waiter {
            Some(waiter) => self.journal.submit_with(Some(waiter), fill),
            None => self.journal.submit_in_time(fill),
        }
    }
}
