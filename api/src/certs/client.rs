//! Who a client certificate is for: `bravo://client/<project or *>/<roles joined by +>/<name>`.

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
    /// What it may do: some of [`ClientName::ROLES`], each once, in their order.
    pub roles: Vec<String>,
    /// Its own name: letters, digits and `. _ - @`.
    pub name: String,
}

impl ClientName {
    /// What a client can be allowed.
    pub const ROLES: [&'static str; 4] = ["enqueue", "work", "read", "admin"];

    /// Checks and makes a name.
    pub fn new(name: &str, project: Option<&str>, roles: &[String]) -> Result<Self, Refusal> {
        let refuse = |detail: String| Refusal::new(Code::InvalidArgument, detail);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(refuse(format!("name: 1 to {NAME_BYTES_MAX} letters, digits and . _ - @")));
        }
        if let Some(strange) = roles.iter().find(|role| !Self::ROLES.contains(&role.as_str())) {
            return Err(refuse(format!("roles: {strange:?} is none of {}", Self::ROLES.join(", "))));
        }
        let wanted = |role: &&str| roles.iter().any(|given| given == role);
        let roles: Vec<String> = Self::ROLES.iter().filter(|role| wanted(role)).map(ToString::to_string).collect();
        if roles.is_empty() {
            return Err(refuse(format!("roles: at least one of {}", Self::ROLES.join(", "))));
        }
        let project = project.map(|project| Name::parse("project", project)).transpose()?;
        Ok(Self { project, roles, name: name.into() })
    }

    /// The URI in the certificate.
    pub fn uri(&self) -> String {
        let project = self.project.as_ref().map_or(ALL, Name::as_str);
        format!("{PREFIX}{project}/{}/{}", self.roles.join("+"), self.name)
    }

    /// Reads the URI; none if it is no client's. A project may have slashes in it, the rest has none.
    pub fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix(PREFIX)?.rsplitn(3, '/');
        let (name, roles, project) = (parts.next()?, parts.next()?, parts.next()?);
        let roles: Vec<String> = roles.split('+').map(str::to_owned).collect();
        Self::new(name, (project != ALL).then_some(project), &roles).ok()
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
            let roles: Vec<String> = roles.into_iter().map(str::to_owned).collect();
            let name = ClientName::new("ci-1", project, &roles).unwrap();
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
