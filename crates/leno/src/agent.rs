//! `leno agent`: identity and the way to the control plane, for an Envoy or a gRPC library beside it.
//!
//! In order: get an identity, put its files and sockets in place, start the command; then renew, forward, answer
//! names and tell the mesh how the application is, until the command or the agent is told to end.
//!
//! The control plane is reached through the agent's socket, byte by byte, over TLS with the workload's certificate:
//! the join token and the control plane's address stay here, and who speaks is proved (docs/decisions/0008).

mod caller;
mod certificates;
mod child;
mod forward;
mod membership;
mod readiness;
mod sds;
mod socket;
mod taken;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

pub use certificates::write as write_certificates;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use leno_proto::envoy::config::core::v3::Node;
use leno_proxy::control_plane::ControlPlane;
use leno_proxy::discovery::Teller;
use leno_proxy::dns::Dns;
use leno_proxy::identity::{Issued, Renewal, Request};
use leno_tls::{Crypto, Secrets};
use serde_json::Value;
use tokio::sync::watch;

use crate::bootstrap::{self, EnvoyArgs, Peer, Place};
use crate::env::Environment;
use crate::join::Join;
use crate::node::{self, Program};
use crate::random;
use child::{Child, Ended};
use forward::Listener;
use membership::{Following, Membership};
use readiness::Readiness;
use taken::Taken;

/// Identity and bootstrap beside an Envoy or a proxyless gRPC workload
#[derive(Debug, Args)]
pub struct Agent {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Beside an Envoy as sidecar or gateway: leno agent envoy --service NAME -- envoy -c {bootstrap}
    Envoy {
        #[command(flatten)]
        peer: Peer,
        #[command(flatten)]
        envoy: EnvoyArgs,
        /// Answer the mesh's names there, as capture expects it: 127.0.0.1:15053
        #[arg(long, value_name = "ADDR:PORT")]
        dns: Option<SocketAddr>,
        #[command(flatten)]
        command: CommandArgs,
    },
    /// Beside a program with a gRPC library that speaks xDS: leno agent grpc --service NAME -- CMD
    Grpc {
        #[command(flatten)]
        peer: Peer,
        #[command(flatten)]
        command: CommandArgs,
    },
}

#[derive(Debug, Args)]
struct CommandArgs {
    /// The command and its arguments; {bootstrap} in them is the path of the bootstrap
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What an agent is to do.
struct Plan<'a> {
    program: Program,
    peer: &'a Peer,
    /// Of an Envoy's bootstrap.
    envoy: Option<&'a EnvoyArgs>,
    dns: Option<SocketAddr>,
    command: &'a [OsString],
}

impl Plan<'_> {
    /// As its peer introduces itself.
    fn node(&self, place: &Place) -> Node {
        let workload = &self.peer.workload;
        match self.envoy {
            Some(envoy) => envoy.node(workload, place),
            None => node::node(self.program, workload, &place.name, place.address),
        }
    }

    /// Whether an Envoy listens for the workload.
    fn inbound(&self) -> bool {
        self.envoy.is_some_and(|envoy| !envoy.is_gateway())
    }
}

pub fn run(args: &Agent, environment: &Environment) -> anyhow::Result<ExitCode> {
    let (peer, command) = match &args.kind {
        Kind::Envoy { peer, command, .. } | Kind::Grpc { peer, command } => (peer, command),
    };
    let join = peer.join.resolve(environment)?;
    let place = peer.place(environment)?;
    let (program, envoy, dns) = match &args.kind {
        Kind::Envoy { envoy, dns, .. } => (Program::Envoy, Some(envoy), *dns),
        Kind::Grpc { .. } => (Program::Grpc, None, None),
    };
    let plan = Plan {
        program,
        peer,
        envoy,
        dns,
        command: &command.command,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(&plan, &join, &place))
}

async fn serve(plan: &Plan<'_>, join: &Join, place: &Place) -> anyhow::Result<ExitCode> {
    socket::make_dir(&place.dir)?;
    let sds = socket::bind(&place.sds())?;
    let (xds, bootstrap) = listen(plan, place).await?;
    let (secrets, crypto) = (Arc::new(Secrets::new()), Crypto::system());
    let link = || {
        let (secrets, crypto) = (Arc::clone(&secrets), crypto.clone());
        anyhow::Ok(ControlPlane::new(join.address, join.trust()?, secrets, crypto))
    };
    let (issued, certificate) = watch::channel(None);
    let trust = Teller::new(None);
    let renewal = Renewal::new(
        link()?,
        Arc::clone(&secrets),
        crypto.clone(),
        request(plan, join)?,
    );
    certify(join, renewal.issuing(issued).following(trust.subscribe())).await?;
    let directory = place.certificates();
    certificates::write(&directory, current(&certificate)?.as_ref())?;
    let taken = Arc::new(Taken::new(certificate.clone(), plan.program == Program::Grpc));
    tokio::spawn(certificates::keep_fresh(
        directory,
        certificate.clone(),
        Arc::clone(&taken),
    ));
    tokio::spawn(sds::serve(sds, certificate, Arc::clone(&taken)));
    tokio::spawn(forward::serve(xds, link()?));
    let bootstrap = write_bootstrap(&bootstrap, place)?;

    let (stopping, stop) = watch::channel(false);
    let readiness = Readiness::new(&plan.peer.workload, place.address, plan.inbound());
    let (health, healthy) = watch::channel(readiness.look());
    tokio::spawn(readiness.watch(health, stop));
    let following = Following::new(trust, Arc::clone(&secrets), taken);
    let (membership, names) =
        Membership::new(plan.node(place), link()?, healthy, plan.dns.is_some(), following);
    tokio::spawn(membership.run());
    if let Some(address) = plan.dns {
        serve_dns(address, Dns::new(names, crate::sidecar::resolvers()?)).await?;
    }
    tracing::info!(
        identity = %plan.peer.workload.identity()?, bootstrap = %bootstrap.display(), "ready"
    );
    let command = child::command_line(plan.command, &bootstrap);
    let ended = Child::start(&command, plan.program, &bootstrap)?
        .wait(&stopping)
        .await?;
    Ok(match ended {
        Ended::Told => ExitCode::SUCCESS,
        Ended::Itself(code) => ExitCode::from(code),
    })
}

fn current(certificate: &watch::Receiver<Option<Arc<Issued>>>) -> anyhow::Result<Arc<Issued>> {
    let issued = certificate.borrow().clone();
    issued.context("there is no certificate")
}

fn request(plan: &Plan<'_>, join: &Join) -> anyhow::Result<Request> {
    let workload = &plan.peer.workload;
    Ok(Request {
        id: workload.identity()?,
        token: Some(join.token()?),
        ttl: workload.cert_ttl,
    })
}

/// The first certificate, and from then on the next ones. Until it is there nothing starts; a refusal is final, an
/// absent control plane is waited for.
async fn certify(join: &Join, mut renewal: Renewal) -> anyhow::Result<()> {
    let mut told = false;
    let result = renewal.first(|error| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                "no certificate yet: {error} — {} — waiting for the control plane: start `leno control`, or check \
                 --control",
                join.address
            );
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

/// Where the control plane is reached through us, and a bootstrap that says so.
async fn listen(plan: &Plan<'_>, place: &Place) -> anyhow::Result<(Listener, Value)> {
    let workload = &plan.peer.workload;
    if let Some(args) = plan.envoy {
        let made = bootstrap::envoy(workload, place, args);
        return Ok((Listener::Unix(socket::bind(&place.xds())?), made));
    }
    let listener = socket::bind_port(&place.port_file()).await?;
    let made = bootstrap::grpc(workload, place, listener.local_addr()?.port());
    Ok((Listener::Tcp(listener), made))
}

fn write_bootstrap(bootstrap: &Value, place: &Place) -> anyhow::Result<PathBuf> {
    let path = place.dir.join("bootstrap.json");
    certificates::replace(&path, format!("{bootstrap:#}\n").as_bytes(), 0o600)
        .with_context(|| unwritable(&path))?;
    Ok(path)
}

fn unwritable(path: &Path) -> String {
    format!(
        "cannot be written — {} — free the disk, or give another --dir",
        path.display()
    )
}

async fn serve_dns(address: SocketAddr, dns: Dns) -> anyhow::Result<()> {
    let taken =
        || format!("no names can be answered — {address} — stop what listens there, or give another --dns");
    let udp = tokio::net::UdpSocket::bind(address).await.with_context(taken)?;
    let tcp = tokio::net::TcpListener::bind(address).await.with_context(taken)?;
    tokio::spawn(dns.clone().serve_udp(udp));
    tokio::spawn(dns.serve_tcp(tcp));
    Ok(())
}
