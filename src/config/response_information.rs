//! Response Information (MQTT5-3.2.2.3.15): a template over who the client is. Part of `config`; pure.

/// Longest template, bytes: what comes of it must fit a topic.
const TEMPLATE_BYTES_MAX: usize = 1024;
const CLIENT_ID: &str = "{clientid}";
const USERNAME: &str = "{username}";

/// Whether `template` is a topic or the front of one, with no more than the two names to fill in. Empty: nothing is sent.
///
/// # Errors
/// What is wrong with it.
pub fn check(template: &str) -> Result<(), &'static str> {
    if template.len() > TEMPLATE_BYTES_MAX {
        return Err("longer than 1,024 bytes");
    }
    let fixed = template.replace(CLIENT_ID, "").replace(USERNAME, "");
    if fixed.contains(['{', '}']) {
        return Err("only {clientid} and {username} can be filled in");
    }
    if fixed.contains(['+', '#', '\0']) {
        return Err("a topic to answer to has no wildcard");
    }
    Ok(())
}

/// What is sent to this client; `None` when there is no template, or a name cannot stand in a topic level.
#[must_use]
pub fn expand(template: &str, client_id: &str, username: &str) -> Option<String> {
    let stands_in = |text: &str| !text.is_empty() && !text.contains(['+', '#', '/', '\0']);
    let fits = |name: &str, text: &str| !template.contains(name) || stands_in(text);
    if template.is_empty() || !fits(CLIENT_ID, client_id) || !fits(USERNAME, username) {
        return None;
    }
    let mut text = String::with_capacity(template.len() + client_id.len() + username.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (name, after) = after.split_once('}')?;
        text.push_str(if name == "clientid" { client_id } else { username });
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// What a client that was told `information` subscribes to.
#[must_use]
pub fn filter(information: &str) -> String {
    if information.ends_with('/') { format!("{information}#") } else { information.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{check, expand, filter};

    #[test]
    fn names_are_filled_in() {
        let expanded = |template| expand(template, "c{1}", "{clientid}");
        assert_eq!(expanded("replies/{clientid}/"), Some("replies/c{1}/".to_owned()));
        assert_eq!(expanded("{username}/{clientid}"), Some("{clientid}/c{1}".to_owned()));
        assert_eq!(expanded("all"), Some("all".to_owned()));
        assert_eq!(expanded(""), None);
        assert_eq!(filter("replies/c/"), "replies/c/#");
        assert_eq!(filter("replies/c"), "replies/c");
    }

    #[test]
    fn a_name_that_is_more_than_a_level_is_not_filled_in() {
        for name in ["", "+", "a#", "a/b"] {
            assert_eq!(expand("r/{clientid}", name, "u"), None, "{name}");
            assert_eq!(expand("r/{username}", "c", name), None, "{name}");
            assert!(expand("r/{username}", name, "u").is_some());
        }
    }

    #[test]
    fn templates_are_checked() {
        for good in ["", "replies/{clientid}/", "{username}", "a"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["{topic}", "a/{clientid", "a/#", "+/{clientid}", "a\0", &"x".repeat(1025)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
