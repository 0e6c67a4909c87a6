//! Who is in a group, in the order in which they came. Part of `broker::groups::group`.

use std::collections::BTreeMap;

use ahash::AHashMap;

use crate::broker::groups::group::member::Member;

/// Members by id, by instance id, and in the order of their coming.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    members: BTreeMap<u64, Member>,
    places: AHashMap<String, u64>,
    /// Member ids of static members.
    instances: AHashMap<String, String>,
    next_place: u64,
}

impl Roster {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member with that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Member> {
        self.members.get(self.places.get(id)?)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(self.places.get(id)?)
    }

    /// The member id that holds an instance id.
    #[must_use]
    pub fn instance(&self, instance_id: &str) -> Option<&str> {
        self.instances.get(instance_id).map(String::as_str)
    }

    /// Takes `member` in, as the last. Its id is new.
    pub fn add(&mut self, member: Member) {
        if let Some(instance) = &member.profile.instance_id {
            self.instances.insert(instance.clone(), member.profile.id.clone());
        }
        self.places.insert(member.profile.id.clone(), self.next_place);
        self.members.insert(self.next_place, member);
        self.next_place += 1;
    }

    /// Takes a member out.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(&self.places.remove(id)?)?;
        if let Some(instance) = &member.profile.instance_id
            && self.instance(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        Some(member)
    }

    /// Gives the member `old` the id `new`; it keeps its place.
    pub fn rename(&mut self, old: &str, new: &str) {
        let Some(place) = self.places.remove(old) else { return };
        self.places.insert(new.to_owned(), place);
        if let Some(member) = self.members.get_mut(&place) {
            new.clone_into(&mut member.profile.id);
            if let Some(instance) = &member.profile.instance_id {
                self.instances.insert(instance.clone(), new.to_owned());
            }
        }
    }

    /// All, in the order of their coming.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// All, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    /// Ids of the members for which `fits` says so.
    pub fn ids(&self, fits: impl Fn(&Member) -> bool) -> Vec<String> {
        self.iter().filter(|it| fits(it)).map(|it| it.profile.id.clone()).collect()
    }

    /// The protocol that most would choose among those that all speak; of two with equal votes the one that the
    /// oldest member prefers.
    #[must_use]
    pub fn elect_protocol(&self) -> Option<String> {
        let oldest = self.iter().next()?;
        let candidates: Vec<&str> = oldest
            .profile
            .protocols
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| self.iter().all(|member| member.profile.speaks(name)))
            .collect();
        let mut votes = vec![0_usize; candidates.len()];
        for member in self.iter() {
            let names = member.profile.protocols.iter().map(|(name, _)| name);
            let choice =
                names.filter_map(|name| candidates.iter().position(|it| it == name)).next();
            if let Some(count) = choice.and_then(|choice| votes.get_mut(choice)) {
                *count += 1;
            }
        }
        let most = votes.iter().copied().max()?;
        let at = votes.iter().position(|count| *count == most)?;
        candidates.get(at).map(|name| (*name).to_owned())
    }
}
