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
use leno_proxy::bootstrap::Bootstrap;
use leno_proxy::report::MeshTelemetry;
use leno_proxy::{Options, Proxy as DataPlane, admin, resolve};
use leno_telemetry::metrics::Metrics;
use leno_telemetry::record::LocalWorkload;
use prost::Message;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::env::Environment;
use crate::gateway::{self, Gateway};
use crate::output;
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
        Mode::Encode => encode(&path)?,
        Mode::Validate => {
            compile(&path)?;
            output::text(format!("configuration '{}' OK\n", path.display()))?;
        }
        Mode::Serve => serve(&path, args.concurrency)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn encode(path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path)
        .map_err(|e| anyhow!("cannot read it: {e} — {} — check the path", path.display()))?;
    let bootstrap =
        leno_proto_text::parse_bootstrap(&text).map_err(|e| anyhow!("{e} — {}", path.display()))?;
    io::stdout().write_all(&bootstrap.encode_to_vec())?;
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
        node: bootstrap.compiled.node.message.clone(),
        telemetry: Arc::new(MeshTelemetry::start(Arc::clone(&metrics))?),
        ..Options::default()
    };
    let proxy = DataPlane::start(options)?;
    let admin = bootstrap.admin();
    bootstrap.apply(&mut proxy.updater())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        if let Some(address) = admin {
            let listener = TcpListener::bind(address).await;
            let listener =
                listener.map_err(|e| anyhow!("no admin port: {e} — {address} — change admin.address"))?;
            tokio::spawn(admin::serve(listener, metrics, Arc::new(|| true)));
        }
        if let Err(error) = leno_run::let_go_of_start_up() {
            tracing::debug!(%error, "memory of the start is not given back");
        }
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            () = resolve::keep_resolved(&proxy) => {}
        }
        anyhow::Ok(())
    })?;
    proxy.shutdown();
    Ok(())
}

/// Aware of cgroups and affinity.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a bootstrap names outside of itself.
struct Disk;

impl leno_engine::compile::Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        fs::read(path).map_err(|e| e.to_string())
    }

    fn environment(&self, name: &str) -> Option<String> {
        crate::env::named(name)
    }
}
