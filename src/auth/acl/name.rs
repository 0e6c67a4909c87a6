//! Names in access rules: one, or all with a prefix. Part of `auth::acl`; pure.

/// A name, or a prefix followed by `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamePattern {
    One(Box<str>),
    Prefix(Box<str>),
}

impl NamePattern {
    /// `None` when it is empty; `*` alone is every name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('*') {
            Some(prefix) => Some(Self::Prefix(prefix.into())),
            None if text.is_empty() => None,
            None => Some(Self::One(text.into())),
        }
    }

    /// The name or prefix itself.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::One(text) | Self::Prefix(text) => text,
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::One(own) => **own == *name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}
