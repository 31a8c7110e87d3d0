//! Stories about the state store.

mod differential;
mod measure;
mod stories;
