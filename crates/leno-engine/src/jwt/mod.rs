//! JSON Web Tokens (RFC 7519) and the sets of keys that verify them, given or fetched.

mod failure;
mod keys;
mod remote;
mod token;

pub use failure::Failure;
pub use keys::{KeySet, MOST_SET};
pub use remote::{Found, Place, Remote, Remotes, Turn};
pub use token::{Algorithm, MOST_TOKEN, Token};
