//! `leno proxy`: the data plane, alone on an Envoy bootstrap, or in one of the mesh's roles.
//!
//! The bootstrap's text is read by a short-lived child of the same binary: the descriptors that this takes would
//! otherwise stay in the data plane's memory for ever.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use leno_proto::envoy::config::bootstrap::v3::Bootstrap as BootstrapMessage;
use leno_proto::envoy::service::discovery::v3::DiscoveryResponse;
use leno_proto_text::Schema;
use leno_proxy::bootstrap::Bootstrap;
use leno_proxy::discovery::State;
use leno_proxy::report::MeshTelemetry;
use leno_proxy::{Options, Proxy as DataPlane, admin, resolve};
use leno_telemetry::metrics::Metrics;
use leno_telemetry::record::LocalWorkload;
use prost::{Message, Name};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::env::Environment;
use crate::gateway::{self, Gateway};
use crate::output;
use crate::random;
use crate::sidecar::{self, Sidecar};

/// The data plane alone, from an Envoy v3 bootstrap, or in one of the mesh's roles
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Proxy {
    #[command(subcommand)]
    role: Option<Role>,
    /// Envoy v3 bootstrap, YAML or JSON
    #[arg(short, long, value_name = "BOOTSTRAP", required = true)]
    config: Option<PathBuf>,
    /// `validate` checks the bootstrap and exits
    #[arg(long, value_enum, default_value_t = Mode::Serve)]
    mode: Mode,
    /// Worker threads; by default as many as there are cores
    #[arg(long)]
    concurrency: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Role {
    Sidecar(Box<Sidecar>),
    Gateway(Box<Gateway>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Serve,
    Validate,
    /// Write the bootstrap in protobuf's wire format to stdout: what the child does
    #[value(hide = true)]
    Encode,
    /// The same of a discovery response
    #[value(hide = true)]
    EncodeResponse,
}

pub fn run(args: Proxy, environment: &Environment) -> anyhow::Result<ExitCode> {
    match args.role {
        Some(Role::Sidecar(args)) => return sidecar::run(&args, environment),
        Some(Role::Gateway(args)) => return gateway::run(&args, environment),
        None => {}
    }
    let Some(path) = args.config else {
        bail!("no bootstrap — the command line — give -c BOOTSTRAP")
    };
    match args.mode {
        Mode::Encode => encode::<BootstrapMessage>(&path)?,
        Mode::EncodeResponse => encode::<DiscoveryResponse>(&path)?,
        Mode::Validate => {
            compile(&path)?;
            output::text(format!("configuration '{}' OK\n", path.display()))?;
        }
        Mode::Serve => serve(&path, args.concurrency)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn encode<M: Message + Name + Default>(path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path)
        .map_err(|e| anyhow!("cannot read it: {e} — {} — check the path", path.display()))?;
    let message: M = Schema::load()
        .from_text(&text)
        .map_err(|e| anyhow!("{e} — {}", path.display()))?;
    io::stdout().write_all(&message.encode_to_vec())?;
    Ok(())
}

/// The child's standard error is ours: what is wrong with the text has been said when this fails.
fn read(path: &Path) -> anyhow::Result<BootstrapMessage> {
    let output = Command::new("/proc/self/exe")
        .args(["proxy", "--mode", "encode", "-c"])
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .context("this program cannot be started again")?;
    if !output.status.success() {
        std::process::exit(1);
    }
    Ok(BootstrapMessage::decode(output.stdout.as_slice())?)
}

/// What is in a file that is watched: read by a child too.
fn response(text: &str) -> Result<Vec<u8>, String> {
    let mut child = Command::new("/proc/self/exe")
        .args(["proxy", "--mode", "encode-response", "-c", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("this program cannot be started again: {error}"))?;
    // Closed, so that the child sees the end; it says nothing before.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn compile(path: &Path) -> anyhow::Result<Bootstrap> {
    let compiled =
        Bootstrap::compile(&read(path)?, &Disk).map_err(|e| anyhow!("{e} — {}", path.display()))?;
    for warning in &compiled.warnings.0 {
        eprintln!("warning: {warning} — {}", path.display());
    }
    Ok(compiled)
}

fn serve(path: &Path, concurrency: Option<usize>) -> anyhow::Result<()> {
    let bootstrap = compile(path)?;
    let metrics = Arc::new(Metrics::new(LocalWorkload::default()));
    let options = Options {
        concurrency: concurrency.unwrap_or_else(cores),
        telemetry: Arc::new(MeshTelemetry::start(Arc::clone(&metrics))?),
        ..Options::default()
    };
    let proxy = Arc::new(DataPlane::start(options)?);
    let admin = bootstrap.admin();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (state, following) = if bootstrap.is_static() {
            bootstrap.apply(&mut proxy.updater())?;
            let ready = State {
                ready: true,
                ..State::default()
            };
            (watch::channel(ready).1, None)
        } else {
            let following = bootstrap.follow(&proxy, Some(Arc::new(response)), random::number)?;
            (following.state.clone(), Some(following))
        };
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        if let Some(address) = admin {
            let listener = TcpListener::bind(address).await;
            let listener =
                listener.map_err(|e| anyhow!("no admin port: {e} — {address} — change admin.address"))?;
            let ready = state.clone();
            tokio::spawn(admin::serve(listener, metrics, Arc::new(move || ready.borrow().ready)));
        }
        if let Err(error) = leno_run::let_go_of_start_up() {
            tracing::debug!(%error, "memory of the start is not given back");
        }
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            () = resolve::keep_resolved(&proxy) => {}
            why = refused(state) => bail!("{why}"),
        }
        drop(following);
        anyhow::Ok(())
    })?;
    drop(runtime);
    if let Some(proxy) = Arc::into_inner(proxy) {
        proxy.shutdown();
    }
    Ok(())
}

/// What the bootstrap itself says and cannot be in force.
async fn refused(mut state: watch::Receiver<State>) -> String {
    let refused = state.wait_for(|state| state.refused.is_some()).await;
    match refused.ok().and_then(|state| state.refused.clone()) {
        Some(why) => why,
        // Nobody says anything any more.
        None => std::future::pending().await,
    }
}

/// Aware of cgroups and affinity.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Certificates that a bootstrap names by file.
struct Disk;

impl leno_engine::compile::Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        fs::read(path).map_err(|e| e.to_string())
    }
}
