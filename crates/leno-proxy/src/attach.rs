//! The side stream to the control plane: what the proxy measured, and answers to what operators ask of it.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::control::{Command, Dump, Hello, Problems, Report, Resource, TrafficReport, command, report};
use leno_proto::type_url;
use leno_telemetry::metrics::Changes;
use leno_telemetry::tap::Taps;
use tokio::sync::{mpsc, oneshot, watch};

use crate::control_plane::ControlPlane;
use crate::discovery::{Dump as Known, Dumped, Problem, State};
use crate::grpc::{self, Channel, Receiver, Sender};
use crate::tap::Asked;

const ATTACH: &str = "/leno.control.v1.Mesh/Attach";
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Edges of one message: with labels, each is less than a kilobyte.
const MOST_IN_REPORT: usize = 512;
const RETRY: Duration = Duration::from_secs(1);

pub struct Attachment {
    pub control: ControlPlane,
    pub node_id: String,
    /// Tells this run of the proxy from others.
    pub start: u64,
    pub changes: Changes,
    pub taps: Arc<Taps>,
    /// The process is about to end: the last report is made, and the stream ended in order.
    pub farewell: Farewells,
    pub dumps: mpsc::Sender<oneshot::Sender<Known>>,
    /// The certificates in use, without their keys.
    pub secrets: Arc<dyn Fn() -> Vec<Resource> + Send + Sync>,
    /// Where the problems are that are told.
    pub state: watch::Receiver<State>,
}

/// By which a process that is about to end has its last report made.
pub struct Farewell(mpsc::Sender<oneshot::Sender<()>>);

/// Where an [`Attachment`] hears of it.
pub struct Farewells(mpsc::Receiver<oneshot::Sender<()>>);

impl Farewell {
    pub fn new() -> (Self, Farewells) {
        let (said, heard) = mpsc::channel(1);
        (Self(said), Farewells(heard))
    }

    /// Returns when the control plane has all that was counted, or time is up.
    pub async fn say(&self, within: Duration) {
        let (done, told) = oneshot::channel();
        if self.0.try_send(done).is_ok() {
            let _ = tokio::time::timeout(within, told).await;
        }
    }
}

/// How a side stream has ended in order.
enum Ended {
    ByControlPlane,
    Farewell,
}

impl Attachment {
    /// Runs until the farewell; a lost stream is opened anew, and since reports are sums nothing is lost with it.
    pub async fn run(mut self) {
        loop {
            match self.attend().await {
                Ok(Ended::Farewell) => return,
                Ok(Ended::ByControlPlane) => {}
                Err(error) => tracing::debug!(%error, "the side stream to the control plane is down"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                // There is nobody to be told.
                _ = self.farewell.0.recv() => return,
            }
        }
    }

    async fn attend(&mut self) -> Result<Ended, grpc::Error> {
        let target = self
            .control
            .joined()
            .map_err(|e| grpc::Error::Protocol(e.to_string()))?;
        let channel = Channel::connect(&target).await?;
        let (mut sender, mut receiver): (Sender<Report>, Receiver<Command>) =
            channel.stream(ATTACH, None).await?;
        say(
            &mut sender,
            report::What::Hello(Hello {
                node_id: self.node_id.clone(),
                start: self.start,
            }),
        )?;
        self.changes.forget();
        let mut tick = tokio::time::interval(REPORT_EVERY);
        let mut told = Vec::new();
        let mut asked = Asked::new(Arc::clone(&self.taps));
        loop {
            tokio::select! {
                command = receiver.next() => {
                    let Some(command) = command? else { return Ok(Ended::ByControlPlane) };
                    match command.what {
                        Some(command::What::Tap(start)) => asked.start(command.id, start),
                        Some(command::What::Untap(stop)) => asked.stop(stop.id),
                        what => {
                            let dump = self.obey(command.id, what).await;
                            say(&mut sender, report::What::Dump(dump))?;
                        }
                    }
                }
                reports = asked.next() => {
                    for report in reports {
                        let what = Some(report::What::Tap(report));
                        sender.send_in_turn(&Report { what }).await?;
                    }
                }
                _ = tick.tick() => {
                    let problems = self.state.borrow().problems.clone();
                    if problems != told {
                        say(&mut sender, report::What::Problems(self::problems(&problems)))?;
                        told = problems;
                    }
                    self.report(&mut sender, &asked)?;
                }
                Some(done) = self.farewell.0.recv() => {
                    self.report(&mut sender, &asked)?;
                    sender.finish()?;
                    // Ended on both sides: all has arrived.
                    while receiver.next().await?.is_some() {}
                    let _ = done.send(());
                    return Ok(Ended::Farewell);
                }
            }
        }
    }

    /// What has changed since the last time.
    fn report(&mut self, sender: &mut Sender<Report>, asked: &Asked) -> Result<(), grpc::Error> {
        let changed = self.changes.read();
        for edges in changed.chunks(MOST_IN_REPORT) {
            let edges = edges.to_vec();
            say(sender, report::What::Traffic(TrafficReport { edges }))?;
        }
        for losses in asked.losses() {
            say(sender, report::What::Tap(losses))?;
        }
        Ok(())
    }

    async fn obey(&self, id: u64, what: Option<command::What>) -> Dump {
        let Some(command::What::Dump(request)) = what else {
            return Dump {
                id,
                error: "this proxy does not know the command: it is older than the control plane".into(),
                ..Dump::default()
            };
        };
        let mut resources = Vec::new();
        if matches!(request.kind.as_str(), "secrets" | "all") {
            resources.extend((self.secrets)());
        }
        let (reply, dumped) = oneshot::channel();
        if self.dumps.send(reply).await.is_ok() {
            let dumped = dumped.await.unwrap_or_default();
            resources.extend(
                dumped
                    .resources
                    .into_iter()
                    .filter(|d| wanted(&request.kind, d))
                    .filter_map(resource),
            );
        }
        Dump {
            id,
            resources,
            ..Dump::default()
        }
    }
}

fn say(sender: &mut Sender<Report>, what: report::What) -> Result<(), grpc::Error> {
    sender.send(&Report { what: Some(what) })
}

fn problems(problems: &[Problem]) -> Problems {
    let problems = problems.iter().map(|problem| leno_proto::control::Problem {
        r#type: type_url::abbreviation(problem.kind.type_url())
            .unwrap_or_default()
            .to_owned(),
        message: problem.message.clone(),
    });
    Problems {
        problems: problems.collect(),
    }
}

fn wanted(kind: &str, dumped: &Dumped) -> bool {
    use crate::resources::Kind;
    match kind {
        // Certificates are shown by those who hold them, without keys.
        _ if dumped.name.0 == Kind::Secret => false,
        "all" => true,
        "clusters" => dumped.name.0 == Kind::Cluster,
        "listeners" => dumped.name.0 == Kind::Listener,
        "routes" => dumped.name.0 == Kind::Route,
        "endpoints" => dumped.name.0 == Kind::Endpoints,
        _ => false,
    }
}

/// What is in force.
fn resource(dumped: Dumped) -> Option<Resource> {
    let active = dumped.active?;
    Some(Resource {
        name: dumped.name.1,
        type_url: dumped.name.0.type_url().to_owned(),
        version: active.version,
        body: active.body.to_vec(),
        error: dumped.rejected.map(|rejected| rejected.why).unwrap_or_default(),
    })
}
