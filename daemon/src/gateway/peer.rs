//! Who is at the other end of a connection, as far as the connection tells.

use std::net::SocketAddr;

use bravo_model::key::Roles;
use bravo_model::{Name, Time};

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
    /// What it may do.
    pub(crate) roles: Roles,
    /// Its own name.
    pub(crate) name: String,
    /// When it expires.
    pub(crate) until: Time,
}
