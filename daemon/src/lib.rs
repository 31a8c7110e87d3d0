//! bravod: one node of a Bravo cluster.
