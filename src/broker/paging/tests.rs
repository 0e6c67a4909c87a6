//! Long queues within a small budget: what stays in memory, what comes back, what a restart reads. Part of
//! `broker::paging`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{PageRows, Paging, StoredPages};
use crate::auth::principal::Principal;
use crate::broker::consumer::Outcome;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::queues::entry::{Body, Entry, Stored};
use crate::broker::queues::page::Page;
use crate::broker::queues::queue::{Next, Queue};
use crate::broker::record::Record;
use crate::broker::sessions::row::{decode_page, encode_page};
use crate::broker::testbed::client::{Client, NOW_MS, Numbered, publisher, waiter};
use crate::broker::testbed::{Bed, Refusing};
use crate::metrics::{LocalCounters, Protocol};
use crate::model::ids::{ConnectionId, QueueId};
use crate::model::qos::QoS;
use crate::store::bodies::BodyRef;

const QUEUE: QueueId = QueueId(7);

/// Rows as a database has them.
#[derive(Default)]
struct Rows(Mutex<BTreeMap<u64, Vec<u8>>>);

impl PageRows for Rows {
    fn read(&self, queue: QueueId, number: u64) -> Result<Option<Page>, String> {
        let rows = self.0.lock();
        let Some(row) = rows.get(&number) else { return Ok(None) };
        let mut page = Page::default();
        for entry in decode_page(queue, number, row).map_err(|error| error.to_string())? {
            page.put(entry.position, entry.restored());
        }
        Ok(Some(page))
    }
}

/// What a checkpoint does with a queue.
fn checkpoint(queue: &mut Queue, rows: &Rows) {
    for (number, page) in queue.freeze() {
        let Some(page) = page else {
            rows.0.lock().remove(&number);
            continue;
        };
        let body = |position: u64, entry: &Entry| {
            let offset = u32::try_from(position).unwrap();
            BodyRef { segment: 1, offset, len: u32::try_from(entry.body.len()).unwrap() }
        };
        let entries: Vec<_> =
            page.iter(number).map(|(at, entry)| (at, entry, body(at, entry))).collect();
        let row = encode_page(number, entries.iter().copied());
        for (position, entry, body) in entries {
            assert!(queue.on_disk(position, entry.order, body));
        }
        rows.0.lock().insert(number, row);
    }
}

/// The index of a million small messages stays within its budget, and they come out in order.
#[test]
fn a_million_messages_take_no_more_memory_than_allowed() {
    const MESSAGES: u64 = 1_000_000;
    const BUDGET: usize = 1 << 20;
    const BETWEEN: u64 = 5_000;
    let rows = Arc::<Rows>::default();
    let paging = Paging::new(rows.clone(), BUDGET);
    let mut queue = Queue::counted(&paging.memory);
    let stored = Stored::new(vec![0; 10].into());
    // Between two checkpoints; a page is small here, so that it weighs more than its entries.
    let slack = 3 * BETWEEN as usize * size_of::<Entry>();
    for order in 0..MESSAGES {
        let body = Body::Memory(Arc::clone(&stored));
        queue.push(Entry::new(order, body, QoS::AtLeastOnce, false));
        if order % BETWEEN == BETWEEN - 1 {
            checkpoint(&mut queue, &rows);
            super::page_out(&mut queue, |_| false, || !paging.is_over(BUDGET));
            assert!(paging.memory.used() <= BUDGET);
        }
        assert!(paging.memory.used() <= BUDGET + slack);
    }
    assert_eq!((queue.live(), queue.bytes(), queue.head()), (MESSAGES, 10 * MESSAGES, 0));
    let mut expected = 0;
    while let Some(next) = queue.next(expected) {
        match next {
            Next::Out(page) => {
                let read = paging.read(QUEUE, &queue.absent_from(page, 4)).unwrap();
                paging.put(QUEUE, &mut queue, read).unwrap();
                assert!(paging.memory.used() <= BUDGET + slack);
            }
            Next::Here(position) => {
                assert_eq!(position, expected);
                assert_eq!(queue.remove(position).unwrap().order, expected);
                expected += 1;
            }
        }
    }
    assert_eq!((expected, queue.live(), queue.bytes()), (MESSAGES, 0, 0));
    assert_eq!(queue.head(), MESSAGES);
}

/// A row that does not say what went out is told, not taken.
#[test]
fn a_missing_or_wrong_row_is_an_error() {
    let rows = Arc::<Rows>::default();
    let paging = Paging::new(rows.clone(), 0);
    let mut queue = Queue::counted(&paging.memory);
    let stored = Stored::new(vec![0; 10].into());
    for order in 0..20 {
        let body = Body::Memory(Arc::clone(&stored));
        queue.push(Entry::new(order, body, QoS::AtLeastOnce, false));
    }
    checkpoint(&mut queue, &rows);
    super::page_out(&mut queue, |_| false, || false);
    let absent = queue.absent_from(0, 2);
    let second = rows.0.lock()[&1].clone();
    rows.0.lock().remove(&0);
    let read = paging.read(QUEUE, &absent[..1]).unwrap();
    let missing = paging.put(QUEUE, &mut queue, read).unwrap_err();
    assert!(missing.contains("page 0 of queue 7"), "{missing}");
    rows.0.lock().insert(0, second[..second.len() - 1].to_vec());
    assert!(paging.read(QUEUE, &absent[..1]).is_err(), "cut short");
    let shorter = encode_page(0, std::iter::empty());
    rows.0.lock().insert(0, shorter);
    let read = paging.read(QUEUE, &absent[..1]).unwrap();
    let wrong = paging.put(QUEUE, &mut queue, read).unwrap_err();
    assert!(wrong.contains("page 0"), "{wrong}");
    assert_eq!(queue.live(), 20, "nothing is lost that is not on disk");
}

fn out_pages(queue: &Queue) -> usize {
    queue.absent_from(0, usize::MAX).len()
}

/// An offline session with `count` messages, of which most pages went out.
fn filled(count: u32) -> (Bed, QueueId) {
    let mut bed = Bed::roomy();
    bed.resume(NOW_MS);
    bed.sync();
    let broker = Arc::clone(&bed.broker);
    let mut client = Client::open(&broker, "c", true, 9, || bed.sync());
    client.subscribe(&broker, "#", QoS::ExactlyOnce, || bed.sync());
    client.close(&broker);
    let mut publisher = publisher(&broker);
    for value in 0..count {
        Numbered::new("t", value, QoS::AtLeastOnce).publish(&broker, &mut publisher);
    }
    bed.sync();
    bed.checkpoint(NOW_MS);
    (bed, client.handle.session.id)
}

fn drain(bed: &mut Bed) -> Vec<u32> {
    let broker = Arc::clone(&bed.broker);
    let mut client = Client::open(&broker, "c", true, 9, || bed.sync());
    let mut seen = Vec::new();
    let mut flights: VecDeque<u16> = VecDeque::new();
    loop {
        let came = client.turn(&broker, NOW_MS);
        if came.is_empty() && flights.is_empty() {
            return seen;
        }
        seen.extend(came.iter().map(|sent| sent.value()));
        flights.extend(came.iter().map(|sent| sent.packet_id));
        flights.drain(..).for_each(|id| assert!(client.settle(&broker, id)));
        bed.sync();
        // What came in goes out again unless somebody is about to take it.
        bed.checkpoint(NOW_MS);
    }
}

#[test]
fn a_sessions_pages_go_out_and_come_back_in_order_also_after_a_restart() {
    for restarts in [false, true] {
        let (mut bed, id) = filled(200);
        let session = bed.broker.sessions.by_id(id).unwrap();
        let (here, out) = {
            let inner = session.inner.lock();
            (inner.queue.count_here(), out_pages(&inner.queue))
        };
        assert!(here <= 1 && out >= 39, "{here} pages here, {out} out");
        assert!(bed.broker.paging.memory.used() < 2_000);
        drop(session);
        if restarts {
            bed = bed.restart(&mut |_, _| 0);
            let session = bed.broker.sessions.by_id(id).unwrap();
            let inner = session.inner.lock();
            assert!(inner.queue.count_here() <= 1 && inner.queue.live() == 200);
            drop(inner);
            drop(session);
            bed.resume(NOW_MS);
            bed.sync();
        }
        assert_eq!(drain(&mut bed), (0..200).collect::<Vec<_>>());
        bed.checkpoint(NOW_MS);
        assert_eq!(bed.body_references().values().sum::<u64>(), 0);
        assert_eq!(bed.broker.metrics.state.queued.get(), 0);
    }
}

#[test]
fn a_directory_of_an_earlier_build_is_summed_up_once() {
    let (bed, id) = filled(60);
    bed.forget_page_sums();
    let mut bed = bed.restart(&mut |_, _| 0);
    assert_eq!(bed.broker.sessions.by_id(id).unwrap().inner.lock().queue.live(), 60);
    bed = bed.restart(&mut |_, _| 0);
    bed.resume(NOW_MS);
    bed.sync();
    assert_eq!(drain(&mut bed), (0..60).collect::<Vec<_>>());
}

/// What is acknowledged after the checkpoint is on pages that a replay must read.
#[test]
fn a_replay_reads_the_pages_that_its_records_are_about() {
    let (mut bed, id) = filled(60);
    let broker = Arc::clone(&bed.broker);
    let mut client = Client::open(&broker, "c", true, 9, || bed.sync());
    for sent in client.turn(&broker, NOW_MS) {
        assert!(client.settle(&broker, sent.packet_id));
    }
    bed.sync();
    drop((broker, client));
    let mut bed = bed.restart(&mut |_, _| 0);
    assert_eq!(bed.broker.sessions.by_id(id).unwrap().inner.lock().queue.live(), 51);
    bed.resume(NOW_MS);
    bed.sync();
    assert_eq!(drain(&mut bed), (9..60).collect::<Vec<_>>());
}

#[test]
fn a_session_that_ends_gives_back_bodies_of_pages_on_disk() {
    let (mut bed, id) = filled(60);
    assert_eq!(bed.body_references().values().sum::<u64>(), 60);
    bed.broker.submit(None, &Record::EndSession { session: id, epoch: 1 }).unwrap();
    bed.sync();
    bed.checkpoint(NOW_MS);
    assert_eq!(bed.body_references().values().sum::<u64>(), 0);
    assert_eq!(bed.broker.metrics.state.queued.get(), 0);
    // Its rows are gone too: a restart finds pages of no unknown queue.
    drop(bed.restart(&mut |_, _| 0));
}

fn declared(bed: &mut Bed, count: u32, arguments: &[u8]) -> Arc<DeclaredQueue> {
    let id = bed.broker.sessions.new_id();
    let (vhost, name) = ("/", "q");
    let record = Record::DeclareQueue { id, vhost, name, auto_delete: false, arguments };
    bed.broker.submit(None, &record).unwrap();
    bed.sync();
    let queue = bed.broker.declared.by_id(id).unwrap();
    for value in 0..count {
        publish(bed, &queue, value, None);
    }
    bed.sync();
    bed.checkpoint(NOW_MS);
    queue
}

fn publish(bed: &Bed, queue: &DeclaredQueue, value: u32, expires_ms: Option<u64>) {
    use crate::broker::message::{Form, Message};
    use crate::broker::record::{Condition, SetMember};
    let payload = value.to_string();
    let message = Message {
        time_ms: NOW_MS,
        expires_ms,
        topic: "q",
        properties: &[0, 0],
        client_id: "",
        username: "",
        payload: payload.as_bytes(),
        qos: QoS::AtLeastOnce,
        retain: false,
        will: false,
        form: Form::Exchange(""),
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let member = SetMember {
        queue: queue.id,
        qos: QoS::AtLeastOnce,
        retain_as_published: false,
        subscription_ids: Vec::new(),
        via: None,
    };
    let record = Record::Publish {
        vhost: "/",
        condition: Condition::None,
        set: None,
        members: vec![member],
        retained: false,
        appends: Vec::new(),
        message: &bytes,
    };
    bed.broker.submit(None, &record).unwrap();
}

fn fetch(bed: &Bed, queue: &Arc<DeclaredQueue>, now_ms: u64) -> Option<u32> {
    let who = Principal::anonymous();
    let mut counters = LocalCounters::new(Protocol::Amqp);
    let connection = ConnectionId(1);
    let got = bed.broker.fetch(&who, queue, connection, true, &mut counters, now_ms, |got, _| {
        std::str::from_utf8(got.message.payload).unwrap().parse::<u32>().unwrap()
    });
    got.unwrap()
}

#[test]
fn a_declared_queue_gives_out_what_is_on_disk_in_order() {
    let mut bed = Bed::roomy();
    let queue = declared(&mut bed, 100, &[]);
    assert!(out_pages(&queue.inner.lock().ledger.queue) >= 19);
    assert_eq!(queue.counts().ready, 100);
    for value in 0..100 {
        assert_eq!(fetch(&bed, &queue, NOW_MS), Some(value));
        if value % 7 == 0 {
            bed.sync();
            bed.checkpoint(NOW_MS);
        }
    }
    assert_eq!(fetch(&bed, &queue, NOW_MS), None);
    bed.sync();
    bed.checkpoint(NOW_MS);
    assert_eq!(bed.body_references().values().sum::<u64>(), 0);
}

#[test]
fn a_purge_takes_what_is_on_disk_and_its_answer_waits() {
    let mut bed = Bed::roomy();
    let queue = declared(&mut bed, 100, &[]);
    let who = Principal::anonymous();
    let (told, mut outcome) = waiter();
    bed.tape.refuse(Refusing::AtOnce);
    let refused = bed.broker.purge(&who, &queue, ConnectionId(1), || waiter().0, NOW_MS);
    assert!(refused.is_err());
    bed.tape.refuse(Refusing::Never);
    assert_eq!(queue.counts().ready, 100, "as if nothing had been");
    let purged = bed.broker.purge(&who, &queue, ConnectionId(1), || told, NOW_MS).unwrap();
    assert_eq!((purged.count, purged.waits), (100, true));
    assert!(outcome.try_recv().is_err());
    bed.sync();
    assert_eq!(outcome.try_recv(), Ok(Outcome::Done));
    bed.checkpoint(NOW_MS);
    assert_eq!(bed.body_references().values().sum::<u64>(), 0);
}

#[test]
fn what_expires_on_disk_goes_when_its_time_has_come() {
    let mut bed = Bed::roomy();
    let queue = declared(&mut bed, 0, &[]);
    for value in 0..60 {
        let expires_ms = (value < 40).then_some(NOW_MS + 1_000);
        publish(&bed, &queue, value, expires_ms);
    }
    bed.sync();
    bed.checkpoint(NOW_MS);
    let id = queue.id;
    drop(queue);
    let mut bed = bed.restart(&mut |_, _| 0);
    bed.resume(NOW_MS);
    bed.sync();
    bed.checkpoint(NOW_MS);
    let queue = bed.broker.declared.by_id(id).unwrap();
    assert_eq!(queue.counts().ready, 60);
    bed.run_jobs(NOW_MS + 1_000);
    bed.sync();
    assert_eq!(queue.inner.lock().ledger.queue.live(), 20, "without anybody looking");
    assert_eq!(fetch(&bed, &queue, NOW_MS + 1_000), Some(40));
}

#[test]
fn a_deleted_queue_gives_back_bodies_of_pages_on_disk_also_after_a_replay() {
    for restarts in [false, true] {
        let mut bed = Bed::roomy();
        let queue = declared(&mut bed, 60, &[]);
        bed.broker.submit(None, &Record::DeleteQueue { id: queue.id }).unwrap();
        bed.sync();
        drop(queue);
        if restarts {
            bed = bed.restart(&mut |_, _| 0);
            bed.resume(NOW_MS);
            bed.sync();
        }
        bed.checkpoint(NOW_MS);
        assert_eq!(bed.body_references().values().sum::<u64>(), 0);
        drop(bed.restart(&mut |_, _| 0));
    }
}

/// The queue drops its oldest, which are on disk, when more comes than it was declared to hold.
#[test]
fn an_overflow_reaches_what_is_on_disk() {
    use crate::model::field_table::FieldValue;
    use crate::model::field_table::write::TableWriter;
    let mut arguments = Vec::new();
    TableWriter::new(&mut arguments).put("x-max-length", FieldValue::I64(50)).unwrap();
    let mut bed = Bed::roomy();
    let queue = declared(&mut bed, 50, &arguments);
    assert!(out_pages(&queue.inner.lock().ledger.queue) >= 9);
    for value in 50..70 {
        publish(&bed, &queue, value, None);
    }
    bed.sync();
    bed.run_jobs(NOW_MS);
    bed.sync();
    assert_eq!(queue.inner.lock().ledger.queue.live(), 50);
    for value in 20..70 {
        assert_eq!(fetch(&bed, &queue, NOW_MS), Some(value));
    }
}

/// The database's own rows, one by one.
#[test]
fn a_page_that_has_no_row_is_none() {
    let home = tempfile::tempdir().unwrap();
    let db = crate::store::tables::db::Db::open(&home.path().join("meta.redb"), 1 << 20).unwrap();
    assert!(StoredPages(Arc::new(db)).read(QUEUE, 3).unwrap().is_none());
}
