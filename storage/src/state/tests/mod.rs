//! Stories about the state store.

mod differential;
