//! The settings in force, and where each value comes from. Part of `broker/logs/settings`; pure.

use super::LogSettings;
use super::known::{KNOWN, Kind, Known};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was set on the log.
    Log,
    /// The broker's configuration.
    Broker,
    /// Nobody set it.
    Default,
}

/// A setting with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which.
    pub known: &'static Known,
    /// The value in force.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
    /// The value if the log does not say.
    pub default: String,
    /// Where that comes from: the configuration, or nobody.
    pub default_source: Source,
}

impl Setting {
    /// The type of the value.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.known.kind
    }
}

/// Every setting of a log on which `set` is set, by name. `defaults` is what the configuration says.
#[must_use]
pub fn listed(defaults: &LogSettings, set: &[(String, String)]) -> Vec<Setting> {
    let built_in = LogSettings::default();
    KNOWN
        .iter()
        .map(|known| {
            let default = known.default_text(defaults);
            let is_built_in = default == known.default_text(&built_in);
            let default_source = if is_built_in { Source::Default } else { Source::Broker };
            let set = set.iter().rev().find(|(name, _)| name == known.name);
            let (value, source) = match set {
                Some((_, value)) => (value.clone(), Source::Log),
                None => (default.clone(), default_source),
            };
            Setting { known, value, source, default, default_source }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::LogSettings;
    use super::{Source, listed};

    #[test]
    fn values_are_told_with_where_they_come_from() {
        let defaults = LogSettings { segment_bytes: 1 << 20, ..LogSettings::default() };
        let all = listed(&defaults, &[("retention.ms".to_owned(), "5".to_owned())]);
        let found = |name: &str| {
            let one = all.iter().find(|one| one.known.name == name).unwrap();
            (one.value.clone(), one.source, one.default.clone())
        };
        assert_eq!(found("retention.ms"), ("5".into(), Source::Log, "604800000".into()));
        assert_eq!(found("segment.bytes"), ("1048576".into(), Source::Broker, "1048576".into()));
        assert_eq!(found("segment.ms"), ("604800000".into(), Source::Default, "604800000".into()));
    }
}
