//! Groups that commit, expire and go, routes that move on, producer ids. Part of the tests of `broker::apply`.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::broker::groups::applied::Place;
use crate::broker::message::{Message, Publisher as Author};
use crate::broker::record::{
    Committed, Condition, GroupRecord, LogChange, Record, RoutedAppend, SetMember,
};
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::waiter;
use crate::model::ids::LogId;
use crate::model::message::Publication;
use crate::model::qos::QoS;

const GROUPS: [&str; 3] = ["readers", "writers", "$route.r"];

/// What may be done with groups.
#[derive(Clone, Debug)]
pub(super) enum GroupStep {
    Commit {
        group: usize,
        places: Vec<(usize, u32)>,
        offset: i64,
    },
    Put {
        group: usize,
        length: usize,
    },
    Forget {
        group: usize,
        places: Vec<(usize, u32)>,
        age_ms: u64,
    },
    Expire {
        group: usize,
        age_ms: u64,
    },
    Delete {
        group: usize,
    },
    /// A route delivers and moves on; `is_late` if somebody was faster.
    Move {
        place: (usize, u32),
        is_late: bool,
        into_log: bool,
    },
    TakeProducers {
        count: i64,
    },
}

pub(super) fn step() -> impl Strategy<Value = GroupStep> {
    let group = || 0..GROUPS.len();
    // The third log is one that there never was.
    let place = || (0usize..3, 0u32..3);
    let places = || vec(place(), 0..4);
    prop_oneof![
        6 => (group(), places(), 0i64..50)
            .prop_map(|(group, places, offset)| GroupStep::Commit { group, places, offset }),
        2 => (group(), 0usize..20).prop_map(|(group, length)| GroupStep::Put { group, length }),
        2 => (group(), places(), 0u64..9_000)
            .prop_map(|(group, places, age_ms)| GroupStep::Forget { group, places, age_ms }),
        1 => (group(), 0u64..9_000).prop_map(|(group, age_ms)| GroupStep::Expire { group, age_ms }),
        1 => group().prop_map(|group| GroupStep::Delete { group }),
        4 => (place(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(place, is_late, into_log)| GroupStep::Move { place, is_late, into_log }),
        1 => (1i64..5).prop_map(|count| GroupStep::TakeProducers { count }),
    ]
}

fn place(bed: &Bed, (log, partition): (usize, u32)) -> Place {
    let found =
        super::world::LOGS.get(log).and_then(|name| bed.broker.logs.table.by_name("/", name));
    (found.map_or(LogId(9_999), |log| log.id), partition)
}

pub(super) fn run(bed: &Bed, step: &GroupStep, now_ms: u64) {
    let broker = &bed.broker;
    let submit = |record: &Record<'_>| {
        broker.submit(None, record).unwrap();
    };
    match step {
        GroupStep::Commit { group, places, offset } => {
            let offsets = places.iter().map(|at| {
                let (log, partition) = place(bed, *at);
                Committed { log, partition, offset: *offset, leader_epoch: 0, metadata: "m" }
            });
            let offsets = offsets.collect();
            let (vhost, group) = ("/", GROUPS[*group]);
            submit(&Record::Group(GroupRecord::Commit { vhost, group, time_ms: now_ms, offsets }));
        }
        GroupStep::Put { group, length } => {
            let snapshot = &vec![7; *length][..];
            let (vhost, group) = ("/", GROUPS[*group]);
            submit(&Record::Group(GroupRecord::Put { vhost, group, time_ms: now_ms, snapshot }));
        }
        GroupStep::Forget { group, places, age_ms } => {
            let places = places.iter().map(|at| place(bed, *at)).collect();
            let (vhost, group, until_ms) = ("/", GROUPS[*group], now_ms.saturating_sub(*age_ms));
            submit(&Record::Group(GroupRecord::Forget { vhost, group, until_ms, places }));
        }
        GroupStep::Expire { group, age_ms } => {
            let (vhost, group, until_ms) = ("/", GROUPS[*group], now_ms.saturating_sub(*age_ms));
            submit(&Record::Group(GroupRecord::Expire { vhost, group, until_ms }));
        }
        GroupStep::Delete { group } => {
            submit(&Record::Group(GroupRecord::Delete { vhost: "/", group: GROUPS[*group] }));
        }
        GroupStep::Move { place, is_late, into_log } => {
            advance(bed, self::place(bed, *place), *is_late, *into_log, now_ms);
        }
        GroupStep::TakeProducers { count } => {
            let next = broker.logs.next_producer() + count;
            submit(&Record::LogChange(LogChange::Producers { next }));
        }
    }
}

/// The position moves and the message arrives in one record, or neither.
fn advance(bed: &Bed, (log, partition): Place, is_late: bool, into_log: bool, now_ms: u64) {
    let group = GROUPS[2];
    let at = bed.broker.groups.position("/", group, (log, partition));
    let expected = if is_late { at - 1 } else { at };
    let publication = Publication {
        topic: "a/b",
        payload: b"moved",
        properties: &[],
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry_s: None,
    };
    let author = Author { client_id: "", username: "" };
    let mut message = Vec::new();
    Message::accepted(&publication, author, now_ms).encode(&mut message);
    let appends = match into_log {
        true => vec![RoutedAppend { log, partition: 0, key: None, via: None }],
        false => Vec::new(),
    };
    let sessions = bed.broker.sessions.all();
    let members = sessions.iter().filter(|session| session.durable).take(1);
    let members = members.map(|session| SetMember {
        queue: session.id,
        qos: QoS::AtLeastOnce,
        retain_as_published: false,
        subscription_ids: Vec::new(),
        via: None,
    });
    let record = Record::Publish {
        vhost: "/",
        condition: Condition::Position { group, log, partition, expected, next: at + 1 },
        set: None,
        members: members.collect(),
        retained: false,
        appends,
        message: &message,
    };
    bed.broker.submit(Some(waiter().0), &record).unwrap();
}
