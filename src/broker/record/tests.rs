//! Every record survives its bytes; no bytes make the decoder panic. Part of `broker::record`.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{
    Binding, Committed, Condition, GroupRecord, LogChange, OpenSession, Record, ReplayItem,
    RoutedAppend, SetMember, TakenItem, kind,
};
use crate::broker::declared::place::Place;
use crate::broker::sessions::subscription::Subscription;
use crate::broker::via::Via;
use crate::model::ids::{LogId, Lsn, QueueId, SetId};
use crate::model::qos::QoS;

/// Text that lives as long as the tests: a record borrows what it names.
fn text() -> impl Strategy<Value = &'static str> {
    "[a-c/+#$é]{0,6}".prop_map(|text| &*text.leak())
}

fn bytes() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..24).prop_map(|bytes| &*bytes.leak())
}

/// Small numbers, so that records meet each other's sessions, and the ends of the range.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..6, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn short() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0u32..4, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

fn qos() -> impl Strategy<Value = QoS> {
    (0u8..3).prop_map(|bits| QoS::from_bits(bits).unwrap())
}

fn via() -> impl Strategy<Value = Option<Arc<Via>>> {
    let via = prop_oneof![
        (text(), text()).prop_map(|(exchange, key)| Via::Exchange {
            exchange: exchange.into(),
            key: key.into()
        }),
        text().prop_map(|topic| Via::Topic(topic.into())),
    ];
    option::weighted(0.2, via.prop_map(Arc::new))
}

fn member() -> impl Strategy<Value = SetMember> {
    (number(), qos(), any::<bool>(), vec(any::<u32>(), 0..3), via()).prop_map(
        |(queue, qos, retain_as_published, subscription_ids, via)| SetMember {
            queue: QueueId(queue),
            qos,
            retain_as_published,
            subscription_ids,
            via,
        },
    )
}

fn subscription() -> impl Strategy<Value = Subscription> {
    (qos(), any::<[bool; 2]>(), option::of(any::<u32>()), number(), option::of("[a-c/]{0,5}"))
        .prop_map(|(qos, [no_local, retain_as_published], id, since, replay_after)| Subscription {
            qos,
            no_local,
            retain_as_published,
            id,
            since: Lsn(since),
            replay_after,
        })
}

fn condition() -> impl Strategy<Value = Condition<'static>> {
    let session = || number().prop_map(QueueId);
    prop_oneof![
        Just(Condition::None),
        (session(), number(), any::<u16>()).prop_map(|(session, epoch, packet_id)| {
            Condition::Inbound { session, epoch, packet_id }
        }),
        (session(), number()).prop_map(|(session, epoch)| Condition::Will { session, epoch }),
        (text(), short(), short(), -1i64..4, -1i64..4).prop_map(
            |(group, log, partition, expected, next)| Condition::Position {
                group,
                log: LogId(log),
                partition,
                expected,
                next
            }
        ),
    ]
}

fn publish() -> impl Strategy<Value = Record<'static>> {
    let append =
        (short(), short(), option::of(bytes()), via()).prop_map(|(log, partition, key, via)| {
            RoutedAppend { log: LogId(log), partition, key, via }
        });
    (
        (text(), condition(), option::of(number().prop_map(SetId))),
        (vec(member(), 0..3), any::<bool>(), vec(append, 0..3), bytes()),
    )
        .prop_map(|((vhost, condition, set), (members, retained, appends, message))| {
            Record::Publish { vhost, condition, set, members, retained, appends, message }
        })
}

fn open() -> impl Strategy<Value = Record<'static>> {
    (
        (number(), text(), text(), number(), number()),
        (short(), any::<u16>(), option::of((short(), bytes())), option::of(number())),
    )
        .prop_map(|((session, vhost, client_id, epoch, time_ms), rest)| {
            let (expiry_s, receive_max, will, replaces) = rest;
            Record::OpenSession(OpenSession {
                session: QueueId(session),
                vhost,
                client_id,
                epoch,
                time_ms,
                expiry_s,
                receive_max,
                will,
                replaces: replaces.map(QueueId),
            })
        })
}

fn of_sessions() -> impl Strategy<Value = Record<'static>> {
    let queue = || number().prop_map(QueueId);
    let item = (qos(), option::of(any::<u32>()), bytes())
        .prop_map(|(qos, subscription_id, message)| ReplayItem { qos, subscription_id, message });
    prop_oneof![
        open(),
        (queue(), number(), number(), short(), number(), option::of(number())).prop_map(
            |(session, epoch, time_ms, expiry_s, sent, will_due_ms)| Record::CloseSession {
                session,
                epoch,
                time_ms,
                expiry_s,
                sent,
                will_due_ms
            }
        ),
        (queue(), number()).prop_map(|(session, epoch)| Record::EndSession { session, epoch }),
        (queue(), number(), vec((text(), subscription()), 0..3)).prop_map(
            |(session, epoch, subscriptions)| Record::Subscribe { session, epoch, subscriptions }
        ),
        (queue(), number(), text(), option::of(text()), vec(item, 0..3)).prop_map(
            |(session, epoch, filter, after, items)| Record::Replay {
                session,
                epoch,
                filter,
                after,
                items
            }
        ),
        (queue(), number(), vec(text(), 0..3))
            .prop_map(|(session, epoch, filters)| Record::Unsubscribe { session, epoch, filters }),
        (queue(), vec(number(), 0..4))
            .prop_map(|(queue, positions)| Record::Settle { queue, positions }),
        (queue(), number()).prop_map(|(queue, position)| Record::Release { queue, position }),
        (queue(), number(), any::<u16>()).prop_map(|(session, epoch, packet_id)| {
            Record::ForgetInbound { session, epoch, packet_id }
        }),
    ]
}

fn of_logs_and_the_rest() -> impl Strategy<Value = Record<'static>> {
    let log = || short().prop_map(LogId);
    let named = (log(), text(), text(), any::<[u8; 16]>());
    prop_oneof![
        (number(), vec(member(), 0..3))
            .prop_map(|(id, members)| Record::DefineSet { id: SetId(id), members }),
        number().prop_map(|id| Record::RetireSet { id: SetId(id) }),
        (named, number(), 0u32..5, vec((text(), text()), 0..2)).prop_map(
            |((id, vhost, name, uuid), time_ms, partitions, config)| Record::CreateLog {
                id,
                vhost,
                name,
                uuid,
                time_ms,
                partitions,
                config
            }
        ),
        (log(), short(), number(), bytes()).prop_map(|(log, partition, time_ms, batch)| {
            Record::Append { log, partition, time_ms, batch }
        }),
        (number(), number()).prop_map(|(messages, bytes)| Record::Limits {
            queued_messages_max: messages,
            queued_bytes_max: bytes
        }),
        (text(), text(), number()).prop_map(|(vhost, topic, value)| Record::DropRetained {
            vhost,
            topic,
            value: Lsn(value)
        }),
    ]
}

fn binding() -> impl Strategy<Value = Binding<'static>> {
    (text(), text(), any::<bool>(), text(), text(), bytes()).prop_map(
        |(vhost, source, to_exchange, destination, key, arguments)| Binding {
            vhost,
            source,
            to_exchange,
            destination,
            key,
            arguments,
        },
    )
}

fn of_topology() -> impl Strategy<Value = Record<'static>> {
    let queue = || number().prop_map(QueueId);
    prop_oneof![
        (text(), text(), text(), any::<[bool; 2]>(), bytes()).prop_map(
            |(vhost, name, kind, [auto_delete, internal], arguments)| Record::DeclareExchange {
                vhost,
                name,
                kind,
                auto_delete,
                internal,
                arguments
            }
        ),
        (text(), text()).prop_map(|(vhost, name)| Record::DeleteExchange { vhost, name }),
        binding().prop_map(Record::Bind),
        binding().prop_map(Record::Unbind),
        (queue(), text(), text(), any::<bool>(), bytes()).prop_map(
            |(id, vhost, name, auto_delete, arguments)| Record::DeclareQueue {
                id,
                vhost,
                name,
                auto_delete,
                arguments
            }
        ),
        (queue(), text(), text()).prop_map(|(id, vhost, filter)| Record::DeclareShare {
            id,
            vhost,
            filter
        }),
        (queue(), number(), vec(taken_item(), 0..3))
            .prop_map(|(session, epoch, items)| Record::Take { session, epoch, items }),
        queue().prop_map(|id| Record::DeleteQueue { id }),
        (queue(), vec((number(), number()), 0..3))
            .prop_map(|(queue, ranges)| Record::SettleRanges { queue, ranges }),
        Just(Record::Barrier),
    ]
}

fn taken_item() -> impl Strategy<Value = TakenItem<'static>> {
    let place = (number(), prop_oneof![Just(Place::ON), number()]);
    let place = place.prop_map(|(position, turn)| Place { position, turn });
    (number(), place, any::<bool>(), option::of(any::<u32>()), via(), bytes()).prop_map(
        |(queue, place, retain, subscription_id, via, message)| {
            let queue = QueueId(queue);
            TakenItem { queue, place, retain, subscription_id, via, message }
        },
    )
}

fn of_groups() -> impl Strategy<Value = Record<'static>> {
    let committed = (short(), short(), -1i64..9, -1i32..3, text()).prop_map(
        |(log, partition, offset, leader_epoch, metadata)| Committed {
            log: LogId(log),
            partition,
            offset,
            leader_epoch,
            metadata,
        },
    );
    let place = (short(), short()).prop_map(|(log, partition)| (LogId(log), partition));
    prop_oneof![
        (text(), text(), number(), vec(committed, 0..3)).prop_map(
            |(vhost, group, time_ms, offsets)| GroupRecord::Commit {
                vhost,
                group,
                time_ms,
                offsets
            }
        ),
        (text(), text(), number(), bytes()).prop_map(|(vhost, group, time_ms, snapshot)| {
            GroupRecord::Put { vhost, group, time_ms, snapshot }
        }),
        (text(), text(), number(), vec(place, 0..3)).prop_map(
            |(vhost, group, until_ms, places)| GroupRecord::Forget {
                vhost,
                group,
                until_ms,
                places
            }
        ),
        (text(), text()).prop_map(|(vhost, group)| GroupRecord::Delete { vhost, group }),
        (text(), text(), number()).prop_map(|(vhost, group, until_ms)| GroupRecord::Expire {
            vhost,
            group,
            until_ms
        }),
    ]
    .prop_map(Record::Group)
}

fn of_log_changes() -> impl Strategy<Value = Record<'static>> {
    let id = || short().prop_map(LogId);
    prop_oneof![
        id().prop_map(|id| LogChange::Delete { id }),
        (id(), 0u32..9).prop_map(|(id, partitions)| LogChange::Grow { id, partitions }),
        (id(), vec((text(), text()), 0..3))
            .prop_map(|(id, config)| LogChange::Configure { id, config }),
        (id(), vec((short(), -1i64..9), 0..3))
            .prop_map(|(id, starts)| LogChange::AdvanceStart { id, starts }),
        (0i64..9).prop_map(|next| LogChange::Producers { next }),
    ]
    .prop_map(Record::LogChange)
}

/// Any record of any kind.
pub(in crate::broker) fn record() -> impl Strategy<Value = Record<'static>> {
    prop_oneof![
        2 => publish().boxed(),
        5 => of_sessions().boxed(),
        4 => of_logs_and_the_rest().boxed(),
        3 => of_topology().boxed(),
        2 => of_groups().boxed(),
        2 => of_log_changes().boxed(),
    ]
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_record_survives_its_bytes(record in record()) {
        let bytes = encoded(&record);
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn a_cut_record_is_an_error_unless_its_last_field_takes_the_rest(record in record()) {
        let bytes = encoded(&record);
        let open_ended = matches!(record, Record::Publish { .. } | Record::Append { .. });
        for cut in 0..bytes.len() {
            let read = Record::decode(&bytes[..cut]);
            prop_assert!(read.is_err() || open_ended, "cut at {}: {:?}", cut, read);
        }
    }

    #[test]
    fn bytes_behind_a_record_are_an_error_unless_its_last_field_takes_them(record in record()) {
        let mut bytes = encoded(&record);
        bytes.push(0);
        let open_ended = matches!(record, Record::Publish { .. } | Record::Append { .. });
        prop_assert_eq!(Record::decode(&bytes).is_ok(), open_ended);
    }

    #[test]
    fn random_bytes_never_panic(kind in 0u8..29, bytes in vec(any::<u8>(), 0..64)) {
        std::hint::black_box(Record::decode(&bytes)).ok();
        let body: Vec<u8> = [1, kind].into_iter().chain(bytes).collect();
        if let Ok(record) = Record::decode(&body) {
            // What decodes means the same once it is written again.
            let again = encoded(&record);
            prop_assert_eq!(Record::decode(&again), Ok(record));
        }
    }

    #[test]
    fn a_flipped_bit_never_panics(record in record(), at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let mut bytes = encoded(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        std::hint::black_box(Record::decode(&bytes)).ok();
    }
}

#[test]
fn another_version_and_an_unknown_kind_are_refused() {
    for bytes in [&[0, kind::RETIRE_SET, 1][..], &[2, kind::RETIRE_SET, 1], &[1, 0, 1], &[1, 27]] {
        assert!(Record::decode(bytes).is_err(), "{bytes:?}");
    }
    assert_eq!(Record::decode(&[1, kind::RETIRE_SET, 1]), Ok(Record::RetireSet { id: SetId(1) }));
}

/// A count that the bytes cannot hold allocates nothing.
#[test]
fn hostile_counts_are_refused() {
    let mut bytes = vec![1, kind::SETTLE, 1];
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert!(Record::decode(&bytes).is_err());
}
