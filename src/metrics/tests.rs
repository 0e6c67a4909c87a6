//! Names, labels and counting. Tests of `metrics`.

use std::io::Write;
use std::process::{Command, Stdio};

use super::label::Label;
use super::{DropReason, LocalCounters, Metrics, Protocol, QosLabel};

fn rendered(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

#[test]
fn every_label_value_has_its_own_handle_from_the_start() {
    let metrics = Metrics::new(0.0).unwrap();
    for (index, reason) in DropReason::ALL.iter().enumerate() {
        assert_eq!(reason.index(), index);
        metrics.messages.dropped.of(*reason).inc_by(index as u64 + 1);
    }
    metrics.messages.received.of(Protocol::Kafka, QosLabel::Qos1).inc();
    let text = rendered(&metrics);
    for (index, reason) in DropReason::ALL.iter().enumerate() {
        let line = format!(
            "rialto_messages_dropped_total{{reason=\"{}\"}} {}\n",
            reason.name(),
            index + 1
        );
        assert!(text.contains(&line), "{line}");
    }
    assert!(text.contains("rialto_messages_received_total{protocol=\"kafka\",qos=\"1\"} 1\n"));
    assert!(text.contains("rialto_messages_received_total{protocol=\"mqtt\",qos=\"1\"} 0\n"));
}

#[test]
fn local_counts_are_added_once() {
    let metrics = Metrics::new(0.0).unwrap();
    let mut local = LocalCounters::new(Protocol::Mqtt);
    local.received_bytes = 10;
    local.received[1] = 2;
    local.drop_messages(DropReason::Acl, 3);
    local.flush_into(&metrics);
    local.flush_into(&metrics);
    assert_eq!(metrics.connections.received_bytes.of(Protocol::Mqtt).get(), 10);
    assert_eq!(metrics.messages.received.of(Protocol::Mqtt, QosLabel::Qos1).get(), 2);
    assert_eq!(metrics.messages.dropped.of(DropReason::Acl).get(), 3);
}

/// `promtool check metrics` knows the conventions of names, units and help texts. Where it is not installed,
/// the integration tests still ask it.
#[test]
fn promtool_has_nothing_to_say() {
    let mut command = Command::new("promtool");
    command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return };
    let text = Metrics::new(1.0).unwrap().render().unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn every_metric_is_in_the_operators_handbook() {
    let handbook = include_str!("../../docs/operations.md");
    let text = rendered(&Metrics::new(1.0).unwrap());
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(handbook.contains(&format!("`{name}`")), "{name}");
    }
}
