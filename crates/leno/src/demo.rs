//! `leno demo`: a whole mesh on this machine, and a view of it.

mod mesh;
mod screen;
mod traffic;
mod view;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use leno_control::{Handle, Options, StartError};
use leno_proxy::control_plane::CONTROL_PLANE_NAME;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::{self, Mesh};
use crate::duration;
use crate::env::Environment;
use crate::join::Join;
use crate::output;
use mesh::Workloads;
use screen::Screen;
use traffic::Traffic;

/// A whole mesh on this machine: control plane, sample services, load, live view
#[derive(Debug, Args)]
pub struct Demo {
    /// End after this long, print a summary, exit 1 if a request failed or went without mTLS
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    limit: Option<Duration>,
    /// Requests a second to the product page
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Directory of the mesh's configuration, which stays; files that are there already are left as they are [default: a
    /// temporary one]
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Port on loopback for the product page [default: 8080, or a free one if that is taken]
    #[arg(long)]
    port: Option<u16>,
}

/// How long the workloads may take until all of them serve.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Edges from the load to the last service.
const EDGES: usize = 5;

pub fn run(args: &Demo, environment: &Environment) -> anyhow::Result<ExitCode> {
    leno_run::probe()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let passed = runtime.block_on(async {
        // Heard from before there is anything to leave behind.
        let interrupt = Interrupt::new()?;
        let directory = tempfile::Builder::new()
            .prefix("leno-demo-")
            .tempdir()
            .context("a directory for the demo")?;
        let passed = demonstrate(args, environment, directory.path(), interrupt).await;
        directory
            .close()
            .context("the demo's directory cannot be removed")?;
        passed
    })?;
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn demonstrate(
    args: &Demo,
    environment: &Environment,
    directory: &Path,
    mut interrupt: Interrupt,
) -> anyhow::Result<bool> {
    let config = args.config.clone().unwrap_or_else(|| directory.join("mesh"));
    let logs = directory.join("logs");
    std::fs::create_dir_all(&logs)?;
    mesh::write_configuration(&config)?;
    let port = page_port(args.port)?;
    let control = start_control(&config, directory.join("state"), environment).await?;
    let join = Join {
        address: control.secure,
        ca: control.ca.clone(),
        token: control.token.clone(),
    };
    let page = format!("http://127.0.0.1:{port}/productpage");
    output::text(format!(
        "The mesh's configuration is in {}\nThe product page is at {page}\n",
        config.display()
    ))?;
    let mut workloads = Workloads::start(&join, &logs)?;
    let mut run = Run {
        args,
        config: &config,
        page: &page,
        port,
        logs: &logs,
        color: !environment.no_color,
        traffic: Traffic::default(),
        problems: Vec::new(),
    };
    let result = run.watch(&join, &mut workloads, &mut interrupt).await;
    tokio::task::spawn_blocking(move || workloads.stop()).await?;
    control.shutdown().await;
    result?;
    Ok(run.summary()?)
}

/// A control plane of its own, on free ports. Other commands find it, unless another control plane is there for them.
async fn start_control(config: &Path, state: PathBuf, environment: &Environment) -> anyhow::Result<Handle> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = Options {
        config: Some(config.to_owned()),
        rendezvous: environment.rendezvous_file(),
        secure: free,
        plaintext: None,
        admin: free,
        names: vec![CONTROL_PLANE_NAME.to_owned()],
        ..Options::new(state)
    };
    match leno_control::run(options.clone()).await {
        Err(StartError::AlreadyRunning { .. }) => {
            let apart = Options {
                rendezvous: None,
                ..options
            };
            Ok(leno_control::run(apart).await?)
        }
        started => Ok(started?),
    }
}

/// What the user said must be free; else any port does.
fn page_port(said: Option<u16>) -> anyhow::Result<u16> {
    let bound = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr();
    let address = match said {
        Some(port) => bound(port).with_context(|| {
            format!("port {port} cannot be opened — --port — end what listens there (ss -ltnp shows it), or give another one")
        })?,
        None => bound(8080).or_else(|_| bound(0)).context("no port of 127.0.0.1 is free")?,
    };
    Ok(address.port())
}

struct Run<'a> {
    args: &'a Demo,
    config: &'a Path,
    page: &'a str,
    port: u16,
    logs: &'a Path,
    color: bool,
    traffic: Traffic,
    problems: Vec<String>,
}

impl Run<'_> {
    /// Until the time is over or the user ends it.
    async fn watch(
        &mut self,
        join: &Join,
        workloads: &mut Workloads,
        interrupt: &mut Interrupt,
    ) -> anyhow::Result<()> {
        let mesh = Mesh::connect(join).await?;
        let mut edges = mesh.traffic(Duration::from_millis(500), false).await?;
        let mut screen = Screen::open()?;
        let begun = Instant::now();
        let (mut loaded, mut serving) = (false, None);
        loop {
            let update = tokio::select! {
                update = edges.next() => update?,
                () = interrupt.wait() => return Ok(()),
                () = sleep_until(self.end(serving)) => return Ok(()),
            };
            let Some(update) = update else {
                bail!("the control plane ended the traffic stream")
            };
            self.traffic.add(Instant::now(), &update.edges);
            if let Some(ended) = workloads.ended()? {
                bail!(
                    "{ended} — its log is {} — {}",
                    self.logs.display(),
                    self.last_words(&ended)
                );
            }
            let status = mesh.status().await?;
            // Requests begin when all can serve: one that fails is then a failure.
            if !loaded && status.proxies.iter().filter(|p| p.healthy).count() == workloads.count() {
                workloads.open(join, self.logs, self.port)?;
                workloads.load(join, self.logs, self.args.rate)?;
                loaded = true;
            }
            if serving.is_none() && self.traffic.totals().count() >= EDGES {
                serving = Some(Instant::now());
            }
            if serving.is_none() && begun.elapsed() > START_TIMEOUT {
                bail!(
                    "the workloads do not serve after {} s — their logs are in {}",
                    START_TIMEOUT.as_secs(),
                    self.logs.display()
                );
            }
            self.problems = status.diagnostics.iter().map(client::line).collect();
            screen.draw(&view::Model {
                rows: &self.traffic.rows(),
                workloads: workloads.count(),
                directory: self.config,
                page: self.page,
                elapsed: begun.elapsed(),
                remaining: self
                    .end(serving)
                    .map(|end| end.saturating_duration_since(Instant::now())),
                problems: &self.problems,
                color: self.color,
            })?;
        }
    }

    /// `--for` counts from the moment all services are called.
    fn end(&self, serving: Option<Instant>) -> Option<Instant> {
        serving.zip(self.args.limit).map(|(start, limit)| start + limit)
    }

    fn last_words(&self, ended: &str) -> String {
        let name = ended.split(' ').next().unwrap_or_default();
        let log: PathBuf = self.logs.join(format!("{name}.log"));
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.lines().last().unwrap_or("it says nothing").to_owned()
    }

    /// Prints what happened; true if every request succeeded over mTLS.
    fn summary(&self) -> io::Result<bool> {
        let mut sums = (0, 0, 0);
        for (_, total) in self.traffic.totals() {
            sums = (
                sums.0 + total.requests,
                sums.1 + total.failures,
                sums.2 + total.plaintext,
            );
        }
        let (requests, failures, plaintext) = sums;
        let table = view::text(&self.traffic.rows(), screen::width());
        output::text(format!(
            "\n{table}\n{requests} requests, {failures} failed, {plaintext} without mTLS\n"
        ))?;
        Ok(requests > 0 && failures == 0 && plaintext == 0)
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Ctrl-C, or `kill`.
struct Interrupt {
    int: Signal,
    term: Signal,
}

impl Interrupt {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}
