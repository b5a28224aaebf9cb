//! TLS for both sides of the mesh: SPIFFE identities, who is accepted and why
//! not, rustls configurations, and the secrets these are made of, which change
//! while connections are open.
//!
//! One rule holds the crate together: **a configuration is made from values,
//! never from a live store.** A [`Secrets`] snapshot plus a [`ServerTls`] or
//! [`ClientTls`] gives one immutable rustls configuration with its own session
//! store. When a certificate or trust bundle is replaced, new connections get a
//! new configuration; open connections keep theirs. TLS resumption skips the
//! certificate verifier, so a session store that outlived a trust bundle would
//! let peers in that the new bundle refuses; here it cannot.
//!
//! Nothing is process-wide: the crypto provider and the clock are in [`Crypto`]
//! and are passed in.

mod aging;
mod certificate;
mod choice;
mod config;
mod configs;
mod crypto;
mod der;
mod encrypted_key;
mod failure;
mod fingerprint;
mod identity;
mod lineage;
mod ocsp;
mod peer;
mod peer_check;
pub mod pem;
mod revocation;
mod revoked;
mod san;
mod secrets;
mod sniff;
mod spiffe;
mod suites;
mod system;
mod tickets;
mod verify;

pub use aging::{Age, Aging};
pub use certificate::{
    CertificateError, CertificateInfo, OtherName, SubjectAltNames, fingerprint_sha1, fingerprint_sha256,
};
pub use config::{
    ClientAuth, ClientTls, ConfigError, Resumption, ServerCheck, ServerTls, TlsVersion, Versions,
};
pub use configs::{TlsClient, TlsConfigs, TlsServer};
pub use crypto::Crypto;
pub use encrypted_key::EncryptedKeyError;
pub use failure::{HandshakeFailure, PeerError};
pub use fingerprint::fingerprints;
pub use identity::{CertificatePem, Identity, IdentityError, PendingIdentity, TrustBundle};
pub use ocsp::{StapleError, StaplePolicy};
pub use peer::PeerInfo;
pub use peer_check::{PeerCheck, Pin};
pub use revocation::{Revocation, RevocationError};
pub use san::{PatternError, SanKind, SanMatcher, StringMatch};
pub use secrets::{ROOT_CA, SecretSet, Secrets, WORKLOAD_CERTIFICATE};
pub use sniff::{MAX_CLIENT_HELLO, Peek, peek};
pub use spiffe::{SpiffeError, SpiffeId, TrustDomain};
pub use suites::UnsupportedError;
pub use system::{SYSTEM_ROOTS, SystemRootsError};
pub use tickets::{TICKET_KEY_BYTES, TicketKeys};
