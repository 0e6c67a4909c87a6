//! Joining and leaving share groups. Part of `broker::shares`.
//!
//! A group is there from its first member to its last, connected or not. Whoever calls holds the session registry or
//! has the session for itself, so that a connection does not come and go meanwhile.

use std::sync::Arc;

use super::super::Broker;
use super::super::connect::SessionHandle;
use super::super::declared::consumers::Registration;
use super::super::declared::place::Place;
use super::super::declared::queue::DeclaredQueue;
use super::super::declared::settings::QueueSettings;
use super::super::record::Record;
use super::super::sessions::session::Session;
use super::super::sessions::subscription::Subscription;
use super::holding::{Holding, Membership};
use super::member::{Member, Seat};
use super::registry::{Group, Standing};
use crate::model::ids::QueueId;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;
use crate::store::journal::SubmitError;

impl Broker {
    /// `session` is a member of the group of `filter` from now on, or has other options there.
    ///
    /// # Errors
    /// The journal's refusal of the group's queue; everything is as before.
    pub(in crate::broker) fn join_share(
        &self,
        session: &Arc<Session>,
        filter: &TopicFilter,
        options: &Subscription,
    ) -> Result<(), SubmitError> {
        let key = (Arc::clone(&session.key.vhost), Arc::from(filter.as_str()));
        let mut groups = self.shares.groups.lock();
        let group = groups.entry(key.clone()).or_insert_with(|| Group::new(filter));
        let standing = Standing { session: Arc::clone(session), qos: options.qos };
        let before = group.members.insert(session.id, standing);
        if let Err(error) = self.arrange(&key.0, group) {
            match before {
                Some(before) => drop(group.members.insert(session.id, before)),
                None => drop(group.members.remove(&session.id)),
            }
            if group.members.is_empty() {
                groups.remove(&key);
            }
            return Err(error);
        }
        self.seat(session, group, options);
        Ok(())
    }

    /// `session` is no member of the group of `filter` any more. What it was sent and has not acknowledged stays with
    /// its connection [MQTT-3.10.4-3].
    pub(in crate::broker) fn leave_share(&self, session: &Arc<Session>, filter: &TopicFilter) {
        let key = (Arc::clone(&session.key.vhost), Arc::from(filter.as_str()));
        let mut groups = self.shares.groups.lock();
        let Some(group) = groups.get_mut(&key) else { return };
        if group.members.remove(&session.id).is_none() {
            return;
        }
        unseat(session, &group.filter);
        if !group.members.is_empty() {
            if let Err(error) = self.arrange(&key.0, group) {
                tracing::warn!(filter = &*key.1, %error, "a share group keeps its queue for now");
            }
            return;
        }
        if let Some(group) = groups.remove(&key) {
            self.router.vhost(&key.0).unshare(&group.filter);
            group.queues.iter().for_each(|queue| self.end_share(queue));
        }
    }

    /// Sees to it that messages go into a queue of the right kind.
    ///
    /// # Errors
    /// The journal's refusal of a new one.
    pub(super) fn arrange(&self, vhost: &Arc<str>, group: &mut Group) -> Result<(), SubmitError> {
        let is_new = !group.fits();
        if is_new {
            let durable = group.is_durable();
            // There is one of each kind at most. The other one stays: publishers may be on their way to it.
            let known = group.queues.iter().position(|queue| queue.durable == durable);
            let queue = match known {
                Some(at) => group.queues.remove(at),
                None => self.create_share(vhost, &group.filter, durable)?,
            };
            group.queues.push(Arc::clone(&queue));
            for standing in group.members.values() {
                self.seat_at(&standing.session, &group.filter, &queue);
            }
        }
        let (keeps, turns) = (group.keeps(), self.limits.load().share_turns);
        group.queues.iter().for_each(|queue| queue.share_out(keeps, turns));
        if is_new && let Some(queue) = group.queues.last() {
            self.router.vhost(vhost).share(&group.filter, queue);
        }
        Ok(())
    }

    fn create_share(
        &self,
        vhost: &Arc<str>,
        filter: &TopicFilter,
        durable: bool,
    ) -> Result<Arc<DeclaredQueue>, SubmitError> {
        let id = self.sessions.new_id();
        let (name, settings) = (filter.as_str().into(), QueueSettings::share(durable));
        // The applier finds it by its id.
        let queue = self.declared.create(id, Arc::clone(vhost), name, settings);
        if durable {
            let record = Record::DeclareShare { id, vhost, filter: filter.as_str() };
            self.submit(None, &record).inspect_err(|_| self.declared.forget(id))?;
        }
        Ok(queue)
    }

    /// A group's queue is over.
    pub(super) fn end_share(&self, queue: &Arc<DeclaredQueue>) {
        queue.end();
        if !queue.durable {
            self.declared.forget(queue.id);
        } else if let Err(error) = self.submit(None, &Record::DeleteQueue { id: queue.id }) {
            // A restart finds a group without members and ends it.
            tracing::warn!(filter = &*queue.name, %error, "the queue of a share group stays for now");
        }
    }

    /// The connection of `session` takes turns at the group's queues, unless there is none.
    fn seat(&self, session: &Arc<Session>, group: &Group, options: &Subscription) {
        unseat(session, &group.filter);
        for queue in &group.queues {
            self.seat_with(session, &group.filter, queue, options);
        }
    }

    fn seat_at(&self, session: &Arc<Session>, filter: &TopicFilter, queue: &Arc<DeclaredQueue>) {
        let options = session.inner.lock().subscriptions.get(filter.as_str()).cloned();
        if let Some(options) = options {
            self.seat_with(session, filter, queue, &options);
        }
    }

    fn seat_with(
        &self,
        session: &Arc<Session>,
        filter: &TopicFilter,
        queue: &Arc<DeclaredQueue>,
        options: &Subscription,
    ) {
        let registration = {
            let mut inner = session.inner.lock();
            let Some(link) = inner.link.clone() else { return };
            if inner.shares.memberships.iter().any(|one| one.queue.id == queue.id) {
                return;
            }
            let connection = inner.shares.connection;
            let connection = connection.unwrap_or_else(|| self.next_connection_id());
            inner.shares.connection = Some(connection);
            let held = inner.shares.held.values().filter(|held| held.queue.id == queue.id).count();
            let taken = inner.state.taken.values().filter(|(id, _)| *id == queue.id).count();
            let id = self.next_consumer_id();
            let options = options.clone();
            let no_ack = options.qos == QoS::AtMostOnce;
            let member = Member::new(id, session, link.epoch, link.consumer, options, held + taken);
            // What was sent to the same connection under other options counts for the new member, so it lays it down.
            let held = inner.shares.held.values_mut().filter(|held| held.queue.id == queue.id);
            held.for_each(|held| held.member = Arc::clone(&member));
            inner.shares.memberships.push(Membership {
                filter: filter.as_str().into(),
                queue: Arc::clone(queue),
                member: Arc::clone(&member),
            });
            Registration {
                id,
                consumer: Arc::new(Seat(member)),
                connection,
                no_ack,
                exclusive: false,
                priority: 0,
            }
        };
        queue.join(registration);
    }

    /// A connection has come: it takes turns in the groups of its session.
    pub(in crate::broker) fn enter_shares(&self, handle: &SessionHandle) {
        let session = &handle.session;
        let filters: Vec<TopicFilter> = {
            let inner = session.inner.lock();
            let shared = inner.subscriptions.keys().filter(|filter| filter.starts_with('$'));
            shared.filter_map(|filter| TopicFilter::parse(filter).ok()).collect()
        };
        for filter in filters.iter().filter(|filter| filter.share_group().is_some()) {
            let key = (Arc::clone(&session.key.vhost), Arc::from(filter.as_str()));
            let groups = self.shares.groups.lock();
            let Some(group) = groups.get(&key) else { continue };
            for queue in &group.queues {
                self.seat_at(session, filter, queue);
            }
        }
    }

    /// What a connection that is gone held of share groups goes back: at once and to the old places, so that others get
    /// it. A QoS 2 message that was sent to a session which ends with it is for nobody else [MQTT-4.8.2-5].
    pub(in crate::broker) fn hand_back(&self, holding: Holding) {
        for membership in &holding.memberships {
            membership.queue.leave(membership.member.id);
        }
        let mut back: Vec<(Arc<DeclaredQueue>, Vec<Place>)> = Vec::new();
        let mut lost: Vec<(Arc<DeclaredQueue>, Vec<Place>)> = Vec::new();
        for held in holding.held.into_values().filter(|held| !held.released) {
            let list = if held.qos == QoS::ExactlyOnce { &mut lost } else { &mut back };
            add(list, held.queue, held.place);
        }
        for taking in holding.takes {
            add(&mut back, taking.queue, taking.place);
        }
        for (queue, places) in lost {
            self.settle_places(&queue, &places);
            self.submit_settled_places(&queue);
        }
        for (queue, places) in back {
            self.metrics.shares.returned.inc_by(places.len() as u64);
            self.return_places(&queue, &places);
        }
        for queue in holding.touched {
            self.submit_settled_places(&queue);
        }
    }
}

/// Takes the connection of `session` off the queues of one group.
fn unseat(session: &Session, filter: &TopicFilter) {
    let leaving: Vec<Membership> = {
        let shares = &mut session.inner.lock().shares;
        shares.memberships.extract_if(.., |one| *one.filter == *filter.as_str()).collect()
    };
    for membership in leaving {
        membership.queue.leave(membership.member.id);
    }
}

fn add(list: &mut Vec<(Arc<DeclaredQueue>, Vec<Place>)>, queue: Arc<DeclaredQueue>, place: Place) {
    let id: QueueId = queue.id;
    match list.iter_mut().find(|(known, _)| known.id == id) {
        Some((_, places)) => places.push(place),
        None => list.push((queue, vec![place])),
    }
}
