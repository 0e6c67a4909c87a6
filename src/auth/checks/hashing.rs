//! One argon2id verification in memory that is used again. Part of `auth::checks`.

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};

/// Memory of a thread that hashes; given back when it has nothing to do.
#[derive(Default)]
pub(super) struct Scratch(Vec<Block>);

impl Scratch {
    /// Whether `password` has this hash, a PHC string; false also for a string that is none, or asks for more than
    /// can be done.
    pub(super) fn matches(&mut self, hash: &str, password: &[u8]) -> bool {
        self.computed(hash, password).unwrap_or(false)
    }

    fn computed(&mut self, hash: &str, password: &[u8]) -> Option<bool> {
        let wanted = PasswordHash::new(hash).ok()?;
        let algorithm = Algorithm::try_from(wanted.algorithm.as_str()).ok()?;
        let version = wanted.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
        let params = Params::try_from(&wanted).ok()?;
        let output = wanted.hash.as_ref()?;
        let blocks = params.block_count();
        if self.0.len() < blocks {
            self.0.try_reserve_exact(blocks - self.0.len()).ok()?;
            self.0.resize(blocks, Block::new());
        }
        let mut computed = vec![0; output.len()];
        let argon2 = Argon2::new(algorithm, version, params);
        let salt = wanted.salt.as_ref()?;
        argon2.hash_password_into_with_memory(password, salt, &mut computed, &mut self.0).ok()?;
        let computed = argon2::password_hash::phc::Output::new(&computed).ok()?;
        // Compared in constant time.
        Some(computed == *output)
    }

    pub(super) fn give_back(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;
    use crate::auth::user_record::hash;

    #[test]
    fn memory_that_was_used_changes_nothing() {
        let mut scratch = Scratch::default();
        let [one, other] = [b"one".as_slice(), b"other"].map(|password| hash(password).unwrap());
        // Of another cost, made by the reference implementation's parameters of its manual.
        let small = "$argon2id$v=19$m=16,t=2,p=1$c29tZXNhbHQxMjM0$";
        for _ in 0..2 {
            assert!(scratch.matches(&one, b"one"));
            assert!(scratch.matches(&other, b"other"));
            assert!(!scratch.matches(&one, b"other"));
            assert!(!scratch.matches(small, b"one"));
            assert!(!scratch.matches("", b""));
            scratch.give_back();
        }
    }
}
