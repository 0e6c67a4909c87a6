//! What no single key can say: ranges, combinations, and who may connect from where. Part of `config`.
//!
//! Everything is checked and every fault reported, so that a user mends a file once. Files that keys name are
//! read by [`crate::config::live`], not here: a check of a configuration touches no disk.

use crate::auth::acl::Acl;
use crate::config::Config;
use crate::config::address::ListenAddress;
use crate::config::response_information;
use crate::config::rules::AclRule;
use crate::config::sections::Anonymous;
use crate::config::source::Fault;

/// Checks `config` as a whole.
///
/// # Errors
/// Every fault, with its key.
pub fn check(config: &Config) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    check_reach(config, &mut faults);
    check_ranges(config, &mut faults);
    config.auth.check(&mut faults);
    config.limits.check(&mut faults);
    config.queues.check(&mut faults);
    config.amqp.check(&mut faults);
    config.kafka.check(&mut faults);
    config.groups.check(&mut faults);
    check_advertised(&config.kafka.advertised, &mut faults);
    if let Err(text) = response_information::check(&config.mqtt.response_information) {
        faults.push(Fault::new("mqtt.response_information", text));
    }
    for (index, rule) in config.acl.iter().enumerate() {
        check_rule(index, rule, &mut faults);
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// A listener that others can reach needs a word on who may use it: a default must never open a broker to a
/// network.
fn check_reach(config: &Config, faults: &mut Vec<Fault>) {
    let listeners = &config.listeners;
    let anonymous = config.auth.anonymous;
    let has_users = !config.auth.password_file.as_os_str().is_empty();
    if anonymous == Anonymous::Never && !has_users {
        let text = "`never` without auth.password_file lets nobody in";
        faults.push(Fault::new("auth.anonymous", text));
    }
    if anonymous == Anonymous::Everywhere {
        return;
    }
    let mut refuse = |key: &str, address: &ListenAddress, why: &str| {
        let text = format!("{address} can be reached from other machines: {why}");
        faults.push(Fault::new(key, text));
    };
    let say_who =
        "set auth.password_file, or auth.anonymous = \"everywhere\" if anybody may connect";
    for (key, address) in [
        ("listeners.mqtt", &listeners.mqtt),
        ("listeners.mqtts", &listeners.mqtts),
        ("listeners.amqp", &listeners.amqp),
        ("listeners.amqps", &listeners.amqps),
        ("listeners.admin", &listeners.admin),
    ] {
        if !address.is_loopback() && !has_users {
            refuse(key, address, say_who);
        }
    }
    if !listeners.kafka.is_loopback() {
        let why = "Kafka clients cannot log in yet, so this needs auth.anonymous = \"everywhere\" (and acl rules \
                   that say what %anonymous may do)";
        refuse("listeners.kafka", &listeners.kafka, why);
    }
}

fn check_ranges(config: &Config, faults: &mut Vec<Fault>) {
    let mut range = |key: &str, value: u64, min: u64, max: u64| {
        if value < min || value > max {
            let text = format!("{value} is outside {min} to {max}");
            faults.push(Fault::new(key, text));
        }
    };
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let mqtt = &config.mqtt;
    range("listeners.connections_max", config.listeners.connections_max as u64, 1, 10_000_000);
    // A remaining length holds at most 268,435,455 [MQTT-2.2.3]; the fixed header adds at most five bytes.
    range("mqtt.packet_bytes_max", mqtt.packet_bytes_max as u64, KIB, 256 * MIB);
    range("mqtt.client_id_bytes_max", mqtt.client_id_bytes_max as u64, 23, 65_535);
    // A topic of 65,535 bytes has at most one level more.
    range("mqtt.sys_interval_s", mqtt.sys_interval_s.into(), 0, 86_400);
    range("mqtt.topic_levels_max", mqtt.topic_levels_max as u64, 1, 65_536);
    let subscriptions = mqtt.subscriptions_per_session_max as u64;
    range("mqtt.subscriptions_per_session_max", subscriptions, 1, 10_000_000);
    range("mqtt.receive_max", mqtt.receive_max.into(), 1, 65_535);
    range("mqtt.inflight_max", mqtt.inflight_max.into(), 1, 65_535);
    range("mqtt.queued_messages_max", mqtt.queued_messages_max as u64, 1, 1_000_000_000);
    range("mqtt.queued_bytes_max", mqtt.queued_bytes_max as u64, KIB, 1024 * GIB);
    range("mqtt.memory_bytes_max", mqtt.memory_bytes_max as u64, MIB, 1024 * GIB);
    let outbound = mqtt.outbound_buffer_bytes_max as u64;
    range("mqtt.outbound_buffer_bytes_max", outbound, 4 * KIB, GIB);
    range("mqtt.connect_timeout_ms", mqtt.connect_timeout_ms, 100, 600_000);
    range("mqtt.message_rate_max", mqtt.message_rate_max.into(), 0, 10_000_000);
    range("mqtt.byte_rate_max", mqtt.byte_rate_max, 0, 1024 * GIB);
    range("logs.partitions_max", config.logs.partitions_max.into(), 1, 100_000);
    let partitions_max = config.logs.partitions_max.max(1);
    range(
        "logs.default_partitions",
        config.logs.default_partitions.into(),
        1,
        partitions_max.into(),
    );
    range("logs.logs_max", config.logs.logs_max as u64, 1, 1_000_000);
    range("logs.segment_bytes", config.logs.segment_bytes, MIB, 2 * GIB - 1);
    range("logs.segment_ms", config.logs.segment_ms, 1, i64::MAX as u64);
    range("logs.retention_check_ms", config.logs.retention_check_ms, 1_000, 86_400_000);
    range("logs.unpacked_bytes_max", config.logs.unpacked_bytes_max, MIB, 16 * GIB);
    for (name, value) in [
        ("logs.retention_ms", config.logs.retention_ms),
        ("logs.retention_bytes", config.logs.retention_bytes),
    ] {
        // −1 is "without bound".
        range(name, value.saturating_add(1).try_into().unwrap_or(u64::MAX), 0, i64::MAX as u64);
    }
    range("journal.segment_bytes", config.journal.segment_bytes, MIB, 4 * GIB);
    range("journal.submit_bytes_max", config.journal.submit_bytes_max as u64, MIB, 16 * GIB);
    range("journal.batch_bytes_max", config.journal.batch_bytes_max as u64, 64 * KIB, GIB);
    range("checkpoint.interval_s", config.checkpoint.interval_s, 1, 86_400);
    range("checkpoint.journal_bytes", config.checkpoint.journal_bytes, MIB, 1024 * GIB);
    range("checkpoint.memory_bytes", config.checkpoint.memory_bytes, MIB, 1024 * GIB);
    let index = config.memory.queue_index_bytes_max as u64;
    range("memory.queue_index_bytes_max", index, MIB, 1024 * GIB);
    range("checkpoint.compaction_bytes_max", config.checkpoint.compaction_bytes_max, 0, 64 * GIB);
    range("checkpoint.body_segment_bytes", config.checkpoint.body_segment_bytes, MIB, GIB);
    range("retained.messages_max", config.retained.messages_max as u64, 0, 1_000_000_000);
    range("retained.bytes_max", config.retained.bytes_max, 0, 1024 * GIB);
    if mqtt.outbound_buffer_bytes_max < mqtt.packet_bytes_max {
        let text = "smaller than mqtt.packet_bytes_max: the largest message could never be sent";
        faults.push(Fault::new("mqtt.outbound_buffer_bytes_max", text));
    }
}

/// Clients dial what Metadata names, so it needs a port they can dial.
fn check_advertised(advertised: &str, faults: &mut Vec<Fault>) {
    if advertised.is_empty() {
        return;
    }
    let usable = matches!(advertised.parse(), Ok(ListenAddress::At { port, .. }) if port != 0);
    if !usable || advertised.starts_with(':') {
        let text = format!("`{advertised}` is no `host:port` that a client can connect to");
        faults.push(Fault::new("kafka.advertised", text));
    }
}

fn check_rule(index: usize, rule: &AclRule, faults: &mut Vec<Fault>) {
    if let Err(text) = Acl::check(rule.spec()) {
        faults.push(Fault::new(format!("acl[{index}]"), text));
    }
}
