//! What the thread that asks has of its own.

use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use leno_engine::compile::address::Address;
use leno_engine::compile::cluster::{Cluster, Transport};
use leno_engine::compile::endpoint::{Endpoint, Internal, Passed};
use leno_engine::decide::notes;
use leno_tls::{Crypto, Secrets};
use tokio::io::DuplexStream;

use super::files::Files;
use crate::alpn::Offer;
use crate::codec::h1::Workspace;
use crate::connect::{self, Connector, InternalListeners, WorkloadSockets};
use crate::destination::Destination;
use crate::io::Io;
use crate::outcome::Failure;
use crate::random::Random;
use crate::state::{Config, Published, Updater};
use crate::tcp::Scratch;
use crate::tls::Contexts;

/// What the thread is made of.
pub(crate) struct Parts {
    pub(crate) published: Arc<Published>,
    pub(crate) workload: Option<Arc<dyn WorkloadSockets>>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) crypto: Crypto,
    /// Told of who may leave.
    pub(crate) updater: Weak<Mutex<Updater>>,
}

/// Where somebody is asked, and how.
pub(super) struct Toward<'t> {
    pub(super) endpoint: &'t Endpoint,
    pub(super) address: Address,
    pub(super) transport: &'t Transport,
    pub(super) offer: Offer,
    pub(super) timeout: Duration,
}

/// What the thread has.
pub(super) struct Own {
    published: Arc<Published>,
    updater: Weak<Mutex<Updater>>,
    workload: Option<Arc<dyn WorkloadSockets>>,
    tls: Contexts,
    http1: Rc<Workspace>,
    scratch: Scratch,
    /// Of connections, which are nobody else's.
    ids: AtomicU64,
    pub(super) random: Random,
    pub(super) files: Files,
}

// === impl Own ===

impl Own {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            published: parts.published,
            updater: parts.updater,
            workload: parts.workload,
            tls: Contexts::new(parts.crypto, parts.secrets),
            http1: Rc::default(),
            scratch: Scratch::default(),
            ids: AtomicU64::default(),
            random: Random::default(),
            files: Files::default(),
        }
    }

    /// What is in force.
    pub(super) fn config(&self) -> Arc<Config> {
        self.published.load()
    }

    /// An endpoint of the cluster that was to leave is not well any more.
    pub(super) fn let_leave(&self, cluster: &str) {
        if let Some(updater) = self.updater.upgrade() {
            let mut updater = updater.lock().unwrap_or_else(PoisonError::into_inner);
            updater.let_leave(cluster);
        }
    }

    /// As the cluster's own connections are made.
    pub(super) async fn connect(&self, cluster: &Cluster, to: Toward<'_>) -> Result<Io, Failure> {
        let Toward {
            endpoint,
            address,
            transport,
            offer,
            timeout,
        } = to;
        let tls = transport.tls();
        let by_name = tls.is_some_and(|tls| tls.auto_host_sni || tls.auto_san_validation);
        let hostname = Some(&endpoint.hostname).filter(|name| by_name && !name.is_empty());
        let toward = address.socket().map(|to| cluster.socket_toward(to));
        let (source, options) = toward.unwrap_or_default();
        let to = Destination {
            source,
            options,
            tries: Vec::new(),
            address,
            transport: transport.clone(),
            host: hostname.cloned(),
            offer,
            inbound: false,
            timeout,
            client: None,
            apart: None,
            passed: Vec::new(),
        };
        let (io, _) = connect::connect(self.connector(), &to).await?;
        Ok(io)
    }

    pub(super) fn connector(&self) -> Connector<'_> {
        Connector {
            tls: &self.tls,
            workload: self.workload.as_deref(),
            http1: &self.http1,
            scratch: &self.scratch,
            internal: self,
            ids: &self.ids,
            counts: None,
        }
    }
}

/// Listeners are the workers'.
impl InternalListeners for Own {
    fn connect(&self, _to: &Internal, _passed: Passed, _notes: notes::Passed) -> Option<DuplexStream> {
        None
    }
}
