//! Bravo's public contract: protobuf services, JSON bodies, error codes.
