//! The data plane: moving bytes as the engine decides.
//!
//! A [`Proxy`] is a number of workers (threads with a runtime each) and one writer of their configuration, the
//! [`Updater`]. It knows no roles and no control plane: listeners, routes, clusters and endpoints come in compiled
//! form, what is missing is asked for through [`Demand`], sockets may be passed in, and records go to [`Telemetry`].
//!
//! One request, by file: `thread` → `accept` → (engine: filter chain) → `tls` → `http` → `filters` → (engine: route,
//! balance) → `router` → `upstream` (and its `pool`) → `record`.

mod accept;
pub mod admin;
mod admission;
pub mod alpn;
pub mod attach;
mod batches;
mod beside;
pub mod bootstrap;
mod call;
mod checks;
mod client_cert;
mod cluster;
mod codec;
mod connect;
mod connection;
pub mod control_plane;
mod counted;
mod counts;
mod descriptors;
mod destination;
pub mod discovery;
pub mod dns;
mod dns_client;
mod drain;
mod ending;
mod export;
mod filters;
mod find;
pub mod grpc;
mod grpc_call;
mod guard;
mod handshake;
mod headers;
mod health;
mod http;
mod hurry;
pub mod identity;
mod idle;
mod inbox;
mod inspect;
mod introduction;
mod io;
mod key_set;
mod listen;
mod load;
mod load_report;
mod lookup;
mod mirror;
mod on_demand;
mod original_dst;
mod outcome;
mod over_http2;
pub mod overload;
mod own_address;
mod peer_certificates;
mod post;
mod prefixed;
mod process;
mod proxy_status;
mod quick_hash;
mod random;
mod reach;
mod record;
mod replay;
mod reply;
pub mod report;
mod reported;
mod request;
mod resident;
pub mod resolve;
pub mod resources;
mod router;
pub mod runtime;
pub mod secret;
mod sent;
mod session;
pub mod sinks;
mod sizes;
mod socket;
mod socket_options;
mod splice;
mod state;
mod stats;
mod stream;
mod tally;
mod tap;
mod tcp;
mod tcp_proxy;
mod telemetry;
mod thread;
mod tls;
mod tls_counts;
mod tls_stream;
mod trace;
pub mod trust;
mod try_idle;
mod tunnel;
mod updates;
mod upstream;
mod watch;
mod worker;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_engine::compile::runtime::CONNECTIONS;
use leno_engine::compile::stats::StatsConfig;
use leno_engine::decide::filter::LocalMetadata;
use leno_engine::runtime::Setting;
use leno_proto::envoy::config::core::v3::Node;
use leno_telemetry::stats::Stats;
use leno_tls::{Crypto, Secrets};
use tokio::sync::oneshot;

pub use crate::discovery::{hostname, time_zone};
pub use bootstrap::{Bootstrap, BootstrapError};
pub use connect::{Family, WorkloadSockets};
pub use listen::{BindError, PassedSocket};
pub use lookup::{Answer, Demand, Question, Want};
pub use socket::Origin;
pub use state::{ClusterState, Config, Refused, Updater};
pub use telemetry::{NoTelemetry, Sink, Telemetry};
pub use tls::Unsupported;

use checks::{Checkers, Parts};
use inbox::Workers;
use listen::Sockets;
use load::Loads;
use overload::Overload;
use post::Post;
use reported::Part;
use runtime::Layers;
use state::Published;
use telemetry::Reporter;
use worker::Shared;

/// What a proxy is made of.
pub struct Options {
    /// Workers; at least one.
    pub concurrency: usize,
    /// Listening sockets that are bound already.
    pub sockets: Vec<PassedSocket>,
    pub demand: Demand,
    /// Sockets towards the application, where it has a network of its own.
    pub workload: Option<Arc<dyn WorkloadSockets>>,
    pub secrets: Arc<Secrets>,
    pub crypto: Crypto,
    pub telemetry: Arc<dyn Telemetry>,
    /// Where workers count.
    pub stats: Arc<Stats>,
    /// What this proxy tells peers about its workload.
    pub local_metadata: LocalMetadata,
    /// Who it is, for those that get its records.
    pub node: Node,
    /// What is changed while it runs.
    pub runtime: Arc<Layers>,
    /// What of the statistics is told, and to whom.
    pub stats_config: StatsConfig,
    /// What is measured, and what is not done when there is too much of it.
    pub overload: Option<leno_engine::compile::overload::Overload>,
    /// Networks (address, leading bits) whose outbound destinations never pass as unknown traffic.
    pub fail_closed: Vec<(IpAddr, u8)>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot start a worker — {0}")]
    Worker(std::io::Error),
}

/// A running data plane as seen from beside: what is in force, and how it is told something.
#[derive(Clone)]
pub struct Handle {
    updater: Arc<Mutex<Updater>>,
    shared: Arc<Shared>,
    runtime: Arc<Layers>,
    telemetry: Arc<dyn Telemetry>,
    stats_config: Arc<StatsConfig>,
    started: Instant,
}

/// A running data plane.
pub struct Proxy {
    handle: Handle,
    shared: Arc<Shared>,
    workers: Workers,
    telemetry: Arc<dyn Telemetry>,
    threads: Vec<JoinHandle<()>>,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 1,
            sockets: Vec::new(),
            demand: Demand::none(),
            workload: None,
            secrets: Arc::default(),
            crypto: Crypto::system(),
            telemetry: Arc::new(NoTelemetry),
            stats: Arc::default(),
            local_metadata: LocalMetadata::default(),
            node: Node::default(),
            runtime: Arc::default(),
            stats_config: StatsConfig::default(),
            overload: None,
            fail_closed: Vec::new(),
        }
    }
}

// === impl Proxy ===

impl Proxy {
    /// Starts the workers. Nothing is accepted before listeners are published.
    pub fn start(options: Options) -> Result<Self, StartError> {
        descriptors::raise_descriptor_limit();
        let published = Arc::new(Published::default());
        let (workers, inboxes) = inbox::inboxes(options.concurrency);
        let sockets = Sockets::new(workers.clone(), options.sockets)?;
        let workload = options.workload.clone();
        let shared = Arc::new(Shared {
            published: Arc::clone(&published),
            demand: options.demand,
            workload: options.workload,
            local_metadata: options.local_metadata,
            node: options.node,
            fail_closed: options.fail_closed,
            connection_ids: AtomicU64::new(1),
            loads: Arc::new(Loads::new(options.concurrency)),
            own_address: own_address::find(),
            health_failed: AtomicBool::new(false),
            stats: options.stats,
            updates: updates::Updates::default(),
            overload: options.overload.map(|config| Box::new(Overload::new(config))),
            max_connections: Setting::new(u64::MAX, options.runtime.runtime().key(CONNECTIONS)),
        });
        let mut threads = Vec::with_capacity(inboxes.len());
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let reporter = Reporter::new(options.telemetry.sink());
            let thread = thread::spawn(
                index,
                Arc::clone(&shared),
                workers.clone(),
                inbox,
                reporter,
                options.crypto.clone(),
                Arc::clone(&options.secrets),
            );
            threads.push(thread.map_err(StartError::Worker)?);
        }
        let updater = Arc::new_cyclic(|updater| {
            let mut checkers = Checkers::Wanted(Parts {
                published: Arc::clone(&published),
                workload,
                secrets: Arc::clone(&options.secrets),
                crypto: options.crypto.clone(),
                updater: Weak::clone(updater),
            });
            let runtime = options.runtime.runtime().clone();
            let follower = move |config: &Config| checkers.follow(config);
            Mutex::new(Updater::new(
                published,
                sockets,
                options.secrets,
                options.crypto,
                runtime,
                follower,
            ))
        });
        Ok(Self {
            handle: Handle {
                updater,
                shared: Arc::clone(&shared),
                runtime: options.runtime,
                telemetry: Arc::clone(&options.telemetry),
                stats_config: Arc::new(options.stats_config),
                started: Instant::now(),
            },
            shared,
            workers,
            telemetry: options.telemetry,
            threads,
        })
    }

    /// The writer of the configuration; one at a time.
    pub fn updater(&self) -> MutexGuard<'_, Updater> {
        self.handle.updater()
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Downstream connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.loads.total()
    }

    /// Every worker's part of these clusters' load since the last time.
    pub(crate) async fn loads(&self, names: Vec<String>) -> Vec<Part> {
        let names: Arc<[String]> = names.into();
        let mut parts = Vec::new();
        for worker in 0..self.workers.count() {
            let (answer, answered) = oneshot::channel();
            self.workers
                .send(worker, inbox::Message::Loads(Arc::clone(&names), answer));
            // One that has stopped has nothing to tell.
            parts.extend(answered.await);
        }
        parts
    }

    /// Posts JSON to a cluster by a worker's pools; the status and the body, or why there is none.
    pub(crate) async fn post(
        &self,
        cluster: &str,
        path: &'static str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<(u16, Bytes), String> {
        let (answer, answered) = oneshot::channel();
        let post = Post {
            cluster: cluster.to_owned(),
            path,
            body,
            timeout,
            limit: grpc::MAX_MESSAGE,
            answer,
        };
        self.workers.send(0, inbox::Message::Post(Box::new(post)));
        let answered = answered.await.map_err(|_| "the worker has ended".to_owned())?;
        answered.map_err(|flags| format!("response flags {flags}"))
    }

    /// Stops accepting, lets requests finish, and returns when the last connection has ended or time is up, and what
    /// is to be told of them has been told.
    pub async fn drain(&self, time: Duration) {
        self.updater().drain_all(time);
        let end = tokio::time::Instant::now() + time;
        while self.connections() > 0 && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.workers.flush().await;
        let telemetry = Arc::clone(&self.telemetry);
        if tokio::task::spawn_blocking(move || telemetry.settle())
            .await
            .is_err()
        {
            tracing::error!("telemetry had panicked");
        }
    }

    /// Ends the workers and what is still open.
    pub fn shutdown(self) {
        self.updater().forget_follower();
        self.workers.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        self.telemetry.settle();
    }
}

// === impl Handle ===

impl Handle {
    /// The writer of the configuration; one at a time.
    pub fn updater(&self) -> MutexGuard<'_, Updater> {
        self.updater.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in force.
    pub fn config(&self) -> Arc<Config> {
        self.shared.published.load()
    }

    /// What workers have counted.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// What has come from elsewhere.
    pub(crate) fn updates(&self) -> &updates::Updates {
        &self.shared.updates
    }

    pub(crate) fn stats_config(&self) -> &StatsConfig {
        &self.stats_config
    }

    /// Workers.
    pub(crate) fn concurrency(&self) -> usize {
        self.shared.loads.workers()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn overload(&self) -> Option<&Overload> {
        self.shared.overload.as_deref()
    }

    pub(crate) fn reopen_logs(&self) {
        self.telemetry.reopen();
    }

    pub(crate) fn runtime(&self) -> &Layers {
        &self.runtime
    }

    /// Takes what the layers of the runtime say by now.
    pub(crate) fn load_runtime(&self) {
        self.runtime.load();
        self.updater().take_runtime();
    }

    /// What the admin port says of the runtime. False: there is no layer for that.
    pub(crate) fn modify_runtime(&self, values: impl IntoIterator<Item = (String, String)>) -> bool {
        let modified = self.runtime.modify(values);
        self.updater().take_runtime();
        modified
    }

    /// Downstream connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.loads.total()
    }

    /// Whether the proxy says of itself that it is to get no more traffic.
    pub fn fails_health_checks(&self) -> bool {
        self.shared.health_failed.load(Ordering::Relaxed)
    }

    pub fn fail_health_checks(&self, fail: bool) {
        self.shared.health_failed.store(fail, Ordering::Relaxed);
    }
}
