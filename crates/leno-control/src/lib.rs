//! The control plane, assembled: configuration and registrations in, xDS and certificates out.
//!
//! ```text
//! files ─▶ leno-sources ─▶┐
//! registration.rs ───────▶├─▶ writer.rs (owns the World) ─▶ push.rs (index) ─▶ session.rs ─▶ ads.rs
//! state.rs (VIPs, …) ────▶┘                                                     translate, xds
//! root.rs (roots, what is revoked) ─▶ writer.rs
//! listener.rs (TLS, who is there; limits.rs) ─▶ ads.rs, wire/, ca.rs, mesh.rs, decisions.rs (▶ audit.rs)
//!                                                                   admin.rs: /metrics, /debug, dashboard/
//! ```

mod admin;
mod ads;
mod attached;
mod audit;
mod bounds;
mod ca;
mod catalogue;
mod dashboard;
mod decisions;
mod error;
mod keys;
mod limits;
mod listener;
mod mesh;
mod node;
mod objects;
mod once;
mod options;
mod probe;
mod push;
mod registration;
pub mod rendezvous;
mod root;
mod roster;
mod session;
mod source;
mod state;
mod tap;
mod tokens;
mod traffic;
mod wire;
mod work;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leno_ca::{Authority, Lifetimes, TokenStore};
use leno_proto::control::mesh_server::MeshServer;
use leno_proto::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;
use leno_proto::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use leno_proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateServiceServer;
use leno_tls::TrustDomain;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Router;

use admin::Admin;
use ads::{Ads, AdsService};
use attached::Attached;
use audit::Audit;
use ca::Certificates;
use catalogue::Catalogue;
use dashboard::Dashboard;
use decisions::Decisions;
use keys::KeyKeeper;
use limits::Gate;
use listener::{Connection, Tls};
use mesh::MeshService;
use once::Once;
use push::Push;
use registration::Registrations;
use rendezvous::{Published, Rendezvous};
use root::Root;
use roster::Roster;
use source::Source;
use state::State;
use writer::{Diagnostics, Writer};

pub use error::StartError;
pub use keys::KeyOptions;
pub use limits::Limits;
pub use options::Options;

/// A certificate lives no longer, whatever its asker wishes.
const LONGEST_CERTIFICATE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Dead peers are found by HTTP/2 pings: a stream without traffic would keep its workload for ever.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Of one connection at once; those that last have a bound of their own.
const MOST_CALLS: u32 = 256;
const ROOT: &str = "root.pem";

/// A running control plane. It ends when dropped, gracefully by [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Handle {
    pub secure: SocketAddr,
    pub plaintext: Option<SocketAddr>,
    pub admin: SocketAddr,
    /// The mesh's root certificate, PEM.
    pub ca: PathBuf,
    /// The local join token.
    pub token: PathBuf,
    state: Arc<State>,
    running: Option<watch::Sender<()>>,
    servers: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    published: Option<Published>,
    _source: Option<Source>,
}

/// The sockets, bound before anything else is done: a taken port is the most frequent failure.
struct Sockets {
    secure: TcpListener,
    plaintext: Option<TcpListener>,
    admin: TcpListener,
}

/// What the services share.
struct Parts {
    push: Arc<Push>,
    state: Arc<State>,
    diagnostics: Arc<Diagnostics>,
    catalogue: Arc<Catalogue>,
    registrations: Arc<Registrations>,
    certificates: Arc<Certificates>,
    root: Arc<Root>,
    roster: Arc<Roster>,
    attached: Arc<Attached>,
    decisions: Arc<Decisions>,
    audited: bool,
    gate: Arc<Gate>,
    running: watch::Receiver<()>,
    settled: watch::Receiver<bool>,
    trust_domain: TrustDomain,
}

/// Starts a control plane; it serves when this returns. Needs a tokio runtime with IO and time.
pub async fn run(options: Options) -> Result<Handle, StartError> {
    let trust_domain: TrustDomain =
        options
            .trust_domain
            .parse()
            .map_err(|source| StartError::TrustDomain {
                trust_domain: options.trust_domain.clone(),
                source,
            })?;
    if let Some(path) = &options.rendezvous {
        rendezvous::check_free(path)?;
    }
    let sockets = bind(&options).await?;
    let (state, remembered) = State::open(&options.state)?;
    let (authority, tokens) = open_ca(&options, &trust_domain)?;
    let (authority, state) = (Arc::new(authority), Arc::new(state));
    let tls = Arc::new(Tls::new(
        &authority,
        &trust_domain,
        server_names(&options, &sockets),
    )?);
    let ca = options.state.join(ROOT);
    let token = tokens.local_path();

    let (changes, queue) = mpsc::unbounded_channel();
    let (running, stopped) = watch::channel(());
    let registrations = Registrations::new(changes.clone(), state.clone(), stopped.clone());
    let registrations = Arc::new(registrations);
    let audit = match &options.audit_log {
        None => Audit::default(),
        Some(path) => Audit::open(path).map_err(|source| StartError::AuditLog {
            path: path.clone(),
            source,
        })?,
    };
    let keys = KeyKeeper::new(&options.keys, changes.clone(), state.clone(), remembered.keys);
    let root = Root::new(
        authority.clone(),
        tls.clone(),
        ca.clone(),
        changes.clone(),
        audit.clone(),
    )?;
    let root = Arc::new(root);
    let mut writer = Writer::new(remembered.vips, queue, state.clone(), audit.clone(), keys.clone());
    let (push, diagnostics) = (writer.push.clone(), writer.diagnostics.clone());
    let catalogue = writer.catalogue.clone();
    let source = match &options.config {
        Some(directory) => Some(source::start(directory, changes, diagnostics.clone(), keys).await?),
        None => None,
    };
    registrations.restore(remembered.registrations);
    writer.apply_waiting();

    let mut workers = start_workers(writer, &state, &tls, &authority, &root);
    let roster: Arc<Roster> = Arc::default();
    let decisions = Arc::new(Decisions::new(audit.clone(), roster.clone(), stopped.clone()));
    let timed = decisions.clone();
    workers.push(tokio::spawn(async move { timed.keep_time().await }));
    let audited = audit.is_kept();
    let parts = Parts {
        certificates: Arc::new(Certificates::new(authority, trust_domain.clone(), tokens, audit)),
        root,
        settled: settle(options.settle, registrations.complete()),
        roster,
        attached: Arc::default(),
        decisions,
        audited,
        gate: Gate::new(options.limits.within_descriptors()),
        running: stopped,
        push,
        state: state.clone(),
        diagnostics,
        catalogue,
        registrations,
        trust_domain,
    };
    let mut handle = serve(parts, sockets, tls)?;
    handle.workers = workers;
    handle._source = source;
    handle.running = Some(running);
    (handle.ca, handle.token) = (absolute(ca), absolute(token));
    handle.published = publish(&options, &handle)?;
    Ok(handle)
}

fn start_workers(
    writer: Writer,
    state: &Arc<State>,
    tls: &Arc<Tls>,
    authority: &Arc<Authority>,
    root: &Arc<Root>,
) -> Vec<JoinHandle<()>> {
    let (state, tls, authority) = (state.clone(), tls.clone(), authority.clone());
    let root = root.clone();
    vec![
        tokio::spawn(writer.run()),
        tokio::spawn(async move { state.write_forever().await }),
        tokio::spawn(async move { tls.renew_forever(&authority).await }),
        tokio::spawn(async move { root.keep_watch().await }),
    ]
}

async fn bind(options: &Options) -> Result<Sockets, StartError> {
    if let Some(address) = options.plaintext.filter(|a| !a.ip().is_loopback()) {
        return Err(StartError::PlaintextNotLoopback(address));
    }
    let plaintext = match options.plaintext {
        Some(address) => Some(listen("plaintext xDS", address).await?),
        None => None,
    };
    Ok(Sockets {
        secure: listen("xDS", options.secure).await?,
        admin: listen("admin", options.admin).await?,
        plaintext,
    })
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Bind {
            what,
            address,
            source,
        })
}

fn open_ca(options: &Options, trust_domain: &TrustDomain) -> Result<(Authority, TokenStore), StartError> {
    let now = SystemTime::now();
    let lifetimes = Lifetimes {
        default: options.cert_ttl,
        max: options.cert_ttl.max(LONGEST_CERTIFICATE),
    };
    let (authority, origin) = Authority::open(&options.state, trust_domain, lifetimes, now)?;
    tracing::info!(?origin, "certificate authority");
    let mut tokens = TokenStore::open(&options.state)?;
    tokens.local(now)?;
    Ok((authority, tokens))
}

/// What the control plane may be called.
fn server_names(options: &Options, sockets: &Sockets) -> Vec<String> {
    let mut names = options.names.clone();
    names.extend(["localhost", "127.0.0.1", "::1", "leno-control"].map(str::to_owned));
    if let Ok(address) = sockets.secure.local_addr()
        && !address.ip().is_unspecified()
        && !names.contains(&address.ip().to_string())
    {
        names.push(address.ip().to_string());
    }
    names
}

/// True from when everybody who was known is back or gone, and at the latest after the settling time.
fn settle(after: Duration, mut complete: watch::Receiver<bool>) -> watch::Receiver<bool> {
    let (settled, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let _ = tokio::time::timeout(after, complete.wait_for(|complete| *complete)).await;
        settled.send_replace(true);
        // Held open, so that those who wait see the value and not the end.
        settled.closed().await;
    });
    receiver
}

fn serve(parts: Parts, sockets: Sockets, tls: Arc<Tls>) -> Result<Handle, StartError> {
    let address = |what, listener: &TcpListener| {
        listener.local_addr().map_err(|source| StartError::Bind {
            what,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            source,
        })
    };
    let plaintext_address = match &sockets.plaintext {
        Some(listener) => Some(address("plaintext xDS", listener)?),
        None => None,
    };
    let (secure, admin) = (
        address("xDS", &sockets.secure)?,
        address("admin", &sockets.admin)?,
    );
    let router = parts.router();
    let mut servers = Vec::new();
    if let Some(listener) = sockets.plaintext {
        servers.push(parts.start(router.clone(), listener::plaintext(listener, parts.gate.clone())));
    }
    let connections = listener::secure(sockets.secure, tls, parts.gate.clone());
    servers.push(parts.start(router, connections));
    let pages = Admin {
        push: parts.push.clone(),
        roster: parts.roster.clone(),
        gate: parts.gate.clone(),
        decisions: parts.decisions.clone(),
        diagnostics: parts.diagnostics.clone(),
        certificates: parts.certificates.clone(),
        root: parts.root.clone(),
        dashboard: Arc::new(Dashboard {
            push: parts.push.clone(),
            roster: parts.roster.clone(),
            attached: parts.attached.clone(),
            diagnostics: parts.diagnostics.clone(),
            catalogue: parts.catalogue.clone(),
            state: parts.state.clone(),
            watched: Default::default(),
            seen: Default::default(),
        }),
    };
    servers.push(tokio::spawn(admin::serve(
        sockets.admin,
        pages,
        parts.running.clone(),
    )));
    Ok(Handle {
        secure,
        plaintext: plaintext_address,
        admin,
        ca: PathBuf::new(),
        token: PathBuf::new(),
        state: parts.state,
        running: None,
        servers,
        workers: Vec::new(),
        published: None,
        _source: None,
    })
}

fn publish(options: &Options, handle: &Handle) -> Result<Option<Published>, StartError> {
    let Some(path) = &options.rendezvous else {
        return Ok(None);
    };
    let content = Rendezvous {
        address: reachable(handle.secure).to_string(),
        ca: handle.ca.clone(),
        token: handle.token.clone(),
        pid: std::process::id(),
        admin: reachable(handle.admin).to_string(),
    };
    Published::write(path, &content).map(Some)
}

/// A port bound to every address is called on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port()))
        }
        other => other,
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

// === impl Parts ===

impl Parts {
    fn router(&self) -> Router {
        let ads = Arc::new(Ads {
            push: self.push.clone(),
            registrations: self.registrations.clone(),
            roster: self.roster.clone(),
            trust_domain: self.trust_domain.clone(),
            settled: self.settled.clone(),
            running: self.running.clone(),
            refused: Once::default(),
            audited: self.audited,
            gate: self.gate.clone(),
        });
        let mesh = MeshService {
            push: self.push.clone(),
            roster: self.roster.clone(),
            diagnostics: self.diagnostics.clone(),
            catalogue: self.catalogue.clone(),
            state: self.state.clone(),
            attached: self.attached.clone(),
            certificates: self.certificates.clone(),
            root: self.root.clone(),
            registrations: self.registrations.clone(),
            running: self.running.clone(),
        };
        let routes = Routes::default()
            .add_service(AggregatedDiscoveryServiceServer::new(AdsService(ads.clone())))
            .add_service(IstioCertificateServiceServer::from_arc(self.certificates.clone()))
            .add_service(AccessLogServiceServer::from_arc(self.decisions.clone()))
            .add_service(MeshServer::new(mesh));
        Server::builder()
            // REST-JSON comes by HTTP/1.1.
            .accept_http1(true)
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .max_concurrent_streams(MOST_CALLS)
            .add_routes(wire::add(routes, &ads, &self.certificates))
    }

    fn start(
        &self,
        router: Router,
        connections: mpsc::Receiver<std::io::Result<Connection>>,
    ) -> JoinHandle<()> {
        let mut running = self.running.clone();
        tokio::spawn(async move {
            let stopped = async move {
                let _ = running.changed().await;
            };
            let incoming = ReceiverStream::new(connections);
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, stopped).await {
                tracing::error!("the xDS server stopped: {error}");
            }
        })
    }
}

// === impl Handle ===

impl Handle {
    /// Ends: streams are closed, what is not yet on disk is written, the rendezvous file is removed. Workloads stay
    /// registered for the next control plane.
    pub async fn shutdown(mut self) {
        self.published = None;
        self.running = None;
        for server in self.servers.drain(..) {
            // Clients that keep their connection open do not hold up the end.
            let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
        }
        self.state.flush();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for task in self.servers.iter().chain(&self.workers) {
            task.abort();
        }
    }
}
