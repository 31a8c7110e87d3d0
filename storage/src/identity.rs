//! Who this node is.
