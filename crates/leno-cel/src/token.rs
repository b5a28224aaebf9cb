//! What an expression's text is made of.

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}, at byte {at}")]
pub struct ParseError {
    /// Where, in bytes from the beginning.
    pub at: usize,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Name(String),
    Int(i64),
    /// The magnitude of the smallest integer, which only a sign before it makes one.
    Smallest,
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Sign(&'static str),
    End,
}
