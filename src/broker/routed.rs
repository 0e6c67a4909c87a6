//! What routes add to a publish: appends to logs. Part of `broker`.

use std::sync::Arc;

use crate::metrics::DropReason;
use crate::model::ids::LogId;

use super::Broker;
use super::crossing::TopicView;
use super::message::Message;
use super::publish::Publisher;
use super::publish::resolve::LogTarget;
use super::router::{PartitionChoice, Route, RouteInput};
use super::via::Via;

/// An append that a route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Target log.
    pub log: LogId,
    /// Target partition.
    pub partition: u32,
    /// Record key.
    pub key: Option<Vec<u8>>,
    /// The topic it is carried under, where that is not the message's own.
    pub via: Option<Arc<Via>>,
}

impl Broker {
    /// The appends that routes make of `message`; what a route cannot place is counted and logged.
    pub(crate) fn routed_appends(
        &self,
        publisher: &mut Publisher,
        targets: &[LogTarget],
        message: &Message<'_>,
    ) -> Vec<Append> {
        let mut appends = Vec::with_capacity(targets.len());
        for LogTarget { route, via } in targets {
            let mut view = TopicView::default();
            let seen = view.of(message, via.as_deref()).map_err(|error| error.to_string());
            let is_route = publisher.is_route();
            let append = seen.and_then(|seen| {
                let input = RouteInput {
                    topic: seen.topic,
                    payload: seen.payload,
                    properties: seen.properties,
                    client_id: seen.client_id,
                    username: seen.username,
                };
                // Marks count only where a route left them: a client could write any.
                if is_route && route.comes_back(&input) {
                    return Ok(None);
                }
                let vhost = &publisher.principal.vhost;
                self.routed_append(&**route, vhost, &input, message.time_ms).map(Some)
            });
            match append {
                Ok(None) => {}
                Ok(Some(append)) => appends.push(Append { via: via.clone(), ..append }),
                Err(why) => {
                    publisher.counters.drop_messages(DropReason::RouteFailed, 1);
                    if self.logs.may_complain(message.time_ms) {
                        let (route, topic) = (route.name(), message.topic);
                        tracing::warn!(route, topic, why, "a route could not place a message");
                    }
                }
            }
        }
        appends
    }

    fn routed_append(
        &self,
        route: &dyn Route,
        vhost: &str,
        input: &RouteInput<'_>,
        now_ms: u64,
    ) -> Result<Append, String> {
        let target = route.target(input)?;
        let (log, partitions) = self
            .log_for_route(vhost, &target.log, target.partitions, now_ms)
            .map_err(|error| error.to_string())?;
        let partition = match target.partition {
            PartitionChoice::Explicit(partition) if partition < partitions => partition,
            PartitionChoice::Explicit(partition) => {
                return Err(format!("log {} has no partition {partition}", target.log));
            }
            PartitionChoice::Hash(hash) => hash % partitions,
            PartitionChoice::Sticky => self.logs.sticky_partition(log, partitions),
        };
        Ok(Append { log, partition, key: target.key, via: None })
    }
}
