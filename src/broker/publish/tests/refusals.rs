//! Queues that refuse, a journal that does, and answers that go to nobody. Tests of `broker::publish`.

use std::sync::Arc;

use parking_lot::Mutex;

use super::town::Town;
use crate::broker::consumer::Outcome;
use crate::broker::message::Message;
use crate::broker::publish::Published;
use crate::broker::publish::exchange::PublishError;
use crate::broker::replies::ReplyConsumer;
use crate::broker::testbed::Refusing;
use crate::metrics::DropReason;
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::TableWriter;
use crate::model::qos::QoS;

fn refusing(length: i32) -> Vec<u8> {
    let mut table = Vec::new();
    let mut writer = TableWriter::new(&mut table);
    writer.put("x-max-length", FieldValue::I32(length)).unwrap();
    writer.string("x-overflow", "reject-publish").unwrap();
    table
}

#[test]
fn a_full_queue_refuses_and_says_so() {
    let mut town = Town::new();
    let queue = town.queue_with("q", false, &refusing(1));
    assert_eq!(town.send("", "q", "1", true), Published::Done { matched: true });
    assert_eq!(town.send("", "q", "2", true), Published::Refused);
    town.bind("amq.topic", "q", "a");
    assert_eq!(town.say("a", "3", QoS::AtLeastOnce), Published::Refused);
    assert_eq!(town.taken(&queue), ["|q|1"]);
}

/// A confirm speaks for all destinations, those that no record waits for too.
#[test]
fn what_a_transient_queue_refuses_is_refused_though_a_durable_one_takes_it() {
    let mut town = Town::new();
    let kept = town.bound("kept", true, "amq.topic", "a");
    let full = town.queue_with("full", false, &refusing(1));
    town.bind("amq.topic", "full", "a");
    let later = |refused| Published::Waiting { matched: true, refused };
    assert_eq!(town.send("amq.topic", "a", "1", true), later(false));
    assert_eq!(town.send("amq.topic", "a", "2", true), later(true));
    town.bed.sync();
    assert_eq!(town.taken(&full), ["amq.topic|a|1"]);
    assert_eq!(town.taken(&kept), ["amq.topic|a|1", "amq.topic|a|2"]);
}

/// The applier judges; then the message is nowhere (rule 6).
#[test]
fn what_a_durable_queue_refuses_is_in_no_durable_destination() {
    let mut town = Town::new();
    let full = town.queue_with("full", true, &refusing(1));
    town.bind("amq.topic", "full", "a");
    let other = town.bound("other", true, "amq.topic", "a");
    let mut client = town.client("c", true, "a");
    town.route_to_log("log", "a");
    assert_eq!(town.outcome("amq.topic", "a", "1"), Some(Outcome::Done));
    assert_eq!(town.outcome("amq.topic", "a", "2"), Some(Outcome::Rejected));
    assert_eq!(town.taken(&other), ["amq.topic|a|1"]);
    assert_eq!(town.got(&mut client), ["a|1|1"]);
    assert_eq!(town.logged().len(), 1);
    assert_eq!(town.taken(&full), ["amq.topic|a|1"]);
    town.bed.sync();
    assert_eq!(town.outcome("amq.topic", "a", "3"), Some(Outcome::Done));
}

#[test]
fn what_the_journal_refuses_went_nowhere() {
    let mut town = Town::new();
    let durable = town.bound("durable", true, "amq.topic", "a");
    let transient = town.bound("transient", false, "amq.topic", "a");
    for refusing in [Refusing::AtOnce, Refusing::AfterFilling] {
        town.bed.tape.refuse(refusing);
        let refused = town.send_with("amq.topic", &["a"], "1", true);
        assert!(matches!(refused, Err(PublishError::Journal(_))));
        assert!(town.say_with("a", "1", QoS::AtLeastOnce, false, &[]).is_err());
        town.bed.tape.refuse(Refusing::Never);
    }
    town.bed.sync();
    assert!(town.taken(&durable).is_empty() && town.taken(&transient).is_empty());
}

#[derive(Default)]
struct Asker {
    got: Mutex<Vec<String>>,
    full: bool,
}

impl ReplyConsumer for Asker {
    fn reply(&self, message: &Message<'_>, _: u64) -> bool {
        if !self.full {
            self.got.lock().push(String::from_utf8(message.payload.to_vec()).unwrap());
        }
        !self.full
    }
}

#[test]
fn an_answer_goes_to_whoever_asked_or_to_nobody() {
    let mut town = Town::new();
    let asker = Arc::<Asker>::default();
    let replies = &town.bed.broker.replies;
    let name = replies.register(asker.clone(), 7);
    let busy = replies.register(Arc::new(Asker { full: true, ..Asker::default() }), 8);
    assert_eq!(town.send("", &name, "1", true), Published::Done { matched: true });
    assert_eq!(town.send("", &busy, "2", false), Published::Done { matched: false });
    // Only the default exchange knows these names.
    assert_eq!(town.send("amq.topic", &name, "3", false), Published::Done { matched: false });
    town.bed.broker.replies.forget(&name);
    assert_eq!(town.send("", &name, "4", false), Published::Done { matched: false });
    assert_eq!(*asker.got.lock(), ["1"]);
    assert_eq!(town.dropped(DropReason::NoSubscriber), 3);
}
