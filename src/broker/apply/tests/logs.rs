//! Logs that are deleted, grow, change and give up records. Part of the tests of `broker::apply`.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use proptest::prelude::*;

use super::world::LOGS;
use crate::auth::principal::Principal;
use crate::broker::logs::admin::END;
use crate::broker::logs::settings::change::{Edit, SettingsChange};
use crate::broker::logs::verbs::LogRef;
use crate::broker::testbed::Bed;

/// Settings that a log may get.
const SETTINGS: [(&str, &str); 6] = [
    ("message.timestamp.type", "LogAppendTime"),
    ("message.timestamp.type", "CreateTime"),
    ("retention.ms", "4000"),
    ("retention.bytes", "0"),
    ("segment.ms", "1"),
    ("max.message.bytes", "70"),
];

/// What administrators may do with a log.
#[derive(Clone, Debug)]
pub(super) enum LogStep {
    Delete { log: usize },
    Grow { log: usize, partitions: u32 },
    Set { log: usize, setting: usize },
    Unset { log: usize, setting: usize },
    Cut { log: usize, partition: u32, offset: i64 },
    Retain,
}

pub(super) fn step() -> impl Strategy<Value = LogStep> {
    let log = || 0..LOGS.len();
    prop_oneof![
        1 => log().prop_map(|log| LogStep::Delete { log }),
        1 => (log(), 2u32..5).prop_map(|(log, partitions)| LogStep::Grow { log, partitions }),
        2 => (log(), 0..SETTINGS.len()).prop_map(|(log, setting)| LogStep::Set { log, setting }),
        1 => (log(), 0..SETTINGS.len()).prop_map(|(log, setting)| LogStep::Unset { log, setting }),
        2 => (log(), 0u32..3, END..9)
            .prop_map(|(log, partition, offset)| LogStep::Cut { log, partition, offset }),
        2 => Just(LogStep::Retain),
    ]
}

pub(super) fn run(bed: &Bed, step: &LogStep, now_ms: u64) {
    let (broker, who) = (&bed.broker, Principal::anonymous());
    match *step {
        LogStep::Delete { log } => submit(broker.delete_log(&who, LogRef::Name(LOGS[log]))),
        LogStep::Grow { log, partitions } => {
            submit(broker.grow_log(&who, LOGS[log], partitions, false));
        }
        LogStep::Set { log, setting } => {
            let (name, value) = SETTINGS[setting];
            let edit = Edit::Set(value.to_owned());
            let change = SettingsChange::Edit(vec![(name.to_owned(), edit)]);
            submit(broker.configure_log(&who, LOGS[log], change, false));
        }
        LogStep::Unset { log, setting } => {
            let change = SettingsChange::Edit(vec![(SETTINGS[setting].0.to_owned(), Edit::Delete)]);
            submit(broker.configure_log(&who, LOGS[log], change, false));
        }
        LogStep::Cut { log, partition, offset } => {
            submit(broker.delete_records(&who, LOGS[log], &[(partition, offset)]));
        }
        LogStep::Retain => broker.retain_logs(now_ms),
    }
}

/// The first poll submits; the outcome is in the state. There may be no such log, or the verb is refused.
fn submit(verb: impl Future) {
    drop(pin!(verb).poll(&mut Context::from_waker(Waker::noop())));
}
