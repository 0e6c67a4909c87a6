//! What the broker says of itself (`$SYS`): retained in memory alone, delivered to who listens. Part of
//! `broker::publish`.
//!
//! Nothing of it goes through the journal, and a restart knows nothing of it. Whoever subscribes gets the newest value
//! as with any retained topic: the topic's slot is held from putting the value there to the last delivery.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::metrics::{DropReason, LocalCounters, Protocol};
use crate::model::qos::QoS;

use super::super::Broker;
use super::super::message::{Form, Message};
use super::super::queues::entry::Stored;
use super::super::record::{Condition, Record};
use super::super::sessions::registry::NOBODY;
use super::{Publisher, borrow};

impl Publisher {
    /// A publisher for the broker itself, in `vhost`. Access rules are not asked.
    #[must_use]
    pub fn of_broker(broker: &Broker, vhost: &Arc<str>) -> Self {
        let mut principal = Principal::anonymous();
        principal.vhost = Arc::clone(vhost);
        let counters = LocalCounters::new(Protocol::Mqtt);
        let publisher = Self::new(broker, principal, Arc::from(""), NOBODY, counters);
        Self { is_route: true, ..publisher }
    }
}

impl Broker {
    /// Makes `payload` the newest value of `topic` and delivers it at QoS 0 to who subscribed. Without a subscriber
    /// it is only kept.
    pub fn announce(&self, publisher: &mut Publisher, topic: &str, payload: &[u8], now_ms: u64) {
        let message = Message {
            time_ms: now_ms,
            expires_ms: None,
            topic,
            properties: &[],
            client_id: "",
            username: "",
            payload,
            qos: QoS::AtMostOnce,
            retain: true,
            will: false,
            form: Form::Topic,
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let slot = self.retained.slot(&publisher.principal.vhost, topic);
        let mut contents = slot.hold();
        self.retained.announce(&mut contents, Stored::new(bytes.into()));
        // Read after the value is there: who comes later finds it by replay.
        let route = publisher.route(self, topic);
        if route.reach.is_unroutable() {
            return;
        }
        self.deliver_direct(publisher, &route.reach, message, None, None, now_ms);
        if !route.reach.logs.is_empty() {
            self.log_announcement(publisher, &route, &message);
        }
    }

    /// A route of the configuration takes it into a log; lost while the disk refuses.
    fn log_announcement(
        &self,
        publisher: &mut Publisher,
        route: &super::route::CachedRoute,
        message: &Message<'_>,
    ) {
        let vhost = Arc::clone(&publisher.principal.vhost);
        let Ok(appends) = self.routed_appends(publisher, &route.reach.logs, message) else {
            return;
        };
        if appends.is_empty() {
            return;
        }
        let record = Record::Publish {
            vhost: &vhost,
            condition: Condition::None,
            set: None,
            members: Vec::new(),
            retained: false,
            appends: borrow(&appends),
            message: &[],
        };
        let submitted = self.journal.submit_in_time(&mut |_, out| {
            record.encode(out);
            message.encode(out);
        });
        if submitted.is_err() {
            publisher.counters.drop_messages(DropReason::Journal, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::broker::publish::Publisher;
    use crate::broker::record::Condition;
    use crate::broker::testbed::Bed;
    use crate::broker::testbed::client::{Client, NOW_MS, publisher};
    use crate::model::ids::DEFAULT_VHOST;
    use crate::model::message::Publication;
    use crate::model::qos::QoS;

    const TOPIC: &str = "$SYS/broker/uptime";

    #[test]
    fn a_subscriber_gets_the_newest_value_then_what_changes_and_nothing_is_recorded() {
        let mut bed = Bed::roomy();
        let broker = bed.broker.clone();
        let mut own = Publisher::of_broker(&broker, &DEFAULT_VHOST.into());
        let before = broker.journal.last_lsn();
        broker.announce(&mut own, TOPIC, b"1", NOW_MS);
        broker.announce(&mut own, TOPIC, b"2", NOW_MS);
        assert_eq!((broker.journal.last_lsn(), broker.retained.len()), (before, 0));
        for durable in [false, true] {
            let id = if durable { "d" } else { "c" };
            let mut client = Client::open(&broker, id, durable, 10, || bed.sync());
            client.subscribe(&broker, "#", QoS::AtMostOnce, || bed.sync());
            client.subscribe(&broker, "+/broker/uptime", QoS::AtMostOnce, || bed.sync());
            client.turn(&broker, NOW_MS);
            assert!(client.values().is_empty(), "hidden from leading wildcards [MQTT-4.7.2-1]");
            client.subscribe(&broker, "$SYS/#", QoS::ExactlyOnce, || bed.sync());
            client.turn(&broker, NOW_MS);
            assert_eq!(client.values(), [2]);
            assert!(client.seen[0].retain);
            broker.announce(&mut own, TOPIC, b"3", NOW_MS);
            client.turn(&broker, NOW_MS);
            assert_eq!(client.values(), [2, 3]);
            assert!(!client.seen[1].retain);
            broker.announce(&mut own, TOPIC, b"2", NOW_MS);
            client.close(&broker);
            bed.sync();
        }
        // A checkpoint has nothing of it.
        assert!(broker.retained.freeze().is_empty());
    }

    /// Only the broker speaks there.
    #[test]
    fn a_client_may_not_publish_below_sys() {
        let bed = Bed::roomy();
        let mut client = publisher(&bed.broker);
        for (topic, allowed) in [
            ("$SYS", false),
            ("$SYS/broker/uptime", false),
            ("$SYSTEM", true),
            ("$other/x", true),
            // A mosquitto bridge tells there that it is connected, and its will that it is not.
            ("$SYS/broker/connection/edge.b/state", true),
            ("$SYS/broker/connection", false),
        ] {
            let (payload, properties, qos) = (b"x", &[], QoS::AtLeastOnce);
            let message =
                Publication { topic, payload, properties, qos, retain: true, expiry_s: None };
            let outcome =
                bed.broker.publish(&mut client, &message, Condition::None, || None, NOW_MS);
            assert_eq!(outcome.is_ok(), allowed, "{topic}");
        }
    }
}
