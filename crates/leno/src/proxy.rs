//! `leno proxy`: the data plane, alone on an Envoy bootstrap, or in one of the mesh's roles.
//!
//! The bootstrap's text is read by a short-lived child of the same binary: the descriptors that this takes would
//! otherwise stay in the data plane's memory for ever.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use leno_engine::compile::address::{Address, Pipe};
use leno_proto::envoy::config::bootstrap::v3::Bootstrap as BootstrapMessage;
use leno_proto::envoy::service::discovery::v3::DiscoveryResponse;
use leno_proto::google::protobuf::Any;
use leno_proto_text::{Dumped, Schema, Selection};
use leno_proxy::admin::{self, Admin, Json, Logging, Own, Process, Socket, Wanted};
use leno_proxy::bootstrap::Bootstrap;
use leno_proxy::discovery::{Keeper, State, Text};
use leno_proxy::report::{IstioMetrics, MeshTelemetry};
use leno_proxy::{Demand, Options, Proxy as DataPlane, overload, resolve, runtime, sinks};
use leno_telemetry::metrics::Metrics;
use leno_telemetry::record::LocalWorkload;
use prost::{Message, Name};
use serde::Serialize;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::env::Environment;
use crate::gateway::{self, Gateway};
use crate::logging::Control;
use crate::output;
use crate::random;
use crate::settled::let_go_of_start_up;
use crate::sidecar::{self, Sidecar};

/// The data plane alone, from an Envoy v3 bootstrap, or in one of the mesh's roles
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Proxy {
    #[command(subcommand)]
    role: Option<Role>,
    /// Envoy v3 bootstrap, YAML or JSON
    #[arg(short, long, value_name = "BOOTSTRAP", required_unless_present_any = ["mode"])]
    config: Option<PathBuf>,
    /// `validate` checks the bootstrap and exits
    #[arg(long, value_enum, default_value_t = Mode::Serve)]
    mode: Mode,
    /// What of a config dump is written
    #[arg(long, hide = true)]
    resource: Option<String>,
    #[arg(long, hide = true)]
    mask: Option<String>,
    /// The full name of what is encoded
    #[arg(long, hide = true)]
    message: Option<String>,
    /// What control planes say is kept in this directory, and served from the next start until they answer
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
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
    /// The same of a message of this type
    #[value(hide = true)]
    EncodeMessage,
    /// Write the message on stdin, a `google.protobuf.Any`, as JSON to stdout: what the child of the admin port does
    #[value(hide = true)]
    Dump,
}

pub fn run(args: Proxy, environment: &Environment, logging: Option<Control>) -> anyhow::Result<ExitCode> {
    match args.role {
        Some(Role::Sidecar(args)) => return sidecar::run(&args, environment),
        Some(Role::Gateway(args)) => return gateway::run(&args, environment),
        None => {}
    }
    if args.mode == Mode::Dump {
        return dump(&Selection {
            resource: args.resource,
            mask: args.mask,
        });
    }
    let Some(path) = args.config else {
        bail!("no bootstrap — the command line — give -c BOOTSTRAP")
    };
    match args.mode {
        Mode::Encode => encode::<BootstrapMessage>(&path)?,
        Mode::EncodeResponse => encode::<DiscoveryResponse>(&path)?,
        Mode::EncodeMessage => {
            let text = fs::read_to_string(path)?;
            let message = Schema::load().any_from_text(&text, &args.message.unwrap_or_default())?;
            io::stdout().write_all(&message.value)?;
        }
        Mode::Validate => {
            compile(&path, &read(&path)?)?;
            output::text(format!("configuration '{}' OK\n", path.display()))?;
        }
        Mode::Serve => {
            let Some(logging) = logging else {
                bail!("nothing is logged")
            };
            serve(&path, args.concurrency, args.state.as_deref(), logging)?;
        }
        Mode::Dump => {}
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

/// The exit code says which of [`Json`] it is.
const NO_RESOURCE: u8 = 3;
const NO_FIELD: u8 = 4;

fn dump(selection: &Selection) -> anyhow::Result<ExitCode> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    let message = Any::decode(bytes.as_slice())?;
    let json = match Schema::load().dump(&message, selection)? {
        Dumped::Json(json) => json,
        Dumped::NoResource => return Ok(NO_RESOURCE.into()),
        Dumped::NoField => return Ok(NO_FIELD.into()),
    };
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut out = serde_json::Serializer::with_formatter(io::stdout().lock(), format);
    json.serialize(&mut out)?;
    output::text("\n")?;
    Ok(ExitCode::SUCCESS)
}

/// What is asked of the child.
fn write_json(message: &Any, wanted: &Wanted) -> Result<Json, String> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["proxy", "--mode", "dump"]);
    for (option, value) in [("--resource", &wanted.resource), ("--mask", &wanted.mask)] {
        if let Some(value) = value {
            command.arg(format!("{option}={value}"));
        }
    }
    let output = ask(&mut command, &message.encode_to_vec())?;
    match output.status.code().map(u8::try_from) {
        Some(Ok(0)) => {}
        Some(Ok(NO_RESOURCE)) => return Ok(Json::NoResource),
        Some(Ok(NO_FIELD)) => return Ok(Json::NoField),
        _ => return Err(format!("the child ended with {}", output.status)),
    }
    let text = String::from_utf8(output.stdout);
    text.map(Json::Text).map_err(|_| "it is no text".to_owned())
}

/// A child of ours, and what it makes of this.
fn ask(command: &mut Command, input: &[u8]) -> Result<Output, String> {
    let mut ask = || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // The child reads to the end before it writes.
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        child.wait_with_output()
    };
    ask().map_err(|e| format!("this program cannot be started again: {e}"))
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
    encoded(&["--mode", "encode-response"], text)
}

fn read_json(text: &str, full_name: &str) -> Result<Vec<u8>, String> {
    encoded(&["--mode", "encode-message", "--message", full_name], text)
}

fn encoded(how: &[&str], text: &str) -> Result<Vec<u8>, String> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("proxy").args(how).args(["-c", "/dev/stdin"]);
    command.stderr(Stdio::piped());
    let output = ask(&mut command, text.as_bytes())?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn text() -> Text {
    Text {
        response: Arc::new(response),
        json: Arc::new(|message| match write_json(message, &Wanted::default())? {
            Json::Text(text) => Ok(text),
            Json::NoResource | Json::NoField => Err("nothing is written".to_owned()),
        }),
    }
}

fn compile(path: &Path, message: &BootstrapMessage) -> anyhow::Result<Bootstrap> {
    let compiled = Bootstrap::compile(message, &Disk).map_err(|e| anyhow!("{e} — {}", path.display()))?;
    for warning in &compiled.warnings.0 {
        eprintln!("warning: {warning} — {}", path.display());
    }
    Ok(compiled)
}

fn serve(
    path: &Path,
    concurrency: Option<usize>,
    state: Option<&Path>,
    logging: Control,
) -> anyhow::Result<()> {
    let (started, started_at) = (Instant::now(), SystemTime::now());
    let message = read(path)?;
    let bootstrap = compile(path, &message)?;
    let concurrency = concurrency.unwrap_or_else(cores);
    let metrics = Arc::new(Metrics::new(LocalWorkload::default()));
    let (demand, questions) = Demand::when_told();
    let options = Options {
        concurrency,
        demand,
        node: bootstrap.compiled.node.message.clone(),
        runtime: bootstrap.layers(),
        overload: bootstrap.compiled.overload.clone(),
        stats_config: bootstrap.compiled.stats.clone(),
        telemetry: Arc::new(MeshTelemetry::start(
            Arc::clone(&metrics),
            IstioMetrics::WhereAsked,
        )?),
        ..Options::default()
    };
    let proxy = Arc::new(DataPlane::start(options)?);
    let admin = bootstrap.compiled.admin.clone();
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let quit = Arc::new(Notify::new());
    executor.block_on(async {
        let (state, following) = if bootstrap.is_static() {
            bootstrap.apply(&mut proxy.updater())?;
            let ready = State {
                ready: true,
                ..State::default()
            };
            (watch::channel(ready).1, None)
        } else {
            let keeper = state.map(|state| keeper(state, &bootstrap)).transpose()?;
            let following = bootstrap.follow(&proxy, questions, Some(text()), keeper, random::number)?;
            (following.state.clone(), Some(following))
        };
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let handle = proxy.handle();
        if let Some(address) = admin {
            let socket = bind(&address)
                .map_err(|e| anyhow!("no admin port: {e} — {address} — change admin.address"))?;
            let ready = state.clone();
            let admin = Admin {
                secrets: None,
                metrics,
                ready: Arc::new(move || ready.borrow().ready),
                denials: None,
                own: Some(Own {
                    proxy: proxy.handle(),
                    bootstrap: message.encode_to_vec(),
                    json: Arc::new(write_json),
                    read_json: Arc::new(read_json),
                    process: Process {
                        version: format!("leno/{}", env!("CARGO_PKG_VERSION")),
                        config_path: path.to_owned(),
                        concurrency,
                        started,
                        started_at,
                    },
                    logging: Logging::new(logging.directives, logging.set),
                    dumps: following.as_ref().map(|following| following.dumps.clone()),
                    quit: Arc::clone(&quit),
                }),
            };
            tokio::spawn(admin::serve(socket, Arc::new(admin)));
        }
        drop(message);
        tokio::spawn(let_go_of_start_up());
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            () = quit.notified() => {}
            () = resolve::keep_resolved(&proxy) => {}
            () = runtime::keep_loaded(&handle) => {}
            () = overload::keep_watched(&handle) => {}
            () = sinks::keep_told(&handle) => {}
            why = refused(state) => bail!("{why}"),
        }
        drop(following);
        anyhow::Ok(())
    })?;
    drop(executor);
    if let Some(proxy) = Arc::into_inner(proxy) {
        proxy.shutdown();
    }
    Ok(())
}

fn keeper(directory: &Path, bootstrap: &Bootstrap) -> anyhow::Result<Keeper> {
    Keeper::open(directory, &bootstrap.compiled.node.message).map_err(|e| {
        anyhow!(
            "no configuration can be kept: {e} — {} — give another --state",
            directory.display()
        )
    })
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

/// A socket that an earlier process has left in the file system is taken over.
fn bind(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Socket(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Socket::Tcp(TcpListener::from_std(listener)?))
        }
        Address::Pipe(Pipe { path, .. }) => {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            Ok(Socket::Unix(UnixListener::bind(path)?))
        }
        // Refused when it is compiled.
        Address::Internal(_) => Err(io::ErrorKind::Unsupported.into()),
    }
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

    fn hostname(&self) -> Option<String> {
        leno_proxy::hostname()
    }

    fn time_zone(&self) -> Option<Vec<u8>> {
        leno_proxy::time_zone(crate::env::named("TZ").as_deref())
    }
}
