//! Routes that could feed each other. Part of `bridge`; pure.
//!
//! No message goes round for ever, whatever the routes: one publish takes each route once, and what came out of a
//! log bears the mark of the route that brought it and does not go back there. But whoever writes two such routes
//! seldom means that.

use std::collections::HashMap;
use std::sync::Arc;

use crate::bridge::into_log::IntoLog;
use crate::bridge::out_of_log::{OutOfLog, Way as Outward};
use crate::bridge::route::{Route, Way};
use crate::model::topic::TopicFilter;

/// Sentences about pairs of routes of which one could carry back what the other brings.
#[must_use]
pub fn overlaps(routes: &[Arc<Route>]) -> Vec<String> {
    let mut into_logs: HashMap<(&str, &str), Vec<(&Route, &IntoLog)>> = HashMap::new();
    let mut into_any: Vec<(&Route, &IntoLog)> = Vec::new();
    for route in routes {
        if let Way::IntoLog(way) = &route.way {
            match way.fixed_log() {
                Some(log) => into_logs.entry((&*route.vhost, log)).or_default().push((route, way)),
                None => into_any.push((route, way)),
            }
        }
    }
    let mut found = Vec::new();
    for route in routes {
        let Way::OutOfLog(OutOfLog { log, way: Outward::Tree { topic, .. }, .. }) = &route.way
        else {
            continue;
        };
        let back = into_logs.get(&(&*route.vhost, &**log)).into_iter().flatten();
        for (other, way) in back.chain(&into_any) {
            if other.vhost == route.vhost && may_match(&way.filter, topic.texts()) {
                found.push(format!(
                    "route `{}` brings what is in the log `{log}` under topics that route `{}` may carry \
                     into it again: those are left alone and counted as `circle`",
                    route.name, other.name
                ));
            }
        }
    }
    found
}

/// Whether `filter` could catch a topic of a template: `None` stands for any text, slashes too.
fn may_match<'a>(filter: &TopicFilter, texts: impl Iterator<Item = Option<&'a str>>) -> bool {
    let mut known = String::new();
    let mut is_whole = true;
    for text in texts {
        match text {
            Some(text) => known.push_str(text),
            None => {
                is_whole = false;
                break;
            }
        }
    }
    if is_whole {
        return filter.matches(&known);
    }
    // Only the levels before the first place are known for sure; the last of them may go on.
    let mut levels: Vec<&str> = known.split('/').collect();
    let begun = levels.pop().unwrap_or_default();
    let mut wanted = filter.levels();
    for level in levels {
        match wanted.next() {
            Some("#") => return true,
            Some("+") => {}
            Some(literal) if literal == level => {}
            Some(_) | None => return false,
        }
    }
    wanted.next().is_some_and(|level| matches!(level, "#" | "+") || level.starts_with(begun))
}

#[cfg(test)]
mod tests {
    use super::overlaps;
    use crate::bridge::file::parse;
    use crate::config::source::Source;

    fn found(filter: &str, into: &str, out_of: &str, topic: &str) -> usize {
        let text = format!(
            "[[route]]\nname = \"in\"\nfrom = {{ mqtt = \"{filter}\" }}\nto = {{ log = \"{into}\" }}\n\
             [[route]]\nname = \"out\"\nfrom = {{ log = \"{out_of}\" }}\nto = {{ mqtt = \"{topic}\" }}\n"
        );
        overlaps(&parse(Source::named("r.toml", text)).unwrap()).len()
    }

    #[test]
    fn routes_that_could_feed_each_other_are_found() {
        for (filter, into, out_of, topic) in [
            ("#", "l", "l", "{key}"),
            ("dev/#", "l", "l", "dev/{key}/cmd"),
            ("dev/+/cmd", "l", "l", "dev/{key}/cmd"),
            ("dev/+/#", "x-{1}", "l", "dev/{key}"),
            ("dev/a", "l", "l", "dev/a"),
            ("dev/abc/+", "l", "l", "dev/a{key}"),
        ] {
            assert_eq!(found(filter, into, out_of, topic), 1, "{filter} {into} {out_of} {topic}");
        }
        for (filter, into, out_of, topic) in [
            ("dev/#", "other", "l", "dev/{key}"),
            ("dev/#", "l", "l", "cmd/{key}"),
            ("dev", "l", "l", "dev/{key}"),
            ("dev/b", "l", "l", "dev/a"),
            ("dev/b", "l", "l", "dev/a{key}"),
        ] {
            assert_eq!(found(filter, into, out_of, topic), 0, "{filter} {into} {out_of} {topic}");
        }
    }
}
