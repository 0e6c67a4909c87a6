//! One record out of a log: addressed, converted, published. Part of `broker::carry`.

use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::consumer::Waiter;
use crate::broker::logs::batch::records::Record;
use crate::broker::logs::released::{Whence, release};
use crate::broker::publish::Publisher;
use crate::broker::publish::step::{Address, Step, StepError, Stepped, Stepping};
use crate::metrics::label::RouteFailure;
use crate::model::crossing::{TopicMetadata, topic_to_content};
use crate::model::qos::QoS;

use super::{OutRoute, Outgoing, Outlet, group_of, mark};

/// Most bytes of properties that a message gets from its record's headers: an MQTT client's packets are not larger
/// by default.
const PROPERTIES_BYTES_MAX: usize = 256 << 10;

/// A route and what it works with, for all its partitions.
pub(super) struct Carriage {
    pub(super) broker: Arc<Broker>,
    pub(super) route: Arc<dyn OutRoute>,
    pub(super) vhost: Arc<str>,
    pub(super) group: Arc<str>,
    pub(super) publisher: Publisher,
    /// What the route leaves on what it carries, so that it knows it again.
    mark: Box<str>,
    address: Vec<u8>,
    properties: Vec<u8>,
    content: Vec<u8>,
}

/// What came of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// On its way, with a step of the group.
    Recorded,
    /// Delivered; the group was not moved.
    Direct,
    /// Counted and left behind; the group was not moved.
    Left,
}

impl Carriage {
    pub(super) fn new(
        broker: Arc<Broker>,
        route: Arc<dyn OutRoute>,
        vhost: Arc<str>,
        origin: &str,
    ) -> Self {
        let group: Arc<str> = group_of(route.name()).into();
        let publisher = Publisher::of_route(&broker, &vhost, Arc::clone(&group));
        let mark = mark(origin, route.name()).into();
        let (address, properties, content) = (Vec::new(), Vec::new(), Vec::new());
        Self { broker, route, vhost, group, publisher, mark, address, properties, content }
    }

    /// Carries `record` of partition `step.partition`. With `repeats`, it was carried before and taken back.
    ///
    /// # Errors
    /// It could not be published; another time it may be.
    pub(super) fn carry(
        &mut self,
        record: &Record<'_>,
        step: &Step<'_>,
        repeats: bool,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Fate, StepError> {
        let route = Arc::clone(&self.route);
        match self.publish(&*route, record, step, repeats, waiter, now_ms) {
            Ok(Ok(stepped)) => {
                if !repeats {
                    route.carried(1);
                }
                Ok(if stepped == Stepped::Recorded { Fate::Recorded } else { Fate::Direct })
            }
            Ok(Err(why)) => {
                if !repeats {
                    self.leave(why, step.partition, record.offset, now_ms);
                }
                Ok(Fate::Left)
            }
            Err(error) => Err(error),
        }
    }

    /// Counts what is left behind at `offset`.
    pub(super) fn leave(&self, why: RouteFailure, partition: u32, offset: i64, now_ms: u64) {
        self.leave_many(why, 1, partition, offset, now_ms);
    }

    /// Counts `records` left behind, the first of them at `offset`.
    pub(super) fn leave_many(
        &self,
        why: RouteFailure,
        records: u64,
        partition: u32,
        offset: i64,
        now_ms: u64,
    ) {
        self.route.failed(why, records);
        if self.broker.logs.may_complain(now_ms) {
            let (route, log) = (self.route.name(), self.route.log());
            tracing::warn!(
                route,
                log,
                partition,
                offset,
                records,
                ?why,
                "a route left records behind"
            );
        }
    }

    fn publish(
        &mut self,
        route: &dyn OutRoute,
        record: &Record<'_>,
        step: &Step<'_>,
        repeats: bool,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Result<Stepped, RouteFailure>, StepError> {
        let whence = Whence { log: route.log(), partition: step.partition, mark: &self.mark };
        self.properties.clear();
        let released = release(&whence, record, PROPERTIES_BYTES_MAX, &mut self.properties);
        let Ok(released) = released else { return Ok(Err(RouteFailure::Circle)) };
        if released.expires_ms.is_some_and(|at| at <= now_ms) {
            return Ok(Err(RouteFailure::Expired));
        }
        self.address.clear();
        let outgoing = Outgoing { log: route.log(), partition: step.partition, record };
        if let Err(why) = route.address(&outgoing, &mut self.address) {
            return Ok(Err(why));
        }
        let Ok(address) = std::str::from_utf8(&self.address) else {
            return Ok(Err(RouteFailure::NotText));
        };
        let (address, properties, qos, retain) = match route.outlet() {
            Outlet::Tree { qos, retain } => {
                (Address::Topic(address), &*self.properties, qos, retain)
            }
            Outlet::Exchange { name, persistent } => {
                let qos = if persistent { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                let metadata = TopicMetadata {
                    properties: &self.properties,
                    qos,
                    retain: released.retain,
                    will: false,
                    expires_in_ms: released.expires_ms.map(|at| at.saturating_sub(now_ms)),
                    client_id: None,
                    login: None,
                };
                self.content.clear();
                topic_to_content(&metadata, PROPERTIES_BYTES_MAX, &mut self.content);
                (Address::Exchange { name, key: address }, &*self.content, qos, false)
            }
        };
        let message = Stepping {
            address,
            properties,
            payload: released.payload,
            qos,
            retain,
            expires_ms: released.expires_ms,
        };
        let publisher = &mut self.publisher;
        let published =
            self.broker.publish_step(publisher, &message, step, repeats, waiter, now_ms);
        match published {
            Ok(stepped) => Ok(Ok(stepped)),
            Err(StepError::TooManyLevels) => Ok(Err(RouteFailure::Unmapped)),
            Err(error) => Err(error),
        }
    }
}
