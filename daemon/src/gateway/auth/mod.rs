//! Who a request is from, and what its caller may do.
//!
//! ```text
//!   headers ─► door ─────────────► caller ─► access ───────────► service
//!   certificate  which key is it?   project,   may these roles     is it there for a caller of
//!                is it the secret?  roles      make this call?     this project? (also the model)
//! ```

pub(crate) mod access;
pub(crate) mod audit;
mod door;
mod noted;

use std::sync::Arc;
use std::time::Duration;

use bravo_model::key::Roles;
use bravo_model::{Code, Name, Refusal, Time};

pub(crate) use audit::Audit;
pub(crate) use door::{Door, Found};
pub(crate) use noted::noted;

/// How often streams see to it that what they were opened with still holds.
pub(crate) const KEY_EVERY: Duration = Duration::from_secs(1);
/// Who nobody knows.
const ANONYMOUS: &str = "anonymous";

/// Who a request is from.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// As the audit log names it: `key:<id>`, `cert:<name>` or `anonymous`.
    pub(crate) actor: Arc<str>,
    /// The project that it is bound to; none: it may see all.
    pub(crate) project: Option<Name>,
    /// What it may do.
    pub(crate) roles: Roles,
    /// The id of the key that it came with.
    pub(crate) key: Option<Name>,
    /// When the certificate expires that it came with, by the wall clock.
    pub(crate) until: Option<Time>,
}

impl Caller {
    /// Where nobody needs to say who they are, anybody may do anything.
    pub(crate) fn anybody() -> Self {
        Self { actor: ANONYMOUS.into(), project: None, roles: Roles::ADMIN, key: None, until: None }
    }

    /// Under what its requests are counted, if it said who it is.
    pub(crate) fn known(&self) -> Option<Arc<str>> {
        (&*self.actor != ANONYMOUS).then(|| self.actor.clone())
    }

    /// Whether what belongs to this project is there for the caller.
    pub(crate) fn sees(&self, project: &Name) -> bool {
        self.project.as_ref().is_none_or(|own| own == project)
    }

    /// Refuses to make something in a project that is not the caller's.
    pub(crate) fn may_write(&self, project: &Name) -> Result<(), Refusal> {
        match &self.project {
            Some(own) if own != project => {
                Err(Refusal::new(Code::PermissionDenied, format!("this key is for project {own} alone")))
            }
            _ => Ok(()),
        }
    }

    /// A caller that is bound to a project need not name it.
    pub(crate) fn fill(&self, project: &mut String) {
        if let Some(own) = self.project.as_ref().filter(|_| project.is_empty()) {
            *project = own.to_string();
        }
    }

    /// Lists show a bound caller its own project alone; false if another one was asked for.
    pub(crate) fn narrow(&self, project: &mut Option<Name>) -> bool {
        match (&self.project, project.as_ref()) {
            (Some(own), Some(asked)) => own == asked,
            (Some(own), None) => {
                *project = Some(own.clone());
                true
            }
            (None, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(project: &str) -> Caller {
        Caller { project: Some(Name::parse("project", project).unwrap()), ..Caller::anybody() }
    }

    #[test]
    fn a_bound_caller_has_its_own_project_and_no_other() {
        let (own, other) = (Name::parse("p", "a").unwrap(), Name::parse("p", "b").unwrap());
        let caller = bound("a");
        assert!(caller.sees(&own) && !caller.sees(&other));
        assert!(caller.may_write(&own).is_ok());
        assert_eq!(caller.may_write(&other).unwrap_err().code, Code::PermissionDenied);
        assert!(Caller::anybody().sees(&other) && Caller::anybody().may_write(&other).is_ok());
    }

    #[test]
    fn lists_are_narrowed_and_names_filled_in() {
        let other = Name::parse("p", "b").unwrap();
        let mut filter = None;
        assert!(bound("a").narrow(&mut filter) && filter.as_ref().is_some_and(|name| name.as_str() == "a"));
        assert!(!bound("a").narrow(&mut Some(other)));
        let (mut blank, mut named) = (String::new(), "b".to_owned());
        bound("a").fill(&mut blank);
        bound("a").fill(&mut named);
        assert_eq!((blank.as_str(), named.as_str()), ("a", "b"));
    }
}
