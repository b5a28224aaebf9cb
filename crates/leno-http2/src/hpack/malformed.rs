//! The one error of decompression.

/// A block that cannot be decompressed: the connection is lost (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field section that cannot be decompressed")]
pub struct Malformed;
