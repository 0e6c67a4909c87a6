//! The files of `bridge-config/`: read, checked, compiled. Part of `bridge`.
//!
//! Every `*.toml` in the folder is read, in the order of their names; other files, and names that begin with a
//! dot, are not. One fault anywhere and no route is loaded: half a set of routes would lose messages silently.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::bridge::route::{Route, parse_partition};
use crate::bridge::template::Template;
use crate::broker::logs::name;
use crate::config::source::{ConfigError, Fault, Source};
use crate::model::ids::DEFAULT_VHOST;
use crate::model::topic::TopicFilter;

/// Most routes in a folder.
pub const ROUTES_MAX: usize = 10_000;
/// Most partitions a route may ask for.
pub const PARTITIONS_MAX: u32 = 100_000;

/// A file of routes, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteFile {
    #[serde(default)]
    route: Vec<RouteSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteSpec {
    name: String,
    #[serde(default = "default_vhost")]
    vhost: String,
    from: FromSpec,
    to: ToSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromSpec {
    mqtt: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToSpec {
    log: String,
    #[serde(default = "default_key")]
    key: String,
    partition: Option<String>,
    partitions: Option<u32>,
}

fn default_vhost() -> String {
    DEFAULT_VHOST.to_owned()
}

/// One topic stays in order.
fn default_key() -> String {
    "{topic}".to_owned()
}

/// Reads the routes of `folder`; a folder that does not exist has none.
///
/// # Errors
/// Every fault of every file, with file, line and key.
pub fn load(folder: &Path) -> Result<Vec<Arc<Route>>, ConfigError> {
    let mut loader = Loader::default();
    for file in files(folder).map_err(|error| ConfigError::of_file(folder, error.to_string()))? {
        loader.read(Source::read(&file));
    }
    loader.finish()
}

/// The routes of one text, for examples and tests.
///
/// # Errors
/// As [`load`].
pub fn parse(source: Source) -> Result<Vec<Arc<Route>>, ConfigError> {
    let mut loader = Loader::default();
    loader.read(Ok(source));
    loader.finish()
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let named = path.extension().is_some_and(|extension| extension == "toml");
        // Follows links: a mounted secret or config map is a folder of them.
        if named && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What has been read so far; faults are gathered, so that all are told at once.
#[derive(Default)]
struct Loader {
    routes: Vec<Arc<Route>>,
    /// Where each name was first used.
    names: HashMap<String, String>,
    /// The partitions a fixed log was given, and by which route.
    logs: HashMap<(Arc<str>, String), (u32, Arc<str>)>,
    faults: Vec<crate::config::source::Located>,
}

impl Loader {
    fn read(&mut self, source: Result<Source, ConfigError>) {
        let parsed =
            source.and_then(|source| source.parse::<RouteFile>().map(|file| (source, file)));
        let (source, file) = match parsed {
            Ok(read) => read,
            Err(error) => return self.faults.extend(error.faults),
        };
        let shown = source.file().map(|file| file.display().to_string()).unwrap_or_default();
        for (index, spec) in file.route.iter().enumerate() {
            let added = self.add(spec, &shown).and_then(|()| {
                let text = format!("more than {ROUTES_MAX} routes");
                if self.routes.len() > ROUTES_MAX { Err(Fault::new("name", text)) } else { Ok(()) }
            });
            if let Err(fault) = added {
                let key = format!("route[{index}].{}", fault.key);
                self.faults.extend(source.errors(vec![Fault::new(key, fault.text)]).faults);
            }
        }
    }

    fn finish(self) -> Result<Vec<Arc<Route>>, ConfigError> {
        if self.faults.is_empty() {
            Ok(self.routes)
        } else {
            Err(ConfigError { faults: self.faults })
        }
    }

    fn add(&mut self, spec: &RouteSpec, file: &str) -> Result<(), Fault> {
        let route = Arc::new(compile(spec)?);
        if let Some(first) = self.names.insert(spec.name.clone(), file.to_owned()) {
            return Err(Fault::new(
                "name",
                format!("`{}` is taken by a route in {first}", spec.name),
            ));
        }
        if let (Some(log), Some(partitions)) = (route.fixed_log(), route.partitions) {
            let key = (Arc::clone(&route.vhost), log.to_owned());
            let (known, by) = self.logs.entry(key).or_insert((partitions, Arc::clone(&route.name)));
            if *known != partitions {
                let text = format!(
                    "route `{by}` gives the log `{log}` {known} partitions, not {partitions}"
                );
                return Err(Fault::new("to.partitions", text));
            }
        }
        self.routes.push(route);
        Ok(())
    }
}

fn compile(spec: &RouteSpec) -> Result<Route, Fault> {
    check_name(&spec.name)?;
    if spec.vhost != DEFAULT_VHOST {
        return Err(Fault::new("vhost", format!("there is no vhost but `{DEFAULT_VHOST}`")));
    }
    let filter = TopicFilter::parse(&spec.from.mqtt)
        .map_err(|error| Fault::new("from.mqtt", format!("`{}`: {error}", spec.from.mqtt)))?;
    if filter.share_group().is_some() {
        return Err(Fault::new("from.mqtt", "a route is no member of a `$share` group"));
    }
    let template = |key: &str, text: &str| {
        Template::parse(text, &filter).map_err(|text| Fault::new(format!("to.{key}"), text))
    };
    let log = template("log", &spec.to.log)?;
    check_log(&log)?;
    let key = match spec.to.key.as_str() {
        "" => None,
        text => Some(template("key", text)?),
    };
    let partitions = spec.to.partitions;
    if partitions.is_some_and(|count| !(1..=PARTITIONS_MAX).contains(&count)) {
        return Err(Fault::new("to.partitions", format!("expected 1 to {PARTITIONS_MAX}")));
    }
    let partition =
        spec.to.partition.as_deref().map(|text| template("partition", text)).transpose()?;
    if let Some(fixed) = partition.as_ref().and_then(Template::fixed) {
        let number = parse_partition(fixed.as_bytes());
        if number.is_none_or(|number| partitions.is_some_and(|count| number >= count)) {
            let text = format!("`{fixed}` is no partition: they are numbered from 0");
            return Err(Fault::new("to.partition", text));
        }
    }
    Ok(Route {
        name: spec.name.as_str().into(),
        vhost: spec.vhost.as_str().into(),
        filter,
        partitions,
        log,
        key,
        partition,
    })
}

/// A route's name is a label of its metrics.
fn check_name(name: &str) -> Result<(), Fault> {
    let plain =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if plain && (1..=128).contains(&name.len()) {
        return Ok(());
    }
    Err(Fault::new("name", format!("`{name}`: expected 1 to 128 letters, digits, `.`, `_`, `-`")))
}

/// What is fixed of a log's name is checked now, the rest with each message.
fn check_log(log: &Template) -> Result<(), Fault> {
    let text = match log.fixed() {
        Some(name) if name::is_valid(name) => return Ok(()),
        Some(name) => name,
        None => match log.texts().find(|text| !name::is_valid(&format!("x{text}"))) {
            Some(text) => text,
            None => return Ok(()),
        },
    };
    let text = format!("`{text}`: a log's name is 1 to 249 letters, digits, `.`, `_`, `-`");
    Err(Fault::new("to.log", text))
}

#[cfg(test)]
mod tests;
