//! What is served, beside what Apache Kafka serves; and the table of it in `docs/kafka-compatibility.md`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::kafka::codec::api::{self, Api, ApiRange, LAYOUTS, SERVED};

const PAGE: &str = "docs/kafka-compatibility.md";
const BEGIN: &str = "<!-- begin: made by a test from the table of what is served -->";
const END: &str = "<!-- end -->";

/// Number, name and stable versions of the requests that a broker of Apache Kafka 4.3.1 takes from clients and
/// tools. Those among brokers and controllers are left out.
const KAFKA: [(i16, &str, i16, i16); 58] = [
    (0, "Produce", 3, 13),
    (1, "Fetch", 4, 18),
    (2, "ListOffsets", 1, 11),
    (3, "Metadata", 0, 13),
    (8, "OffsetCommit", 2, 10),
    (9, "OffsetFetch", 1, 10),
    (10, "FindCoordinator", 0, 6),
    (11, "JoinGroup", 0, 9),
    (12, "Heartbeat", 0, 4),
    (13, "LeaveGroup", 0, 5),
    (14, "SyncGroup", 0, 5),
    (15, "DescribeGroups", 0, 6),
    (16, "ListGroups", 0, 5),
    (17, "SaslHandshake", 0, 1),
    (18, "ApiVersions", 0, 4),
    (19, "CreateTopics", 2, 7),
    (20, "DeleteTopics", 1, 6),
    (21, "DeleteRecords", 0, 2),
    (22, "InitProducerId", 0, 5),
    (23, "OffsetForLeaderEpoch", 2, 4),
    (24, "AddPartitionsToTxn", 0, 5),
    (25, "AddOffsetsToTxn", 0, 4),
    (26, "EndTxn", 0, 5),
    (28, "TxnOffsetCommit", 0, 5),
    (29, "DescribeAcls", 1, 3),
    (30, "CreateAcls", 1, 3),
    (31, "DeleteAcls", 1, 3),
    (32, "DescribeConfigs", 1, 4),
    (33, "AlterConfigs", 0, 2),
    (34, "AlterReplicaLogDirs", 1, 2),
    (35, "DescribeLogDirs", 1, 5),
    (36, "SaslAuthenticate", 0, 2),
    (37, "CreatePartitions", 0, 3),
    (38, "CreateDelegationToken", 1, 3),
    (39, "RenewDelegationToken", 1, 2),
    (40, "ExpireDelegationToken", 1, 2),
    (41, "DescribeDelegationToken", 1, 3),
    (42, "DeleteGroups", 0, 2),
    (43, "ElectLeaders", 0, 2),
    (44, "IncrementalAlterConfigs", 0, 1),
    (45, "AlterPartitionReassignments", 0, 1),
    (46, "ListPartitionReassignments", 0, 0),
    (47, "OffsetDelete", 0, 0),
    (48, "DescribeClientQuotas", 0, 1),
    (49, "AlterClientQuotas", 0, 1),
    (50, "DescribeUserScramCredentials", 0, 0),
    (51, "AlterUserScramCredentials", 0, 0),
    (60, "DescribeCluster", 0, 2),
    (61, "DescribeProducers", 0, 0),
    (65, "DescribeTransactions", 0, 0),
    (66, "ListTransactions", 0, 2),
    (68, "ConsumerGroupHeartbeat", 0, 1),
    (69, "ConsumerGroupDescribe", 0, 1),
    (71, "GetTelemetrySubscriptions", 0, 0),
    (72, "PushTelemetry", 0, 0),
    (74, "ListConfigResources", 0, 1),
    (75, "DescribeTopicPartitions", 0, 0),
    (76, "share groups (ShareGroupHeartbeat and others)", 1, 1),
];

#[test]
fn layouts_have_the_versions_of_apache_kafka() {
    for range in &LAYOUTS {
        let theirs = KAFKA.iter().find(|(key, ..)| *key == range.key).unwrap();
        let ours = (range.key, name(range.api), range.min, range.max);
        assert_eq!((ours.0, ours.1.as_str(), ours.2, ours.3), *theirs);
        assert!(range.advertised_min <= range.min);
    }
}

#[test]
fn layouts_and_what_is_served_name_everything_once() {
    assert!(LAYOUTS.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(api::served().count(), SERVED.len());
    for range in api::served() {
        assert_eq!(ApiRange::of_key(range.key), Some(range));
    }
}

#[test]
fn the_documentation_names_what_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the place of the table");
    let (found, after) = rest.split_once(END).expect("the place of the table ends");
    let table = table();
    if std::env::var_os("RIALTO_REFRESH_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}\n{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        found.trim() == table.trim(),
        "{PAGE} does not show what is served; to write it anew:\n  \
         RIALTO_REFRESH_DOCS=1 cargo test --lib kafka::codec::tests"
    );
}

fn table() -> String {
    let mut table =
        "| key | request | versions | Apache Kafka 4.3 |\n|---|---|---|---|\n".to_owned();
    for range in api::served() {
        let (_, _, min, max) = KAFKA.iter().find(|(key, ..)| *key == range.key).unwrap();
        let ours = if range.advertised_min < range.min {
            format!("{}, announced from {}", span(range.min, range.max), range.advertised_min)
        } else {
            span(range.min, range.max)
        };
        let (key, name) = (range.key, name(range.api));
        writeln!(table, "| {key} | {name} | {ours} | {} |", span(*min, *max)).unwrap();
    }
    let absent: Vec<&str> = KAFKA
        .iter()
        .filter(|(key, ..)| ApiRange::of_key(*key).is_none())
        .map(|(_, name, ..)| *name)
        .collect();
    table.push_str("\nNot served, and so neither announced nor answered: ");
    table.push_str(&absent.join(", "));
    table.push_str(".\n");
    wrap(&table)
}

fn name(api: Api) -> String {
    format!("{api:?}")
}

fn span(min: i16, max: i16) -> String {
    if min == max { min.to_string() } else { format!("{min}–{max}") }
}

/// Breaks what is no row of a table at 116 characters.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut width = 0;
        for word in line.split_inclusive(' ') {
            let is_row = line.starts_with('|');
            if !is_row && width + word.trim_end().chars().count() > 116 {
                out.truncate(out.trim_end().len());
                out.push('\n');
                width = 0;
            }
            out.push_str(word);
            width += word.chars().count();
        }
        out.push('\n');
    }
    out
}
