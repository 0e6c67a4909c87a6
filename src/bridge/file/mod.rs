//! The files of `bridge-config/`: read, checked, compiled. Part of `bridge`.
//!
//! Every `*.toml` in the folder is read, in the order of their names; other files, and names that begin with a
//! dot, are not. One fault anywhere and no route is loaded: half a set of routes would lose messages silently.
//! [`compile`] turns one written route into a compiled one.

mod compile;
mod from_log;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::bridge::route::Route;
use crate::config::source::{ConfigError, Fault, Source};
use crate::model::ids::DEFAULT_VHOST;

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
    /// Type of the exchange, should it have to be declared.
    exchange_type: Option<String>,
    from: FromSpec,
    to: ToSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromSpec {
    mqtt: Option<String>,
    exchange: Option<String>,
    binding: Option<String>,
    log: Option<String>,
    /// Where a route begins in a log that is there before it.
    from: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToSpec {
    log: Option<String>,
    key: Option<String>,
    partition: Option<String>,
    partitions: Option<u32>,
    exchange: Option<String>,
    routing_key: Option<String>,
    mqtt: Option<String>,
    escape: Option<bool>,
    qos: Option<i64>,
    retain: Option<bool>,
}

fn default_vhost() -> String {
    DEFAULT_VHOST.to_owned()
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
        let route = Arc::new(compile::route(spec)?);
        if let Some(first) = self.names.insert(spec.name.clone(), file.to_owned()) {
            return Err(Fault::new(
                "name",
                format!("`{}` is taken by a route in {first}", spec.name),
            ));
        }
        if let Some((log, Some(partitions))) = route.fixed_log() {
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

#[cfg(test)]
mod tests;
