//! `leno demo`: a whole mesh on this machine, and a view of it.

mod mesh;
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
use leno_proto::control::{StatusResponse, TrafficResponse};
use leno_proxy::control_plane::CONTROL_PLANE_NAME;
use leno_proxy::grpc::Receiver;

use crate::client::{self, Mesh};
use crate::dashboard;
use crate::duration;
use crate::env::Environment;
use crate::interrupt::Interrupt;
use crate::join::Join;
use crate::output;
use crate::screen::Screen;
use crate::seeing::show;
use mesh::Workloads;
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
/// How often the view is drawn anew.
const REDRAW: Duration = Duration::from_millis(500);
/// How long a control plane may be away where nobody looks.
const PATIENCE: Duration = Duration::from_secs(10);
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
    let dashboard = dashboard::url(control.admin);
    output::text(format!(
        "The mesh's configuration is in {}\nThe product page is at {page}\nThe dashboard is at {dashboard}\n",
        config.display()
    ))?;
    let mut workloads = Workloads::start(&join, &logs)?;
    let mut run = Run {
        args,
        config: &config,
        page: &page,
        dashboard: &dashboard,
        port,
        logs: &logs,
        color: !environment.no_color,
        begun: Instant::now(),
        serving: None,
        loaded: false,
        traffic: Traffic::default(),
        problems: Vec::new(),
        ended: Vec::new(),
        lost: None,
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
    dashboard: &'a str,
    port: u16,
    logs: &'a Path,
    color: bool,
    begun: Instant,
    /// Since when all services are called.
    serving: Option<Instant>,
    loaded: bool,
    traffic: Traffic,
    problems: Vec<String>,
    ended: Vec<String>,
    /// Since when the control plane has not answered.
    lost: Option<Instant>,
}

/// What the control plane is asked on; the channel ends with it.
struct Link {
    mesh: Mesh,
    edges: Receiver<TrafficResponse>,
}

impl Link {
    async fn open(join: &Join) -> anyhow::Result<Self> {
        let mesh = Mesh::connect(join).await?;
        let edges = mesh.traffic(REDRAW, false).await?;
        Ok(Self { mesh, edges })
    }

    /// The newest sums, and who is there.
    async fn next(&mut self) -> anyhow::Result<(TrafficResponse, StatusResponse)> {
        let update = self.edges.next().await?;
        let update = update.context("the control plane ended the traffic stream")?;
        Ok((update, self.mesh.status().await?))
    }
}

impl Run<'_> {
    /// Until the time is over or the user ends it.
    async fn watch(
        &mut self,
        join: &Join,
        workloads: &mut Workloads,
        interrupt: &mut Interrupt,
    ) -> anyhow::Result<()> {
        let mut link = Some(Link::open(join).await?);
        let mut screen = Screen::open()?;
        loop {
            let update = tokio::select! {
                update = news(&mut link, join) => update,
                () = interrupt.wait() => return self.verdict(),
                () = sleep_until(self.end()) => return self.verdict(),
            };
            match update {
                Ok((update, status)) => {
                    self.lost = None;
                    self.traffic.add(Instant::now(), &update.edges);
                    self.problems = status.diagnostics.iter().map(client::line).collect();
                    self.advance(&status, join, workloads)?;
                }
                Err(error) => {
                    link = None;
                    let since = *self.lost.get_or_insert_with(Instant::now);
                    if !screen.is_terminal() && since.elapsed() > PATIENCE {
                        return Err(error.context("the control plane does not answer any more"));
                    }
                }
            }
            self.ended = self.obituaries(workloads)?;
            // With nobody looking there is nothing to wait for.
            if !screen.is_terminal() && !self.ended.is_empty() {
                return self.verdict();
            }
            self.draw(&mut screen, workloads.count())?;
        }
    }

    /// Requests begin when all can serve: one that fails is then a failure.
    fn advance(
        &mut self,
        status: &StatusResponse,
        join: &Join,
        workloads: &mut Workloads,
    ) -> anyhow::Result<()> {
        let healthy = status.proxies.iter().filter(|p| p.healthy).count();
        if !self.loaded && healthy == workloads.count() {
            workloads.open(join, self.logs, self.port)?;
            workloads.load(join, self.logs, self.args.rate)?;
            self.loaded = true;
        }
        if self.serving.is_none() && self.traffic.totals().count() >= EDGES {
            self.serving = Some(Instant::now());
        }
        if self.serving.is_none() && self.ended.is_empty() && self.begun.elapsed() > START_TIMEOUT {
            bail!(
                "the workloads do not serve after {} s — their logs are in {}",
                START_TIMEOUT.as_secs(),
                self.logs.display()
            );
        }
        Ok(())
    }

    fn draw(&self, screen: &mut Screen, workloads: usize) -> io::Result<()> {
        let rows = self.traffic.rows();
        let model = view::Model {
            rows: &rows,
            workloads,
            ended: &self.ended,
            lost: self.lost.map(|since| since.elapsed()),
            directory: self.config,
            page: self.page,
            dashboard: self.dashboard,
            elapsed: self.begun.elapsed(),
            remaining: self
                .end()
                .map(|end| end.saturating_duration_since(Instant::now())),
            problems: &self.problems,
            color: self.color,
        };
        screen.draw(|frame| view::draw(frame, &model))
    }

    /// Workloads that have ended by themselves, which none should.
    fn obituaries(&self, workloads: &mut Workloads) -> io::Result<Vec<String>> {
        let ended = workloads.ended()?.into_iter().map(|(name, status)| {
            let log = self.logs.join(format!("{name}.log"));
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let last = text.lines().last().unwrap_or("it said nothing");
            format!(
                "{name} ended: {status} — {} — {}",
                log.display(),
                show::harmless(last)
            )
        });
        Ok(ended.collect())
    }

    fn verdict(&self) -> anyhow::Result<()> {
        match self.ended.as_slice() {
            [] => Ok(()),
            ended => bail!("{}", ended.join("\n")),
        }
    }

    /// `--for` counts from the moment all services are called.
    fn end(&self) -> Option<Instant> {
        self.serving
            .zip(self.args.limit)
            .map(|(start, limit)| start + limit)
    }

    /// Prints what happened; true if every request succeeded over mTLS.
    fn summary(&self) -> io::Result<bool> {
        let (mut requests, mut failures, mut plaintext) = (0, 0, 0);
        for (_, total) in self.traffic.totals() {
            requests += total.sums.requests;
            failures += total.sums.failures;
            plaintext += total.sums.plaintext;
        }
        let table = view::text(&self.traffic.rows(), output::width());
        output::text(format!(
            "\n{table}\n{requests} requests, {failures} failed, {plaintext} without mTLS\n"
        ))?;
        Ok(requests > 0 && failures == 0 && plaintext == 0)
    }
}

/// What the control plane says next, over a link that is made anew where the last one broke.
async fn news(link: &mut Option<Link>, join: &Join) -> anyhow::Result<(TrafficResponse, StatusResponse)> {
    match link {
        Some(link) => link.next().await,
        None => {
            tokio::time::sleep(REDRAW).await;
            link.insert(Link::open(join).await?).next().await
        }
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}
