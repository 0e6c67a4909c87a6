//! The database alone: a commit is there as a whole once it was said to be, and before that as a whole or not at all.
//! Part of `store::proof`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Trial, Violation, cut_everywhere, is_caught, seeds};
use crate::model::ids::{LogId, Lsn, QueueId, SHARD, SetId};
use crate::store::disk::Disk;
use crate::store::disk::simulated::{Dice, Lie, SimulatedDisk};
use crate::store::tables::db::Db;
use crate::store::tables::meta::CheckpointRow;
use crate::store::tables::sessions::{SessionKey, Sessions};
use crate::store::tables::{CheckpointWrite, on_disk};

type Rows = BTreeMap<u64, Bytes>;

/// The rows after each commit, by its number; all but the last one were said to be durable.
#[derive(Default)]
struct Promised {
    after: Vec<Rows>,
    committed: usize,
}

fn position(number: usize) -> CheckpointRow {
    CheckpointRow {
        next_lsn: Lsn(number as u64),
        next_batch: 1,
        next_queue_id: QueueId(1),
        next_log_id: LogId(1),
        next_set_id: SetId(1),
        next_producer_id: 0,
        broker_uuid: [8; 16],
        written_ms: 9,
        queued_messages_max: 10,
        queued_bytes_max: 11,
    }
}

fn open(disk: &SimulatedDisk) -> Result<Db, Violation> {
    let folder = disk.folder("meta").map_err(|error| error.to_string())?;
    on_disk::open(&folder).map_err(|error| error.to_string())
}

fn live(disk: &SimulatedDisk, dice: &mut Dice) -> Promised {
    let mut promised = Promised { after: vec![Rows::new()], committed: 0 };
    for _ in 0..2 {
        let Ok(db) = open(disk) else { break };
        for _ in 0..5 {
            let number = promised.after.len();
            let mut write = CheckpointWrite::new(position(number));
            let mut rows = promised.after[promised.committed].clone();
            for _ in 0..1 + dice.below(6) {
                let id = dice.below(12) as u64;
                let key = SessionKey { shard: SHARD, queue: QueueId(id) };
                // Deletes come before puts.
                if dice.odds(20) && !write.sessions.puts.iter().any(|(put, _)| *put == key) {
                    write.sessions.delete(key);
                    rows.remove(&id);
                    continue;
                }
                let row = Bytes::from(vec![number as u8; dice.pick(&[3, 400, 9_000])]);
                write.sessions.put(key, row.clone());
                rows.insert(id, row);
            }
            promised.after.push(rows);
            if db.commit(&write).is_err() {
                return promised;
            }
            promised.committed = number;
        }
    }
    promised
}

fn check(disk: &SimulatedDisk, promised: &Promised) -> Result<(), Violation> {
    let db = open(disk)?;
    let found = db.checkpoint().map_err(|error| error.to_string())?;
    let number = found.map_or(0, |row| row.next_lsn.0 as usize);
    if !(promised.committed..promised.after.len()).contains(&number) {
        return Err(format!("commit {number}, but {} was said to be durable", promised.committed));
    }
    let mut rows = Rows::new();
    db.for_each::<Sessions>(|key, row| {
        rows.insert(key.queue.0, row);
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    if rows != promised.after[number] {
        return Err(format!("other rows than those of commit {number}"));
    }
    Ok(())
}

#[test]
fn a_cut_at_every_step_of_a_commit_leaves_all_of_it_or_nothing() {
    for seed in seeds() {
        // redb takes its time.
        let trial = Trial { cuts: 2, ..Trial::new(seed) };
        cut_everywhere(trial, live, check).unwrap();
    }
}

#[test]
fn a_database_on_a_disk_that_lies_is_found_out() {
    is_caught(Lie::Syncs("meta"), live, check);
    is_caught(Lie::FolderSyncs("meta"), live, check);
}
