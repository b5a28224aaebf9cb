//! Why a control plane does not start, and the codes of what it logs while it runs (LN05xx).

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use leno_ca::state::StateError;
use leno_ca::{CaError, IssueError, RevocationError, TokenStoreError};
use leno_tls::{ConfigError, IdentityError, SpiffeError};

/// The option of `leno control` that moves a port.
fn flag(what: &str) -> &'static str {
    match what {
        "admin" => "--admin-port",
        "plaintext xDS" => "--plaintext-port",
        _ => "--port",
    }
}

/// Each names what, where and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the {what} port is taken or not ours ({source}) — {address} — stop what listens there, or choose another with {} (0 takes a free one)",
        flag(what)
    )]
    Bind {
        what: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
    #[error(
        "xDS without TLS would be open to the network — {0} — bind it to a loopback address, or use the TLS port"
    )]
    PlaintextNotLoopback(SocketAddr),
    #[error("another control plane runs here with pid {pid} — {} — stop it, or give this one its own --state and rendezvous file", .path.display())]
    AlreadyRunning { path: PathBuf, pid: u32 },
    #[error("the configuration directory cannot be read ({source}) — {} — create it or correct --config", .path.display())]
    Config { path: PathBuf, source: io::Error },
    #[error("the audit log cannot be written ({source}) — {} — make its directory, or correct --audit-log", .path.display())]
    AuditLog { path: PathBuf, source: io::Error },
    #[error(
        "{trust_domain:?} is no trust domain ({source}) — --trust-domain — use a name such as cluster.local"
    )]
    TrustDomain {
        trust_domain: String,
        source: SpiffeError,
    },
    #[error("{what} is damaged ({detail}) — {} — restore it, or remove it to begin anew", .path.display())]
    Damaged {
        what: &'static str,
        path: PathBuf,
        detail: String,
    },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Revocations(#[from] RevocationError),
    #[error(transparent)]
    RevocationLists(leno_tls::RevocationError),
    #[error(transparent)]
    Token(#[from] TokenStoreError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Tls(#[from] ConfigError),
}

/// A file of the state directory could not be written.
pub(crate) const STATE_NOT_WRITTEN: &str = "LN0501";
/// A peer's credentials were refused.
pub(crate) const PEER_REFUSED: &str = "LN0502";
/// A proxy rejected a resource.
pub(crate) const PROXY_REJECTED: &str = "LN0503";
/// A proxy said something that cannot be understood.
pub(crate) const BAD_NODE: &str = "LN0504";
/// The control plane's own certificate could not be renewed.
pub(crate) const NOT_RENEWED: &str = "LN0505";
/// The audit log cannot be written.
pub(crate) const AUDIT_NOT_WRITTEN: &str = "LN0506";
/// A certificate of the authority, or a revocation list, comes to its end.
pub(crate) const EXPIRES: &str = "LN0507";
/// New revocation lists cannot be used; the ones before stay in force.
pub(crate) const REVOCATIONS_REFUSED: &str = "LN0508";
/// Peers want more than they may take.
pub(crate) const LIMIT_REACHED: &str = "LN0509";
