//! Who a client certificate is for: `bravo://client/<project or *>/<roles joined by +>/<name>`.

use bravo_model::key::{Role, Roles};
use bravo_model::{Code, Name, Refusal};

/// What the URI begins with.
const PREFIX: &str = "bravo://client/";
/// Stands for all projects.
const ALL: &str = "*";
/// Bytes of a name, which is part of a file's name too.
const NAME_BYTES_MAX: usize = 100;

/// The holder of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName {
    /// The project it is for; none: all of them.
    pub project: Option<Name>,
    /// What it may do.
    pub roles: Roles,
    /// Its own name: letters, digits and `. _ - @`.
    pub name: String,
}

impl ClientName {
    /// Checks and makes a name.
    pub fn new<'a>(
        name: &str,
        project: Option<&str>,
        roles: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Refusal> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
            let detail = format!("name: 1 to {NAME_BYTES_MAX} letters, digits and . _ - @");
            return Err(Refusal::new(Code::InvalidArgument, detail));
        }
        let roles = Roles::parse(roles)?;
        let project = project.map(|project| Name::parse("project", project)).transpose()?;
        Ok(Self { project, roles, name: name.into() })
    }

    /// The URI in the certificate.
    pub fn uri(&self) -> String {
        let project = self.project.as_ref().map_or(ALL, Name::as_str);
        let roles: Vec<&str> = self.roles.iter().map(Role::as_str).collect();
        format!("{PREFIX}{project}/{}/{}", roles.join("+"), self.name)
    }

    /// Reads the URI; none if it is no client's. A project may have slashes in it, the rest has none.
    pub fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix(PREFIX)?.rsplitn(3, '/');
        let (name, roles, project) = (parts.next()?, parts.next()?, parts.next()?);
        Self::new(name, (project != ALL).then_some(project), roles.split('+')).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_its_uri() {
        for (project, roles, uri) in [
            (Some("shop/eu"), vec!["work", "enqueue"], "bravo://client/shop/eu/enqueue+work/ci-1"),
            (None, vec!["admin", "admin"], "bravo://client/*/admin/ci-1"),
        ] {
            let name = ClientName::new("ci-1", project, roles).unwrap();
            assert_eq!(name.uri(), uri);
            assert_eq!(ClientName::parse(uri), Some(name));
        }
    }

    #[test]
    fn what_is_no_clients_name_is_none() {
        for bad in [
            "bravo://node/1",
            "bravo://client/shop/enqueue",
            "bravo://client/shop//ci",
            "bravo://client//read/ci",
            "bravo://client/shop/root/ci",
            "bravo://client/shop/read/",
            "bravo://client/shop/read/c i",
            "https://client/shop/read/ci",
        ] {
            assert_eq!(ClientName::parse(bad), None, "{bad}");
        }
    }
}
