//! What every data plane of the mesh is made of: its certificate, discovery, the stream to the control plane, metrics.

mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use leno_dns::NameTable;
use leno_proto::control::Resource;
use leno_proto::envoy::config::core::v3::Node;
use leno_proxy::attach::{Attachment, Farewell};
use leno_proxy::control_plane::ControlPlane;
use leno_proxy::discovery::{Discovery, Mode, State, Teller, Via};
use leno_proxy::identity::{Renewal, Request};
use leno_proxy::report::{IstioMetrics, MeshTelemetry};
use leno_proxy::resolve::keep_resolved;
use leno_proxy::{Demand, Options, Proxy, admin};
use leno_telemetry::metrics::{Changes, Metrics};
use leno_tls::{Crypto, Secrets};
use tokio::sync::{mpsc, watch};

use crate::join::Join;
use crate::random;
use crate::settled::let_go_of_start_up;
use crate::workload::WorkloadArgs;

/// How long the last report to the control plane may take.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long a worker waits for the control plane to say what a new destination is.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whom a data plane asks, and what it proves itself with.
pub struct Member<'a> {
    join: &'a Join,
    secrets: Arc<Secrets>,
    crypto: Crypto,
    /// Whom to trust, once the control plane has said so.
    trust: Teller,
}

/// A proxy that the mesh's control plane steers.
pub struct DataPlane {
    pub proxy: Arc<Proxy>,
    pub metrics: Arc<Metrics>,
    /// Why it is not healthy, for the control plane.
    pub health: watch::Sender<Option<String>>,
    /// The mesh's names.
    pub names: watch::Receiver<Arc<NameTable>>,
    secrets: Arc<Secrets>,
    /// How far its configuration is.
    pub state: watch::Receiver<State>,
    farewell: Farewell,
}

// === impl Member ===

impl<'a> Member<'a> {
    pub fn new(join: &'a Join) -> Self {
        Self {
            join,
            secrets: Arc::new(Secrets::new()),
            crypto: Crypto::system(),
            trust: Teller::new(None),
        }
    }

    /// The first certificate, and its renewal from then on. Until it is there nothing runs; a refusal is final, an
    /// absent control plane is waited for.
    pub async fn certify(&self, workload: &WorkloadArgs) -> anyhow::Result<()> {
        let request = Request {
            id: workload.identity()?,
            token: Some(self.join.token()?),
            ttl: workload.cert_ttl,
        };
        let mut renewal = Renewal::new(
            self.control()?,
            Arc::clone(&self.secrets),
            self.crypto.clone(),
            request,
        )
        .following(self.trust.subscribe());
        let mut told = false;
        let result = renewal.first(|error| {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, "no certificate yet — {} — waiting for the control plane", self.join.address);
            }
        });
        result.await.map_err(|error| {
            anyhow!(
                "the control plane refuses this workload: {error} — {} — check --token {}",
                self.join.address,
                self.join.token.display()
            )
        })?;
        tokio::spawn(renewal.keep(random::share));
        Ok(())
    }

    /// Starts the proxy as this node; `options` name what the role adds.
    pub fn start(
        &self,
        workload: &WorkloadArgs,
        node: Node,
        mode: Mode,
        unhealthy: Option<String>,
        options: Options,
    ) -> anyhow::Result<DataPlane> {
        let (demand, questions) = Demand::new(PATIENCE);
        let metrics = Arc::new(Metrics::new(told::local(workload, workload.identity()?.as_str())));
        let telemetry = Arc::new(MeshTelemetry::start(Arc::clone(&metrics), IstioMetrics::All)?);
        let taps = telemetry.taps();
        let proxy = Arc::new(Proxy::start(Options {
            demand,
            secrets: Arc::clone(&self.secrets),
            crypto: self.crypto.clone(),
            telemetry,
            local_metadata: told::peer_metadata(workload, &node),
            node: node.clone(),
            ..options
        })?);
        let (health, healthy) = watch::channel(unhealthy);
        let (names, table) = watch::channel(Arc::new(NameTable::default()));
        let (progress, state) = watch::channel(State::default());
        let (dumps, asked) = mpsc::channel(4);
        let (farewell, farewells) = Farewell::new();
        let attachment = Attachment {
            control: self.control()?,
            node_id: node.id.clone(),
            start: u64::from(random::number()) << 32 | u64::from(random::number()),
            changes: Changes::new(Arc::clone(&metrics)),
            taps,
            farewell: farewells,
            dumps,
            secrets: certificates(&self.secrets),
            state: state.clone(),
        };
        let discovery = Discovery {
            node,
            ads: Some(Via::Mesh(self.control()?)),
            proxy: Arc::clone(&proxy),
            questions,
            dumps: asked,
            health: healthy,
            names,
            namespace: workload.namespace.clone(),
            state: progress,
            random: random::number,
            mode,
            port_owner: leno_run::port_owner,
            text: None,
            keeper: None,
            trust: Some(self.trust.clone()),
        };
        tokio::spawn(discovery.run());
        tokio::spawn(attachment.run());
        let resolving = Arc::clone(&proxy);
        tokio::spawn(async move { keep_resolved(&resolving).await });
        let mut configured = state.clone();
        tokio::spawn(async move {
            if configured.wait_for(|state| state.ready).await.is_ok() {
                let_go_of_start_up().await;
            }
        });
        Ok(DataPlane {
            proxy,
            metrics,
            health,
            names: table,
            secrets: Arc::clone(&self.secrets),
            state,
            farewell,
        })
    }

    fn control(&self) -> anyhow::Result<ControlPlane> {
        let (secrets, crypto) = (Arc::clone(&self.secrets), self.crypto.clone());
        Ok(ControlPlane::new(
            self.join.address,
            self.join.trust()?,
            secrets,
            crypto,
        ))
    }
}

// === impl DataPlane ===

impl DataPlane {
    /// Metrics and readiness for Prometheus, at an address that only this machine reaches.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn serve_metrics(&self, address: SocketAddr) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let state = self.state.clone();
        let admin = Arc::new(admin::Admin {
            metrics: Arc::clone(&self.metrics),
            ready: Arc::new(move || state.borrow().ready),
            secrets: Some(Arc::clone(&self.secrets)),
            denials: Some(self.proxy.handle()),
            own: None,
        });
        drop(tokio::spawn(admin::serve(listener, admin)));
        Ok(())
    }

    /// Takes nothing new, lets what was begun end within `patience`, and reports what was counted since the last time.
    pub async fn end(self, patience: Duration) {
        self.proxy.drain(patience).await;
        self.farewell.say(FAREWELL).await;
    }
}

/// For `leno config secrets`: the chains and roots in use; keys are not shown.
fn certificates(secrets: &Arc<Secrets>) -> Arc<dyn Fn() -> Vec<Resource> + Send + Sync> {
    let secrets = Arc::clone(secrets);
    Arc::new(move || {
        let set = secrets.load();
        let own = set.identities().map(|(name, own)| told::certificate(name, own));
        let trusted = set
            .bundles()
            .map(|(name, bundle)| told::trust_bundle(name, bundle));
        own.chain(trusted).collect()
    })
}
