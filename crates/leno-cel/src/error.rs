//! What may go wrong in an evaluation, and what is too much.

/// No text is made that is longer.
pub const MOST_BYTES: usize = 64 << 10;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no such field, key or index")]
    Missing,
    #[error("no such variable")]
    NoVariable,
    #[error("not for values of these types")]
    Types,
    #[error("division by zero")]
    DivisionByZero,
    #[error("out of range")]
    Range,
    #[error("not a text of that form")]
    Form,
    #[error("too large")]
    TooLarge,
}

/// Whether a text of this length may be made.
pub(crate) fn fits(length: usize) -> Result<(), Error> {
    match length <= MOST_BYTES {
        true => Ok(()),
        false => Err(Error::TooLarge),
    }
}
