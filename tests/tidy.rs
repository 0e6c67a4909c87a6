//! Holds the architecture by test: who may import whom, where clocks and tasks may be, how long a file may grow.
//!
//! The rules are those of `docs/architecture.md`. They are checked on the text of `src/`, without a parser, so
//! that they run in milliseconds; tests inside a file (its last `mod tests`) and `tests.rs` files are exempt.

#![allow(clippy::string_slice, reason = "source text, cut where it was searched")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every top module and the other top modules it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("metrics", &[]),
    ("auth", &["model"]),
    ("config", &["model", "auth"]),
    ("net", &["config"]),
    ("server", &["net", "metrics"]),
    ("store", &["model", "metrics"]),
    ("broker", &["model", "auth", "metrics", "config", "store"]),
    ("bridge", &["model", "auth", "metrics", "config", "broker"]),
    ("mqtt", &["model", "auth", "metrics", "config", "net", "server", "broker"]),
    ("amqp", &["model", "auth", "metrics", "config", "net", "server", "broker"]),
    ("kafka", &["model", "auth", "metrics", "config", "net", "server", "broker"]),
    ("admin", &["model", "auth", "metrics", "config", "broker"]),
    (
        "app",
        &[
            "model", "metrics", "auth", "config", "net", "server", "store", "broker", "mqtt",
            "amqp", "kafka", "bridge", "admin",
        ],
    ),
    // `rialto store` reads data directories by the readers of those who wrote them.
    ("cli", &["app", "config", "auth", "bridge", "model", "store", "broker"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Modules without sockets, files, tasks or dice.
const PURE: &[&str] = &[
    "model",
    "mqtt::codec",
    "mqtt::connection",
    "amqp::codec",
    "amqp::connection",
    "kafka::codec",
    "kafka::connection",
];
const IMPURE_WORDS: &[&str] = &["tokio::", "std::net", "std::fs", "std::thread", "getrandom::"];

/// Words that only these modules may say, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("Instant::now", &["server", "app"], "time enters as an argument"),
    ("SystemTime::now", &["server", "app"], "time enters as an argument"),
    ("tokio::time", &["server", "app"], "one timer wheel"),
    ("mqttbytes", &["mqtt::codec"], "its gaps are closed in one place"),
    ("redb::", &["store"], "outside the store there is no file"),
    ("sync_data", &["store"], "outside the store there is no fsync"),
    (
        "sync_all",
        &["store", "auth", "net"],
        "outside the store only small files of settings are synced",
    ),
    (
        "File::create",
        &["store", "auth", "net", "main"],
        "outside the store only small files of settings are written",
    ),
];

const LINES_MAX: usize = 600;
const LINES_AIM: usize = 400;
const NAMES_REFUSED: &[&str] =
    &["util", "utils", "common", "types", "helper", "helpers", "manager", "misc"];

#[test]
fn modules_import_downwards_only() {
    let faults: Vec<String> = sources().iter().flat_map(import_faults).collect();
    assert_none(&faults);
}

#[test]
fn top_modules_import_each_other_without_a_circle() {
    let mut edges: BTreeMap<&str, &[&str]> = BTreeMap::new();
    for (module, imports) in LAYERS {
        edges.insert(module, imports);
    }
    let mut faults = Vec::new();
    for start in edges.keys() {
        let mut open: Vec<&str> = edges[start].to_vec();
        let mut seen = Vec::new();
        while let Some(next) = open.pop() {
            if next == *start {
                faults.push(format!("the layer table lets `{start}` reach itself"));
                break;
            }
            if !seen.contains(&next) {
                seen.push(next);
                open.extend(edges.get(next).copied().unwrap_or(&[]));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_top_module_has_its_layer() {
    let known = |name: &str| LAYERS.iter().any(|(layer, _)| *layer == name);
    let faults: Vec<String> = sources()
        .iter()
        .filter(|source| !known(top(&source.module)))
        .map(|source| {
            format!("{}: `{}` is in no layer of tests/tidy.rs", source.name, top(&source.module))
        })
        .collect();
    assert_none(&faults);
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let mut faults = Vec::new();
    for source in
        sources().iter().filter(|source| PURE.iter().any(|path| covers(path, &source.module)))
    {
        for (number, line) in source.code() {
            for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{number}: `{word}` in a pure module", source.name));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn clocks_files_and_wrapped_crates_stay_where_they_belong() {
    let mut faults = Vec::new();
    for source in &sources() {
        for (word, homes, why) in RESERVED {
            if homes.iter().any(|home| covers(home, &source.module)) {
                continue;
            }
            for (number, _) in source.code().filter(|(_, line)| line.contains(word)) {
                let homes = homes.join(", ");
                faults
                    .push(format!("{}:{number}: `{word}` belongs to {homes}: {why}", source.name));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let sources = sources();
    let mut faults = Vec::new();
    let mut long = 0;
    for source in &sources {
        if !source.text.starts_with("//!") {
            faults.push(format!("{}: begins without `//!`", source.name));
        }
        let last = source.module.rsplit("::").next().unwrap();
        if NAMES_REFUSED.contains(&last) {
            faults.push(format!("{}: `{last}` names nothing", source.name));
        }
        let lines = source.lines_without_tests();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines, at most {LINES_MAX}", source.name));
        }
        long += usize::from(lines > LINES_AIM);
    }
    if long * 10 > sources.len() {
        faults.push(format!(
            "{long} of {} files exceed {LINES_AIM} lines: more than one in ten",
            sources.len()
        ));
    }
    assert_none(&faults);
}

#[test]
fn imports_are_plain() {
    let mut faults = Vec::new();
    for source in &sources() {
        for (number, line) in source.code() {
            if line.contains("crate::{") {
                faults
                    .push(format!("{}:{number}: one `use crate::module::…` a module", source.name));
            }
            if line.trim_start().starts_with("use ") && line.contains("::*;") {
                faults.push(format!(
                    "{}:{number}: a glob import hides where names come from",
                    source.name
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn documents_link_to_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<PathBuf> = Vec::new();
    for folder in [root.to_owned(), root.join("docs"), root.join("certs")] {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    let mut faults = Vec::new();
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            let local = !path.is_empty() && !path.contains("://");
            if local && !document.parent().unwrap().join(path).exists() {
                faults.push(format!("{}: {link} leads nowhere", document.display()));
            }
        }
    }
    assert_none(&faults);
}

fn import_faults(source: &Source) -> Vec<String> {
    let own = top(&source.module);
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == own) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for (number, line) in source.code() {
        for path in paths_into_the_crate(line) {
            let target = top(&path);
            let known = LAYERS.iter().any(|(layer, _)| *layer == target);
            if known && target != own && !allowed.contains(&target) {
                faults.push(format!("{}:{number}: `{own}` may not import `{target}`", source.name));
            }
        }
    }
    faults
}

/// The paths behind each `crate::` or `rialto::` of a line.
fn paths_into_the_crate(line: &str) -> Vec<String> {
    let part_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for root in ["crate::", "rialto::"] {
        for (at, _) in line.match_indices(root) {
            // `my_crate::` is another crate's path.
            if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &line[at + root.len()..];
            let path = rest.split(|c| !part_of_path(c)).next().unwrap();
            found.push(path.trim_end_matches(':').to_owned());
        }
    }
    found
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// Whether `module` is `path` or lies within it.
fn covers(path: &str, module: &str) -> bool {
    module.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// One file of `src/`, not counting files that hold only tests.
struct Source {
    /// Path below `src/`.
    name: String,
    /// Its module path, such as `mqtt::codec::publish`.
    module: String,
    text: String,
}

impl Source {
    /// The number of lines before the inline tests.
    fn lines_without_tests(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines
            .windows(2)
            .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with("mod tests {"));
        tests.unwrap_or(lines.len())
    }

    /// Numbered lines of code: no comments, no inline tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().take(self.lines_without_tests());
        lines
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let described = files.iter().map(|file| {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let module = name.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        Source { name, module, text: fs::read_to_string(file).unwrap() }
    });
    described.filter(|source| !is_test(&source.name)).collect()
}

/// `tests.rs` and everything in a folder `tests/` beside the code it tests.
fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.split('/').any(|part| part == "tests")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
