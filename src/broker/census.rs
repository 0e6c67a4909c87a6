//! Sessions, connections and subscriptions of each vhost, counted when somebody asks. Part of `broker`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::Broker;
use super::sessions::session::Inner;

/// Where the filters of share groups begin.
const SHARED: &str = "$share/";

/// What one vhost's MQTT clients have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Those with a connection.
    pub connected: u64,
    /// Subscriptions of all of them.
    pub subscriptions: u64,
    /// Those to share groups.
    pub shared: u64,
    /// Messages sent and not acknowledged.
    pub in_flight: u64,
}

impl Census {
    fn add(&mut self, inner: &Inner) {
        self.sessions += 1;
        self.connected += u64::from(inner.link.is_some());
        self.subscriptions += inner.subscriptions.len() as u64;
        let shared =
            inner.subscriptions.range::<str, _>((Bound::Included(SHARED), Bound::Unbounded));
        self.shared += shared.take_while(|(filter, _)| filter.starts_with(SHARED)).count() as u64;
        self.in_flight += u64::from(inner.in_flight);
    }
}

impl Broker {
    /// Counts every vhost that has a session. Looks at each: not for a connection's own thread.
    #[must_use]
    pub fn census(&self) -> BTreeMap<Arc<str>, Census> {
        let mut vhosts = BTreeMap::<Arc<str>, Census>::new();
        for session in self.sessions.all() {
            let inner = session.inner.lock();
            if inner.ended {
                continue;
            }
            match vhosts.get_mut(&session.key.vhost) {
                Some(census) => census.add(&inner),
                None => {
                    let mut census = Census::default();
                    census.add(&inner);
                    vhosts.insert(Arc::clone(&session.key.vhost), census);
                }
            }
        }
        vhosts
    }
}

#[cfg(test)]
mod tests {
    use super::Census;
    use crate::broker::testbed::Bed;
    use crate::broker::testbed::client::Client;
    use crate::model::qos::QoS;

    #[test]
    fn sessions_are_counted_with_and_without_their_connections() {
        let mut bed = Bed::roomy();
        let broker = bed.broker.clone();
        assert!(broker.census().is_empty());
        let mut one = Client::open(&broker, "one", true, 10, || bed.sync());
        one.subscribe(&broker, "a/#", QoS::AtLeastOnce, || bed.sync());
        let mut other = Client::open(&broker, "other", false, 10, || bed.sync());
        other.subscribe(&broker, "$SYS/#", QoS::AtMostOnce, || {});
        let found = broker.census();
        let expected = Census { sessions: 2, connected: 2, subscriptions: 2, ..Census::default() };
        assert_eq!(found.get("/"), Some(&expected));
        one.close(&broker);
        other.close(&broker);
        bed.sync();
        let expected = Census { sessions: 1, subscriptions: 1, ..Census::default() };
        assert_eq!(broker.census().get("/"), Some(&expected));
    }
}
