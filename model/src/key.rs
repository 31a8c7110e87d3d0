//! API keys: who may do what, in which project.
//!
//! A key is written `bravo_<id>_<secret>`. The state keeps its keyed hash alone (BLAKE3, 32 bytes); the secret
//! has 256 random bits, is told once, and is nowhere in the state, the log or the snapshots.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::limits;

/// What a caller may do. Whoever may nothing by a role may do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Makes jobs, workflows and artifacts, and cancels, retries and signals them.
    Enqueue,
    /// Leases jobs and ends them, reads and writes artifacts.
    Work,
    /// Reads.
    Read,
    /// Everything, in the key's project; everything in the cluster if the key is for all projects.
    Admin,
}

impl Role {
    /// All there are.
    pub const ALL: [Role; 4] = [Role::Enqueue, Role::Work, Role::Read, Role::Admin];

    /// The word of the interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Enqueue => "enqueue",
            Role::Work => "work",
            Role::Read => "read",
            Role::Admin => "admin",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| {
            let detail = format!("roles: {text:?} is none; they are enqueue, work, read and admin");
            Refusal::new(Code::InvalidArgument, detail)
        })
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles(u8);

impl Roles {
    /// Everything.
    pub const ADMIN: Roles = Roles::of(&[Role::Admin]);

    /// These roles.
    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut place) = (0, 0);
        while place < roles.len() {
            bits |= 1 << roles[place] as u8;
            place += 1;
        }
        Self(bits)
    }

    /// Reads words; at least one.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Refusal> {
        let roles = words.into_iter().map(Role::parse).collect::<Result<Vec<_>, _>>()?;
        if roles.is_empty() {
            return Err(Refusal::new(Code::InvalidArgument, "roles: at least one of enqueue, work, read and admin"));
        }
        Ok(Self::of(&roles))
    }

    /// Whether it is among them.
    pub fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether one of those that would do is among them; an admin's always does.
    pub fn suffice_for(self, any_of: Roles) -> bool {
        self.has(Role::Admin) || self.0 & any_of.0 != 0
    }

    /// Those that are in it.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

/// A keyed hash of a secret. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// A key as the meta group keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The middle of the key, by which it is found.
    pub id: Name,
    /// What people call it.
    pub name: String,
    /// The project that it is for; all of them if absent.
    pub project: Option<Name>,
    /// What it may be used for.
    pub roles: Roles,
    /// Of its secret.
    pub hash: SecretHash,
    /// When it was made.
    pub created_at: Time,
    /// Who made it.
    pub created_by: String,
    /// From then on it is refused.
    pub expires_at: Option<Time>,
    /// When it was used last, give or take a minute.
    pub used_at: Option<Time>,
}

/// A key that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// See [`ApiKey::id`].
    pub id: Name,
    /// 1 to [`limits::TITLE_BYTES_MAX`] bytes.
    pub name: String,
    /// See [`ApiKey::project`].
    pub project: Option<Name>,
    /// At least one.
    pub roles: Roles,
    /// See [`ApiKey::hash`].
    pub hash: SecretHash,
    /// Who makes it.
    pub created_by: String,
    /// Not before now.
    pub expires_at: Option<Time>,
}

impl NewKey {
    /// Whether it may be kept.
    pub fn validate(&self) -> Result<(), Refusal> {
        if self.name.is_empty() || self.name.len() > limits::TITLE_BYTES_MAX {
            let detail = format!("name: 1 to {} bytes", limits::TITLE_BYTES_MAX);
            return Err(Refusal::new(Code::InvalidArgument, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_and_told_by_their_words() {
        let roles = Roles::parse(["read", "work", "read"]).unwrap();
        assert_eq!(roles.iter().map(Role::as_str).collect::<Vec<_>>(), ["work", "read"]);
        assert!(Roles::parse(["root"]).is_err() && Roles::parse([]).is_err());
    }

    #[test]
    fn an_admin_may_what_others_may_and_not_the_other_way_round() {
        assert!(Roles::ADMIN.suffice_for(Roles::of(&[Role::Read])));
        assert!(!Roles::of(&[Role::Read, Role::Work, Role::Enqueue]).suffice_for(Roles::ADMIN));
        assert!(Roles::of(&[Role::Work]).suffice_for(Roles::of(&[Role::Read, Role::Work])));
        assert!(!Roles::default().suffice_for(Roles::of(&Role::ALL)));
    }

    #[test]
    fn a_hash_is_never_printed() {
        assert_eq!(format!("{:?}", SecretHash([7; 32])), "SecretHash(…)");
    }
}
