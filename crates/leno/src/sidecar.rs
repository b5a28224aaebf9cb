//! `leno proxy sidecar`: the data plane beside a workload that `leno run` launched.
//!
//! In order: take the sockets, get an identity, learn the mesh, say ready; then serve until the command has ended.

mod supervisor;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use leno_proxy::discovery::{Mode, State};
use leno_proxy::dns::{self, Dns};
use leno_proxy::{Options, Origin, PassedSocket};
use leno_run::{FromProxy, Handoff, HostRole, NamespaceListener, NamespaceRole};
use tokio::sync::watch;

use crate::data_plane::Member;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::node::Program;
use crate::random;
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
    let member = Member::new(&join);
    member.certify(&args.workload).await?;
    let name = format!("{}-{}", args.workload.base_name(), random::suffix());
    let node = crate::node::node(Program::Leno, &args.workload, &name, address);
    let (passed, dns) = sort(inside, host);
    let options = Options {
        concurrency: args.concurrency,
        sockets: passed,
        workload: Some(Arc::new(AppSockets(supervisor.stock()))),
        fail_closed: VIPS.to_vec(),
        ..Options::default()
    };
    let unhealthy = unready(&args.workload, &BTreeSet::new());
    let plane = member.start(&args.workload, node, Mode::OnDemand, unhealthy, options)?;
    serve_dns(dns, Dns::new(plane.names.clone(), resolvers()?))?;
    // On the workload's own address of this machine: never on one that other machines reach.
    if let Err(error) = plane.serve_metrics((own, leno_run::METRICS_PORT).into()).await {
        tracing::warn!(%error, address = %own, port = leno_run::METRICS_PORT, "metrics are not served");
    }
    attend(&args.workload, supervisor, &plane.health, plane.state.clone()).await?;
    plane.end(AFTER_EXIT).await;
    // The supervisor may be gone already: then nobody waits.
    let _ = supervisor.say(&FromProxy::Drained).await;
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
