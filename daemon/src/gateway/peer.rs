//! Who is at the other end of a connection, as far as the connection tells.

use std::net::SocketAddr;
use std::sync::Arc;

use bravo_model::Name;
use http::Extensions;

/// The other end of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
}

/// Who a client certificate says that it is; in a request's extensions where one was shown that the client CA signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    /// The project it is for; none: all of them.
    pub(crate) project: Option<Name>,
    /// What it may do: words of [`ClientCertificate::ROLES`].
    pub(crate) roles: Vec<String>,
    /// Its own name.
    pub(crate) name: String,
}

/// Under what a caller's requests are counted: its key or its certificate, if it has a valid one.
pub(crate) fn key_id(extensions: &Extensions) -> Option<Arc<str>> {
    extensions.get::<ClientCertificate>().map(|certificate| {
        let project = certificate.project.as_ref().map_or("*", Name::as_str);
        format!("certificate {project}/{}", certificate.name).into()
    })
}
