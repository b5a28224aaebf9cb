//! `leno proxy sidecar`: the data plane beside a workload that `leno run` launched.
//!
//! In order: take the sockets, get an identity, learn the mesh, say ready; then serve until the command has ended.

mod node;
mod supervisor;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use leno_control::names::{VIP_V4, VIP_V6};
use leno_dns::NameTable;
use leno_proto::envoy::config::core::v3::Node;
use leno_proxy::attach::Attachment;
use leno_proxy::control_plane::ControlPlane;
use leno_proxy::discovery::{Discovery, Mode, State};
use leno_proxy::dns::{self, Dns};
use leno_proxy::identity::{Renewal, Request};
use leno_proxy::{Demand, Options, Origin, PassedSocket, Proxy, Updater};
use leno_run::{FromProxy, Handoff, HostRole, NamespaceListener, NamespaceRole};
use leno_tls::{Crypto, Secrets};
use leno_xds::client::Client;
use tokio::sync::{mpsc, watch};

use crate::env::Environment;
use crate::join::{Join, JoinArgs};
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

/// How long a worker waits for the control plane to say what a new destination is.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn run(args: &Sidecar, environment: &Environment) -> anyhow::Result<()> {
    let handoff = Handoff::take()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut supervisor = Supervisor::new(handoff.channel)?;
        let address = args.workload.advertise.unwrap_or(IpAddr::V4(handoff.address));
        let sockets = handoff.listeners.into_iter().map(|l| (l.role, l.socket)).collect();
        let result = serve(args, environment, &mut supervisor, address, sockets).await;
        if let Err(error) = &result {
            // The launcher prints it: a user sees one message, not two.
            supervisor.say(&FromProxy::Failed { message: format!("{error:#}") }).await?;
        }
        result
    })
}

async fn serve(
    args: &Sidecar,
    environment: &Environment,
    supervisor: &mut Supervisor,
    address: IpAddr,
    host: Vec<(HostRole, OwnedFd)>,
) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let inside = supervisor.listeners().await?;
    let (secrets, crypto) = (Arc::new(Secrets::new()), Crypto::system());
    let link = || anyhow::Ok(ControlPlane::new(join.address, join.trust()?, Arc::clone(&secrets), crypto.clone()));
    let id = args.workload.identity()?;
    certify(args, &join, link()?, &secrets, &crypto).await?;

    let name = format!("{}-{}", args.workload.base_name(), random::suffix());
    let node = node::node(&args.workload, &name, address);
    let (demand, questions) = Demand::new(PATIENCE);
    let (passed, dns) = sort(inside, host);
    let proxy = Proxy::start(Options {
        concurrency: args.concurrency,
        sockets: passed,
        demand,
        secrets: Arc::clone(&secrets),
        crypto: crypto.clone(),
        workload: Some(Arc::new(AppSockets(supervisor.stock()))),
        local: node::local(&args.workload, id.as_str()),
        local_metadata: node::metadata(&args.workload, &node),
        fail_closed: vec![VIP_V4, VIP_V6],
    })?;

    let (health, healthy) = watch::channel(unready(&args.workload, &BTreeSet::new()));
    let (names, table) = watch::channel(Arc::new(NameTable::default()));
    let (state, mut ready) = watch::channel(State::default());
    let (dumps, asked) = mpsc::channel(4);
    let discovery = Discovery {
        client: Client::new(node.clone()),
        control: link()?,
        updater: proxy.updater(),
        questions,
        dumps: asked,
        health: healthy,
        names,
        namespace: args.workload.namespace.clone(),
        state,
        random: random::number,
        mode: Mode::OnDemand,
    };
    tokio::spawn(discovery.run());
    serve_dns(dns, Dns::new(table, resolvers()?))?;
    let metrics = proxy.metrics();
    let attachment = Attachment {
        control: link()?,
        node_id: node.id.clone(),
        edges: Arc::new(move || metrics.edges()),
        dumps,
        secrets: certificates(&secrets),
    };
    tokio::spawn(attachment.run());

    // A stop before the start must be heard too.
    tokio::select! {
        ready = ready.wait_for(|s| s.ready) => { ready.context("discovery ended")?; }
        () = until_gone(supervisor) => return Ok(()),
    }
    supervisor.say(&FromProxy::Ready).await?;
    attend(args, supervisor, &health, proxy).await
}
