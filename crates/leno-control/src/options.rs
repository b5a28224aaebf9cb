//! What a control plane is started with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::KeyOptions;
use crate::limits::Limits;

/// A port of zero takes a free one; the handle tells which.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of YAML files; none: no configuration, workloads declare themselves.
    pub config: Option<PathBuf>,
    /// CA key, tokens, addresses, registrations. Made with mode 0700.
    pub state: PathBuf,
    /// Where the rendezvous file goes; none: no such file.
    pub rendezvous: Option<PathBuf>,
    /// xDS without TLS, for loopback addresses only; none: not served.
    pub plaintext: Option<SocketAddr>,
    /// xDS, certificates and the Mesh service over TLS.
    pub secure: SocketAddr,
    pub admin: SocketAddr,
    /// Further names and addresses in the control plane's own certificate.
    pub names: Vec<String>,
    pub trust_domain: String,
    /// How long a workload's certificate lives when it names no time.
    pub cert_ttl: Duration,
    /// Where who did what is appended, one JSON object a line; none: it is not kept.
    pub audit_log: Option<PathBuf>,
    /// How the keys of tokens' issuers are fetched.
    pub keys: KeyOptions,
    /// How long after its start the control plane holds back answers to clients that come with state.
    pub settle: Duration,
    /// What peers may take.
    pub limits: Limits,
}

impl Options {
    /// The default ports on loopback.
    pub fn new(state: PathBuf) -> Self {
        let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            config: None,
            state,
            rendezvous: None,
            plaintext: Some(local(15010)),
            secure: local(15012),
            admin: local(15014),
            names: Vec::new(),
            trust_domain: "cluster.local".to_owned(),
            cert_ttl: Duration::from_secs(24 * 3600),
            audit_log: None,
            keys: KeyOptions {
                refresh: Duration::from_secs(60),
                roots: None,
            },
            settle: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}
