//! Issuing identities: the certificate authority and the join tokens that let a
//! workload ask it.
//!
//! Only the control plane depends on this crate; a proxy cannot sign. What has to
//! survive a restart is in the state directory, written so that a crash or a full
//! disk leaves the old file whole ([`state`]).
//!
//! Time is passed in; randomness (keys, serial numbers, tokens) is the system's.

mod authority;
mod ca_files;
mod request;
mod revocation;
mod rotation;
pub mod state;
mod token;
mod token_store;

pub use authority::{
    Authority, AuthorityCertificate, AuthorityRole, IssueError, IssuedCertificate, Lifetimes,
    ServerCertificate,
};
pub use ca_files::{CaError, Origin};
pub use request::{CsrError, SigningRequest};
pub use revocation::{RevocationError, Revocations};
pub use rotation::{RotationError, Stage};
pub use token::{Binding, TokenClaims, TokenError};
pub use token_store::{TokenGrant, TokenStore, TokenStoreError};
