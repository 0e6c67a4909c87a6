//! The example file, and what a user reads when something is wrong. Tests of `config`.

use std::fs;
use std::path::Path;

use super::source::{ConfigError, Source};
use super::{Config, Options, Overrides, check};
use crate::config::live::Bundle;

fn example() -> Source {
    Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rialto.toml")).unwrap()
}

fn fault(text: &str) -> String {
    let source = Source::named("x.toml", text);
    let parsed: Result<Config, ConfigError> = source.parse();
    let error =
        parsed.and_then(|config| check::check(&config).map_err(|faults| source.errors(faults)));
    error.expect_err(text).to_string()
}

/// The path of every key that has no keys below it.
fn keys(value: &toml::Value, path: &str, found: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                keys(value, &path, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn the_example_file_holds_every_key_with_its_default() {
    let config: Config = example().parse().unwrap();
    assert_eq!(config, Config::default());
    check::check(&config).unwrap();

    let shown: toml::Value = example().parse().unwrap();
    let all = toml::Value::try_from(Config::default()).unwrap();
    let (mut shown_keys, mut all_keys) = (Vec::new(), Vec::new());
    keys(&shown, "", &mut shown_keys);
    keys(&all, "", &mut all_keys);
    all_keys.retain(|key| key != "acl");
    shown_keys.sort();
    all_keys.sort();
    assert_eq!(shown_keys, all_keys);
}

#[test]
fn the_reference_holds_every_key() {
    let reference = include_str!("../../docs/configuration.md");
    let mut all = Vec::new();
    keys(&toml::Value::try_from(Config::default()).unwrap(), "", &mut all);
    for key in all.iter().filter(|key| *key != "acl") {
        assert!(reference.contains(&format!("\n| `{key}` | ")), "{key}");
    }
}

#[test]
fn the_rules_shown_in_the_example_are_good() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("rialto.toml");
    let text = fs::read_to_string(file).unwrap();
    let after = text.split_once("# [[acl]]").unwrap().1.split_once("\n[mqtt]").unwrap().0;
    let rules: Vec<&str> = after.lines().map(|line| line.trim_start_matches("# ")).collect();
    let source = Source::named("rules.toml", format!("[[acl]]\n{}", rules.join("\n")));
    let config: Config = source.parse().unwrap();
    assert_eq!(config.acl.len(), 3);
    check::check(&config).unwrap();
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Source::named("x.toml", "").parse::<Config>().unwrap(), Config::default());
}

#[test]
fn faults_name_file_line_and_key() {
    for (text, start) in [
        ("\nwrong = 1", "x.toml:2: wrong: unknown field `wrong`"),
        ("[mqtt]\n\npacket_max = 1", "x.toml:3: mqtt.packet_max: unknown field"),
        ("[mqtt]\npacket_bytes_max = \"many\"", "x.toml:2: mqtt.packet_bytes_max: invalid value"),
        ("[mqtt]\nreceive_max = 70000", "x.toml:2: mqtt.receive_max: "),
        ("[listeners]\nmqtt = \"nowhere\"", "x.toml:2: listeners.mqtt: `nowhere` is no address"),
        ("[auth]\nanonymous = \"yes\"", "x.toml:2: auth.anonymous: unknown variant `yes`"),
        ("[mqtt]\nreceive_max = 1\n[mqtt]", "x.toml:3: "),
        ("a = ", "x.toml:1: "),
        (
            "[limits]\n\nconnection_burst_s = 0",
            "x.toml:3: limits.connection_burst_s: 0 is outside 1",
        ),
        ("[limits]\nconnections_per_user_max = -1", "x.toml:2: limits.connections_per_user_max: "),
        ("[mqtt]\nqueue_overflow = \"oldest\"", "x.toml:2: mqtt.queue_overflow: unknown variant"),
        ("[mqtt]\nrate_overflow = 1", "x.toml:2: mqtt.rate_overflow: "),
        ("[mqtt]\nbyte_rate_max = \"2000GiB\"", "x.toml:2: mqtt.byte_rate_max: "),
        ("[retained]\nbytes_max = \"2000GiB\"", "x.toml:2: retained.bytes_max: "),
        ("[journal]\nsegment_bytes = 5", "x.toml:2: journal.segment_bytes: 5 is outside"),
        (
            "[[acl]]\nallow = \"*\"\nfilter = \"#\"\n\n[[acl]]\nfilter = \"x\"",
            "x.toml:5: acl[1]: a rule has",
        ),
        (
            "[[acl]]\nallow = \"*\"\n[[acl]]\nallows = \"*\"",
            "x.toml:4: acl[1].allows: unknown field",
        ),
        ("[mqtt]\n[kafka]\nadvertised = \"host\"", "x.toml:3: kafka.advertised: "),
        ("[kafka]\nadvertised = \":9092\"", "x.toml:2: kafka.advertised: "),
        (
            "[mqtt]\npacket_bytes_max = \"2MiB\"",
            "x.toml:1: mqtt.outbound_buffer_bytes_max: smaller",
        ),
    ] {
        let found = fault(text);
        assert!(found.starts_with(start), "{text}\n{found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}

#[test]
fn a_listener_for_others_needs_a_word_on_who_may_connect() {
    let open = "[listeners]\nmqtt = \"0.0.0.0:1883\"\n";
    assert!(fault(open).starts_with("x.toml:2: listeners.mqtt: 0.0.0.0:1883 can be reached"));
    assert!(fault(&format!("{open}[auth]\nanonymous = \"loopback\"")).contains("listeners.mqtt"));
    let kafka = "[listeners]\nkafka = \"[::]:9092\"\n[auth]\npassword_file = \"users\"";
    assert!(fault(kafka).starts_with("x.toml:2: listeners.kafka: [::]:9092 can be reached"));
    assert!(fault("[auth]\nanonymous = \"never\"").starts_with("x.toml:2: auth.anonymous"));

    for text in [
        format!("{open}[auth]\nanonymous = \"everywhere\""),
        format!("{open}[auth]\npassword_file = \"users\""),
        "[listeners]\nmqtt = \"off\"\nmqtts = \"localhost:1\"".to_owned(),
    ] {
        check::check(&Source::named("x.toml", text).parse().unwrap()).unwrap();
    }
}

#[test]
fn the_command_line_wins_and_is_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.toml");
    fs::write(&file, "data_dir = \"from-file\"\n[listeners]\nkafka = \"off\"\n").unwrap();
    let mqtt = Some("0.0.0.0:1".parse().unwrap());
    let mut options = Options {
        config_file: Some(file),
        overrides: Overrides { data_dir: Some("given".into()), ..Overrides::default() },
    };
    let config = options.resolve().unwrap();
    assert_eq!(config.data_dir, Path::new("given"));
    assert_eq!(config.listeners.kafka.to_string(), "off");
    options.overrides.mqtt = mqtt;
    assert!(options.resolve().unwrap_err().to_string().contains("listeners.mqtt: 0.0.0.0:1"));
}

#[test]
fn a_reload_replaces_the_live_parts_or_nothing() {
    let bundle = Bundle::new(Config::default()).unwrap();
    let before = bundle.live();
    let mut changed = Config::default();
    changed.mqtt.receive_max = 7;
    bundle.reload(&changed).unwrap();
    assert_eq!((before.mqtt.receive_max, bundle.live().mqtt.receive_max), (1024, 7));

    changed.mqtt.receive_max = 8;
    changed.auth.password_file = "/nonexistent/users".into();
    assert!(bundle.reload(&changed).unwrap_err().to_string().contains("auth.password_file"));
    assert_eq!(bundle.live().mqtt.receive_max, 7);
}
