//! Any text as `rialto.toml` and as a file of routes: it is read, or every fault is told with its place.

use rialto::bridge::file;
use rialto::config::Config;
use rialto::config::source::Source;

/// The first byte chooses which file it is.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = super::split_first(data) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let source = Source::named("fuzzed.toml", text);
    let faults = if kind % 2 == 0 {
        source.parse::<Config>().map(drop)
    } else {
        file::parse(source).map(drop)
    };
    if let Err(faults) = faults {
        assert!(!faults.faults.is_empty());
        assert!(!faults.to_string().is_empty());
    }
}
