//! `leno proxy sidecar`: the data plane beside a workload that `leno run` launched.
//!
//! In order: take the sockets, get an identity, learn the mesh, say ready; then serve until the command has ended.

pub mod node;
mod supervisor;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use leno_dns::NameTable;
use leno_proto::control::Resource;
use leno_proxy::attach::{Attachment, Farewell};
use leno_proxy::control_plane::ControlPlane;
use leno_proxy::discovery::{Discovery, Mode, State, Via};
use leno_proxy::dns::{self, Dns};
use leno_proxy::identity::{Renewal, Request};
use leno_proxy::report::MeshTelemetry;
use leno_proxy::resolve::keep_resolved;
use leno_proxy::{Demand, Options, Origin, PassedSocket, Proxy};
use leno_run::{FromProxy, Handoff, HostRole, NamespaceListener, NamespaceRole};
use leno_telemetry::metrics::{Changes, Metrics};
use leno_tls::{Crypto, Secrets};
use tokio::sync::{mpsc, watch};

use crate::env::Environment;
use crate::join::{Join, JoinArgs};
use crate::node::Program;
use crate::random;
use crate::settled::let_go_of_start_up;
use crate::workload::WorkloadArgs;
use supervisor::{AppSockets, News, Supervisor};

/// The data plane beside a workload (started by `leno run`)
#[derive(Debug, Args)]
pub struct Sidecar {
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    join: JoinArgs,
    /// Worker threads
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
}

/// The mesh's virtual addresses: what nobody vouches for there goes nowhere.
const VIPS: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(240, 240, 0, 0)), 16),
    (
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x6c65, 0x6e6f, 0, 0, 0, 0, 0)),
        64,
    ),
];
/// How long what is still on its way out may take once the command has ended.
const AFTER_EXIT: Duration = Duration::from_millis(500);
/// How long the last report to the control plane may take.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long a worker waits for the control plane to say what a new destination is.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn run(args: &Sidecar, environment: &Environment) -> anyhow::Result<ExitCode> {
    let handoff = Handoff::take()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut supervisor = Supervisor::new(handoff.channel)?;
        let address = args.workload.advertise.unwrap_or(IpAddr::V4(handoff.address));
        let own = IpAddr::V4(handoff.address);
        let sockets = handoff
            .listeners
            .into_iter()
            .map(|l| (l.role, l.socket))
            .collect();
        match serve(args, environment, &mut supervisor, (own, address), sockets).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                // The launcher prints it: a user sees one message, not two.
                supervisor
                    .say(&FromProxy::Failed {
                        message: format!("{error:#}"),
                    })
                    .await?;
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

async fn serve(
    args: &Sidecar,
    environment: &Environment,
    supervisor: &mut Supervisor,
    (own, address): (IpAddr, IpAddr),
    host: Vec<(HostRole, OwnedFd)>,
) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let inside = supervisor.listeners().await?;
    let (secrets, crypto) = (Arc::new(Secrets::new()), Crypto::system());
    let link = || {
        anyhow::Ok(ControlPlane::new(
            join.address,
            join.trust()?,
            Arc::clone(&secrets),
            crypto.clone(),
        ))
    };
    let id = args.workload.identity()?;
    certify(&args.workload, &join, link()?, &secrets, &crypto).await?;

    let name = format!("{}-{}", args.workload.base_name(), random::suffix());
    let node = crate::node::node(Program::Leno, &args.workload, &name, address);
    let (demand, questions) = Demand::new(PATIENCE);
    let (passed, dns) = sort(inside, host);
    let metrics = Arc::new(Metrics::new(node::local(&args.workload, id.as_str())));
    let telemetry = Arc::new(MeshTelemetry::start(Arc::clone(&metrics))?);
    let taps = telemetry.taps();
    let proxy = Arc::new(Proxy::start(Options {
        concurrency: args.concurrency,
        sockets: passed,
        demand,
        secrets: Arc::clone(&secrets),
        crypto: crypto.clone(),
        telemetry,
        workload: Some(Arc::new(AppSockets(supervisor.stock()))),
        local_metadata: node::peer_metadata(&args.workload, &node),
        node: node.clone(),
        fail_closed: VIPS.to_vec(),
        ..Options::default()
    })?);

    let (health, healthy) = watch::channel(unready(&args.workload, &BTreeSet::new()));
    let (names, table) = watch::channel(Arc::new(NameTable::default()));
    let (state, ready) = watch::channel(State::default());
    let (dumps, asked) = mpsc::channel(4);
    let discovery = Discovery {
        node: node.clone(),
        ads: Some(Via::Mesh(link()?)),
        proxy: Arc::clone(&proxy),
        questions,
        dumps: asked,
        health: healthy,
        names,
        namespace: args.workload.namespace.clone(),
        state,
        random: random::number,
        mode: Mode::OnDemand,
        port_owner: leno_run::port_owner,
        text: None,
        keeper: None,
    };
    tokio::spawn(discovery.run());
    let resolving = Arc::clone(&proxy);
    tokio::spawn(async move { keep_resolved(&resolving).await });
    serve_dns(dns, Dns::new(table, resolvers()?))?;
    serve_metrics(own, Arc::clone(&metrics), ready.clone()).await;
    let (farewell, farewells) = Farewell::new();
    let attachment = Attachment {
        control: link()?,
        node_id: node.id.clone(),
        start: u64::from(random::number()) << 32 | u64::from(random::number()),
        changes: Changes::new(metrics),
        taps,
        farewell: farewells,
        dumps,
        secrets: certificates(&secrets),
        state: ready.clone(),
    };
    tokio::spawn(attachment.run());

    let mut configured = ready.clone();
    tokio::spawn(async move {
        if configured.wait_for(|state| state.ready).await.is_ok() {
            let_go_of_start_up().await;
        }
    });
    attend(&args.workload, supervisor, &health, ready).await?;
    proxy.drain(AFTER_EXIT).await;
    // What was counted since the last report.
    farewell.say(FAREWELL).await;
    // The supervisor may be gone already: then nobody waits.
    let _ = supervisor.say(&FromProxy::Drained).await;
    Ok(())
}

/// The first certificate. Until it is there nothing runs; a refusal is final, an absent control plane is waited for.
pub async fn certify(
    workload: &WorkloadArgs,
    join: &Join,
    control: ControlPlane,
    secrets: &Arc<Secrets>,
    crypto: &Crypto,
) -> anyhow::Result<()> {
    let request = Request {
        id: workload.identity()?,
        token: Some(join.token()?),
        ttl: workload.cert_ttl,
    };
    let mut renewal = Renewal::new(control, Arc::clone(secrets), crypto.clone(), request);
    let mut told = false;
    let result = renewal.first(|error| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, "no certificate yet — {} — waiting for the control plane", join.address);
        }
    });
    result.await.map_err(|error| {
        anyhow!(
            "the control plane refuses this workload: {error} — {} — check --token {}",
            join.address,
            join.token.display()
        )
    })?;
    tokio::spawn(renewal.keep(random::share));
    Ok(())
}

/// What goes to the workers, and what answers names.
fn sort(
    inside: Vec<(NamespaceListener, OwnedFd)>,
    host: Vec<(HostRole, OwnedFd)>,
) -> (Vec<PassedSocket>, Vec<(NamespaceRole, OwnedFd)>) {
    let inbound = |origin, socket| PassedSocket {
        listener: "virtualInbound".into(),
        origin,
        socket,
    };
    let mut passed: Vec<_> = host
        .into_iter()
        .map(|(role, socket)| match role {
            HostRole::Inbound { .. } | HostRole::VirtualInbound => inbound(Origin::Local, socket),
            HostRole::Published { port } => inbound(Origin::Port(port), socket),
        })
        .collect();
    let mut dns = Vec::new();
    for (listener, socket) in inside {
        match listener.role {
            NamespaceRole::Outbound => {
                passed.push(PassedSocket {
                    listener: "virtualOutbound".into(),
                    origin: Origin::Redirected,
                    socket,
                });
            }
            NamespaceRole::DnsUdp | NamespaceRole::DnsTcp => dns.push((listener.role, socket)),
        }
    }
    (passed, dns)
}

fn serve_dns(sockets: Vec<(NamespaceRole, OwnedFd)>, dns: Dns) -> anyhow::Result<()> {
    for (role, socket) in sockets {
        let dns = dns.clone();
        if role == NamespaceRole::DnsUdp {
            let socket = tokio::net::UdpSocket::from_std(socket.into())?;
            tokio::spawn(async move { log_end(dns.serve_udp(socket).await) });
        } else {
            let listener = tokio::net::TcpListener::from_std(socket.into())?;
            tokio::spawn(async move { log_end(dns.serve_tcp(listener).await) });
        }
    }
    Ok(())
}

fn log_end(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "the DNS proxy has ended");
    }
}

/// On the workload's own address of this machine, for Prometheus: never on one that other machines reach.
async fn serve_metrics(own: IpAddr, metrics: Arc<Metrics>, state: watch::Receiver<State>) {
    match tokio::net::TcpListener::bind((own, leno_run::METRICS_PORT)).await {
        Ok(listener) => {
            let ready = Arc::new(move || state.borrow().ready);
            let admin = Arc::new(leno_proxy::admin::Admin {
                metrics,
                ready,
                own: None,
            });
            drop(tokio::spawn(leno_proxy::admin::serve(listener, admin)));
        }
        Err(error) => {
            tracing::warn!(%error, address = %own, port = leno_run::METRICS_PORT, "metrics are not served")
        }
    }
}

/// Where the machine itself asks.
pub fn resolvers() -> anyhow::Result<Vec<std::net::SocketAddr>> {
    match std::fs::read_to_string("/etc/resolv.conf") {
        Ok(text) => Ok(dns::resolvers(&text)),
        // A machine without one resolves nothing, and neither do its workloads.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context("/etc/resolv.conf cannot be read"),
    }
}

/// Why the workload is not healthy: which declared ports do not listen yet.
fn unready(workload: &WorkloadArgs, listening: &BTreeSet<u16>) -> Option<String> {
    let missing: Vec<String> = workload
        .ports
        .iter()
        .filter(|p| !listening.contains(&p.port))
        .map(|p| p.port.to_string())
        .collect();
    (!missing.is_empty()).then(|| format!("nothing listens on port {}", missing.join(", ")))
}

/// Says ready once the mesh is known, and tells the mesh how the workload is, until the command has ended.
async fn attend(
    workload: &WorkloadArgs,
    supervisor: &mut Supervisor,
    health: &watch::Sender<Option<String>>,
    mut state: watch::Receiver<State>,
) -> anyhow::Result<()> {
    let mut listening = BTreeSet::new();
    let (mut ready, mut stopping) = (false, false);
    loop {
        let news = tokio::select! {
            known = state.wait_for(|s| s.ready), if !ready => {
                drop(known.context("discovery ended")?);
                ready = true;
                supervisor.say(&FromProxy::Ready).await?;
                continue;
            }
            news = supervisor.next() => news,
        };
        match news {
            News::Listening(port) => drop(listening.insert(port)),
            News::Closed(port) => drop(listening.remove(&port)),
            // No new calls: others hear of it at once; what is open is served on.
            News::Stopping => stopping = true,
            News::Exited | News::Gone => return Ok(()),
        }
        let now = if stopping {
            Some("stopping".to_owned())
        } else {
            unready(workload, &listening)
        };
        health.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
    }
}

/// For `leno config secrets`: the chains and roots in use; keys are not shown.
pub fn certificates(secrets: &Arc<Secrets>) -> Arc<dyn Fn() -> Vec<Resource> + Send + Sync> {
    let secrets = Arc::clone(secrets);
    Arc::new(move || {
        let set = secrets.load();
        let own = set.identities().map(|(name, own)| node::certificate(name, own));
        let trusted = set
            .bundles()
            .map(|(name, bundle)| node::trust_bundle(name, bundle));
        own.chain(trusted).collect()
    })
}
