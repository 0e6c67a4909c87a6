//! Access rules: an ordered list, the first rule that matches decides. Part of `auth`; pure.
//!
//! - No rules at all: everything is allowed. With rules, what no rule matches is denied.
//! - **Publishing** to a topic: the first rule whose filter matches the topic.
//! - **Subscribing** to a filter: the rules are asked in order. A *deny* decides when its filter and the
//!   requested one have any topic in common; an *allow* decides when its filter covers every topic of the
//!   requested one. An allow that covers only a part decides nothing. So every topic that a granted
//!   subscription can deliver would be allowed on its own, and a subscription may be refused although each of
//!   its topics is allowed by some rule: ask for less, or write one rule that covers it.
//! - The `$share/<group>/` in front of a shared subscription's filter is not part of it (MQTT5-4.8.2).
//! - A leading wildcard, in a rule as in a subscription, does not speak of `$`-topics [MQTT-4.7.2-1]; a rule
//!   about them names them.
//! - `%u` (user name) and `%c` (client identifier) may stand in any level of a rule's filter. A value that
//!   could change the filter's shape (empty, with `+`, `#`, `/` or NUL, or with `$` where the filter begins)
//!   and the name of somebody who has not logged in are not put in: then an allow does not match, and a deny
//!   matches whatever stands at that level. What a client calls itself never widens what it may do.
//! - **Logs** (Kafka topics), **groups** of their readers, **exchanges** and **queues** have rules of their own, by
//!   name or prefix.

mod name;

use std::borrow::Cow;

use crate::auth::filter_set::{covers, meets};
use crate::auth::principal::{Principal, is_user_name};
use crate::model::topic::{TopicFilter, matches};

use self::name::NamePattern;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to a topic or exchange; produce to or create a log; bind to a queue or exchange.
    Publish,
    /// Subscribe to a filter; fetch or describe a log; join a group, commit and see its offsets; consume from a
    /// queue; bind from an exchange.
    Subscribe,
    /// Declare or delete an exchange or queue; delete or change a log; delete a group or its offsets.
    Configure,
}

/// What is known by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// An exchange; the default one is `amq.default`.
    Exchange(&'a str),
    /// A declared queue.
    Queue(&'a str),
    /// A consumer group.
    Group(&'a str),
}

/// The answer, and the rule that gave it, counted from 0 in the order of the file; `None`: no rule matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may be done.
    pub allowed: bool,
    /// Which rule said so.
    pub rule: Option<usize>,
}

/// One rule as written; [`Acl::compile`] checks it.
#[derive(Clone, Copy, Debug)]
pub struct RuleSpec<'a> {
    /// Whom it allows: a user, `*` or `%anonymous`. Exactly one of `allow` and `deny`.
    pub allow: Option<&'a str>,
    /// Whom it denies.
    pub deny: Option<&'a str>,
    /// Whether it is about publishing.
    pub publish: bool,
    /// Whether it is about subscribing.
    pub subscribe: bool,
    /// Whether it is about declaring, changing and deleting; not for topics.
    pub configure: bool,
    /// Topic filter with `%u` and `%c`. Exactly one of `filter`, `log`, `group`, `exchange` and `queue`.
    pub filter: Option<&'a str>,
    /// Log name, or prefix and `*`.
    pub log: Option<&'a str>,
    /// Name of a consumer group, or prefix and `*`.
    pub group: Option<&'a str>,
    /// Exchange name, or prefix and `*`; `amq.default` is the default one.
    pub exchange: Option<&'a str>,
    /// Queue name, or prefix and `*`.
    pub queue: Option<&'a str>,
    /// A vhost, or `*`.
    pub vhost: &'a str,
}

/// Compiled rules.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    allow: bool,
    who: Who,
    publish: bool,
    subscribe: bool,
    configure: bool,
    /// `None` is every vhost.
    vhost: Option<Box<str>>,
    object: Object,
}

#[derive(Clone, Debug)]
enum Who {
    Everybody,
    Anonymous,
    User(Box<str>),
}

#[derive(Clone, Debug)]
enum Object {
    /// A filter, and whether it holds `%u` or `%c`.
    Topics(Box<str>, bool),
    Log(NamePattern),
    Group(NamePattern),
    Exchange(NamePattern),
    Queue(NamePattern),
}

impl Acl {
    /// Compiles rules in their order.
    ///
    /// # Errors
    /// The first rule at fault, by its number from 0, and why.
    pub fn compile<'a>(
        specs: impl IntoIterator<Item = RuleSpec<'a>>,
    ) -> Result<Self, (usize, &'static str)> {
        let compiled = specs.into_iter().enumerate();
        let rules: Result<_, _> =
            compiled.map(|(index, spec)| Rule::new(spec).map_err(|why| (index, why))).collect();
        Ok(Self { rules: rules? })
    }

    /// Whether one rule would compile.
    ///
    /// # Errors
    /// Why not.
    pub fn check(spec: RuleSpec<'_>) -> Result<(), &'static str> {
        Rule::new(spec).map(drop)
    }

    /// Whether there are no rules, so that every answer is yes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `who`, connected as `client_id`, may publish to a topic or subscribe to a filter of `vhost`.
    #[must_use]
    pub fn allows(
        &self,
        who: &Principal,
        client_id: &str,
        action: Action,
        vhost: &str,
        topic_or_filter: &str,
    ) -> Verdict {
        let asked = match action {
            Action::Publish | Action::Configure => topic_or_filter,
            Action::Subscribe => without_share(topic_or_filter),
        };
        self.decide(who, action, vhost, |rule| {
            let Object::Topics(filter, has_names) = &rule.object else { return false };
            let filter = match has_names {
                false => Cow::Borrowed(&**filter),
                true => match with_names(filter, who, client_id, rule.allow) {
                    Some(filter) => Cow::Owned(filter),
                    None => return false,
                },
            };
            match (action, rule.allow) {
                (Action::Configure, _) => false,
                (Action::Publish, _) => matches(&filter, asked),
                (Action::Subscribe, true) => covers(&filter, asked),
                (Action::Subscribe, false) => meets(&filter, asked),
            }
        })
    }

    /// Whether `who` may write to (publish), read (subscribe) or change (configure) the log `name` of `vhost`.
    #[must_use]
    pub fn allows_log(&self, who: &Principal, action: Action, vhost: &str, name: &str) -> Verdict {
        self.decide(
            who,
            action,
            vhost,
            |rule| matches!(&rule.object, Object::Log(log) if log.matches(name)),
        )
    }

    /// Whether a rule allows `who` to write to some log of `vhost`, as an idempotent producer must before it says to
    /// which (KIP-679). A rule before it may still deny each that it speaks of.
    #[must_use]
    pub fn allows_some_log(&self, who: &Principal, vhost: &str) -> bool {
        let is_log = |rule: &Rule| rule.allow && matches!(rule.object, Object::Log(_));
        self.decide(who, Action::Publish, vhost, is_log).allowed
    }

    /// Whether `who` may do `action` with an exchange, queue or group of `vhost`.
    #[must_use]
    pub fn allows_resource(
        &self,
        who: &Principal,
        action: Action,
        vhost: &str,
        resource: Resource<'_>,
    ) -> Verdict {
        self.decide(who, action, vhost, |rule| match (&rule.object, resource) {
            (Object::Exchange(own), Resource::Exchange(name))
            | (Object::Queue(own), Resource::Queue(name))
            | (Object::Group(own), Resource::Group(name)) => own.matches(name),
            (
                Object::Topics(..)
                | Object::Log(_)
                | Object::Group(_)
                | Object::Exchange(_)
                | Object::Queue(_),
                _,
            ) => false,
        })
    }

    fn decide(
        &self,
        who: &Principal,
        action: Action,
        vhost: &str,
        speaks_of: impl Fn(&Rule) -> bool,
    ) -> Verdict {
        if self.rules.is_empty() {
            return Verdict { allowed: true, rule: None };
        }
        let first = self.rules.iter().enumerate().find(|(_, rule)| {
            rule.concerns(who, action)
                && rule.vhost.as_deref().is_none_or(|own| own == vhost)
                && speaks_of(rule)
        });
        match first {
            Some((index, rule)) => Verdict { allowed: rule.allow, rule: Some(index) },
            None => Verdict { allowed: false, rule: None },
        }
    }
}

impl Rule {
    fn new(spec: RuleSpec<'_>) -> Result<Self, &'static str> {
        let (allow, who) = match (spec.allow, spec.deny) {
            (Some(who), None) => (true, who),
            (None, Some(who)) => (false, who),
            _ => return Err("a rule has exactly one of `allow` and `deny`"),
        };
        let who = match who {
            "*" => Who::Everybody,
            "%anonymous" => Who::Anonymous,
            name if is_user_name(name) => Who::User(name.into()),
            _ => return Err("`allow` and `deny` name a user, `*` (everybody) or `%anonymous`"),
        };
        let object = Object::new(&spec)?;
        let RuleSpec { publish, subscribe, configure, .. } = spec;
        match object {
            Object::Topics(..) if !publish && !subscribe => {
                return Err(
                    "`configure` is for rules about a `log`, `group`, `exchange` or `queue`",
                );
            }
            Object::Group(_) if !subscribe && !configure => {
                return Err("nobody publishes to a `group`: `subscribe` or `configure`");
            }
            Object::Topics(..)
            | Object::Group(_)
            | Object::Log(_)
            | Object::Exchange(_)
            | Object::Queue(_) => {}
        }
        let vhost = match spec.vhost {
            "" => return Err("`vhost` is empty: `/` is the default one, `*` each"),
            "*" => None,
            name => Some(name.into()),
        };
        Ok(Self { allow, who, publish, subscribe, configure, vhost, object })
    }

    fn concerns(&self, who: &Principal, action: Action) -> bool {
        let action = match action {
            Action::Publish => self.publish,
            Action::Subscribe => self.subscribe,
            Action::Configure => self.configure,
        };
        action
            && match &self.who {
                Who::Everybody => true,
                Who::Anonymous => who.anonymous,
                Who::User(name) => !who.anonymous && **name == *who.name,
            }
    }
}

impl Object {
    fn new(spec: &RuleSpec<'_>) -> Result<Self, &'static str> {
        match (spec.filter, spec.log, spec.group, spec.exchange, spec.queue) {
            (Some(filter), None, None, None, None) => {
                check_filter(filter)?;
                Ok(Self::Topics(filter.into(), filter.contains('%')))
            }
            (None, Some(log), None, None, None) => log_object(log),
            (None, None, Some(group), None, None) => NamePattern::parse(group)
                .map(Self::Group)
                .ok_or("`group` is a name or a prefix and `*`"),
            (None, None, None, Some(exchange), None) => {
                NamePattern::parse(exchange).map(Self::Exchange).ok_or(
                    "`exchange` is a name or a prefix and `*`; the default one is `amq.default`",
                )
            }
            (None, None, None, None, Some(queue)) => NamePattern::parse(queue)
                .map(Self::Queue)
                .ok_or("`queue` is a name or a prefix and `*`"),
            _ => Err("a rule has exactly one of `filter`, `log`, `group`, `exchange` and `queue`"),
        }
    }
}

/// The filter inside `$share/<group>/<filter>`; others unchanged.
fn without_share(filter: &str) -> &str {
    let inner = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    inner.map_or(filter, |(_, filter)| filter)
}

/// `filter` with `%u` and `%c` replaced; see the module's head for values that are not put in.
fn with_names(filter: &str, who: &Principal, client_id: &str, allow: bool) -> Option<String> {
    let user = who.login();
    let mut levels = Vec::new();
    for (index, level) in filter.split('/').enumerate() {
        let fits = |name: &str, value: &str| {
            let shapes = value.is_empty() || value.contains(['+', '#', '/', '\0']);
            let hidden = index == 0 && level.starts_with(name) && value.starts_with('$');
            !level.contains(name) || !(shapes || hidden)
        };
        if fits("%u", user) && fits("%c", client_id) {
            levels.push(Cow::Owned(replaced(level, user, client_id)));
        } else if allow {
            return None;
        } else {
            levels.push(Cow::Borrowed("+"));
        }
    }
    Some(levels.join("/"))
}

/// One pass, so that a user called `%c` stays that.
fn replaced(level: &str, user: &str, client_id: &str) -> String {
    let mut parts = level.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // The filter was checked: `u` or `c` follows each `%`.
        match (part.strip_prefix('u'), part.strip_prefix('c')) {
            (Some(rest), _) => text.extend([user, rest]),
            (None, Some(rest)) => text.extend([client_id, rest]),
            (None, None) => text.extend(["%", part]),
        }
    }
    text
}

fn check_filter(filter: &str) -> Result<(), &'static str> {
    let parsed = TopicFilter::parse(filter)
        .map_err(|_| "`filter` is no topic filter: `+` fills a whole level, `#` the last one")?;
    if parsed.share_group().is_some() {
        return Err("`filter` speaks of topics: leave `$share/<group>/` out");
    }
    if filter.split('%').skip(1).any(|rest| !rest.starts_with(['u', 'c'])) {
        return Err("`filter`: only `u` or `c` may follow `%`");
    }
    Ok(())
}

fn log_object(log: &str) -> Result<Object, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match NamePattern::parse(log) {
        Some(pattern) if pattern.text().chars().all(plain) => Ok(Object::Log(pattern)),
        _ => Err("`log` is the name of a log (letters, digits, `.`, `_`, `-`) or a prefix and `*`"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
