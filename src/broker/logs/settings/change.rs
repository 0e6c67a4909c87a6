//! What administrators ask for: other settings. Part of `broker/logs/settings`; pure.

use super::known::{Kind, Known};
use super::{LogSettings, SettingFault};

/// A change of what is set on a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsChange {
    /// This, and nothing else, is set from now on.
    Replace(Vec<(String, String)>),
    /// One after the other, over what is set.
    Edit(Vec<(String, Edit)>),
}

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// To this value.
    Set(String),
    /// To the default.
    Delete,
    /// By further words; for lists.
    Append(String),
    /// By words less; for lists.
    Subtract(String),
}

impl SettingsChange {
    /// What is set afterwards, by name, where `set` was before.
    ///
    /// # Errors
    /// The first setting that is refused.
    pub fn over(
        &self,
        set: &[(String, String)],
        defaults: &LogSettings,
    ) -> Result<Vec<(String, String)>, SettingFault> {
        let mut after: Vec<(String, String)> = Vec::new();
        match self {
            Self::Replace(all) => all.iter().for_each(|(name, value)| put(&mut after, name, value)),
            Self::Edit(edits) => {
                after.extend_from_slice(set);
                for (name, edit) in edits {
                    carry_out(&mut after, name, edit, defaults)?;
                }
            }
        }
        defaults.with(after.iter().map(|(name, value)| (&**name, &**value)))?;
        after.sort();
        Ok(after)
    }
}

fn carry_out(
    set: &mut Vec<(String, String)>,
    name: &str,
    edit: &Edit,
    defaults: &LogSettings,
) -> Result<(), SettingFault> {
    let fault = |reason| SettingFault { name: name.to_owned(), reason };
    match edit {
        Edit::Set(value) => put(set, name, value),
        Edit::Delete => set.retain(|(other, _)| other != name),
        Edit::Append(words) | Edit::Subtract(words) => {
            let known = Known::of(name).ok_or_else(|| fault("unknown setting"))?;
            if known.kind != Kind::List {
                return Err(fault("only a list can be appended to or subtracted from"));
            }
            let current = set.iter().find(|(other, _)| other == name);
            let current =
                current.map_or_else(|| known.default_text(defaults), |(_, value)| value.clone());
            let mut list: Vec<&str> = split(&current).collect();
            for word in split(words) {
                let at = list.iter().position(|other| *other == word);
                match (edit, at) {
                    (Edit::Subtract(_), Some(at)) => drop(list.remove(at)),
                    (Edit::Append(_), None) => list.push(word),
                    _ => {}
                }
            }
            put(set, name, &list.join(","));
        }
    }
    Ok(())
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn put(set: &mut Vec<(String, String)>, name: &str, value: &str) {
    set.retain(|(other, _)| other != name);
    set.push((name.to_owned(), value.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::super::LogSettings;
    use super::{Edit, SettingsChange};

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn edited(set: &[(&str, &str)], edits: &[(&str, Edit)]) -> Option<Vec<(String, String)>> {
        let edits = edits.iter().map(|(name, edit)| ((*name).to_owned(), edit.clone())).collect();
        SettingsChange::Edit(edits).over(&pairs(set), &LogSettings::default()).ok()
    }

    #[test]
    fn edits_go_over_what_is_set() {
        let set = [("retention.ms", "5"), ("segment.ms", "6")];
        let after = edited(
            &set,
            &[
                ("retention.ms", Edit::Set("7".into())),
                ("segment.ms", Edit::Delete),
                ("max.message.bytes", Edit::Set("8".into())),
            ],
        );
        assert_eq!(after, Some(pairs(&[("max.message.bytes", "8"), ("retention.ms", "7")])));
        assert_eq!(edited(&set, &[("retention.bytes", Edit::Set("x".into()))]), None);
        assert_eq!(edited(&set, &[("unknown", Edit::Delete)]), Some(pairs(&set)));
    }

    #[test]
    fn only_lists_are_appended_to() {
        let append = |word: &str| Edit::Append(word.to_owned());
        assert_eq!(edited(&[], &[("retention.ms", append("1"))]), None);
        assert_eq!(edited(&[], &[("cleanup.policy", append("compact"))]), None);
        let same = edited(&[], &[("cleanup.policy", append("delete"))]);
        assert_eq!(same, Some(pairs(&[("cleanup.policy", "delete")])));
        let none = edited(&[], &[("cleanup.policy", Edit::Subtract("delete".into()))]);
        assert_eq!(none, None, "a log has a policy");
    }

    #[test]
    fn a_replacement_forgets_the_rest() {
        let change = SettingsChange::Replace(pairs(&[("segment.ms", "5"), ("segment.ms", "6")]));
        let after = change.over(&pairs(&[("retention.ms", "1")]), &LogSettings::default());
        assert_eq!(after, Ok(pairs(&[("segment.ms", "6")])));
    }
}
