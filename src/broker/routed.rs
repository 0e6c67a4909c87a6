//! What routes add to a publish: appends to logs. Part of `broker`.

use std::sync::Arc;

use crate::metrics::DropReason;
use crate::model::ids::LogId;
use crate::store::journal::SubmitError;

use super::Broker;
use super::crossing::TopicView;
use super::logs::verbs::LogError;
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

/// Why a route makes no append of a message.
enum Unplaced {
    /// The message is not what it takes.
    Message(String),
    /// Its log cannot be created now: the journal takes nothing.
    Journal(String),
}

impl Broker {
    /// The appends that routes make of `message`; what a route cannot place is counted and logged.
    ///
    /// # Errors
    /// A log takes nothing, because its files cannot be written or it cannot be created: then the message goes nowhere,
    /// for it goes everywhere or nowhere.
    pub(crate) fn routed_appends(
        &self,
        publisher: &mut Publisher,
        targets: &[LogTarget],
        message: &Message<'_>,
    ) -> Result<Vec<Append>, SubmitError> {
        let mut appends = Vec::with_capacity(targets.len());
        for LogTarget { route, via } in targets {
            let mut view = TopicView::default();
            let seen = view
                .of(message, via.as_deref())
                .map_err(|error| Unplaced::Message(error.to_string()));
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
                Ok(Some(append)) => {
                    if let Some(reason) = self.log_refuses(&append) {
                        publisher.counters.drop_messages(DropReason::LogFailed, 1);
                        return Err(SubmitError::Unavailable { reason: reason.into() });
                    }
                    appends.push(Append { via: via.clone(), ..append });
                }
                Err(Unplaced::Journal(reason)) => {
                    publisher.counters.drop_messages(DropReason::LogFailed, 1);
                    return Err(SubmitError::Unavailable { reason: reason.into() });
                }
                Err(Unplaced::Message(why)) => {
                    publisher.counters.drop_messages(DropReason::RouteFailed, 1);
                    if self.logs.may_complain(message.time_ms) {
                        let (route, topic) = (route.name(), message.topic);
                        tracing::warn!(route, topic, why, "a route could not place a message");
                    }
                }
            }
        }
        Ok(appends)
    }

    /// Why the files of the partition take nothing more, if so. A log whose creation is on its way takes anything.
    fn log_refuses(&self, append: &Append) -> Option<String> {
        let log = self.logs.table.by_id(append.log)?;
        log.partition(append.partition)?.failure()
    }

    fn routed_append(
        &self,
        route: &dyn Route,
        vhost: &str,
        input: &RouteInput<'_>,
        now_ms: u64,
    ) -> Result<Append, Unplaced> {
        let target = route.target(input).map_err(Unplaced::Message)?;
        let log = self.log_for_route(vhost, &target.log, target.partitions, now_ms);
        let (log, partitions) = log.map_err(|error| match error {
            LogError::Storage(why) | LogError::Unavailable(why) => Unplaced::Journal(why),
            error => Unplaced::Message(error.to_string()),
        })?;
        let partition = match target.partition {
            PartitionChoice::Explicit(partition) if partition < partitions => partition,
            PartitionChoice::Explicit(partition) => {
                let why = format!("log {} has no partition {partition}", target.log);
                return Err(Unplaced::Message(why));
            }
            PartitionChoice::Hash(hash) => hash % partitions,
            PartitionChoice::Sticky => self.logs.sticky_partition(log, partitions),
        };
        Ok(Append { log, partition, key: target.key, via: None })
    }
}
