//! The side stream to the control plane: what the proxy measured, and answers to what operators ask of it.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::control::{Command, Dump, Hello, Problems, Report, Resource, TrafficReport, command, report};
use leno_proto::type_url;
use leno_telemetry::metrics::Changes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::control_plane::ControlPlane;
use crate::discovery::{Dumped, Problem, State};
use crate::grpc::{self, Channel, Receiver, Sender};

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
    pub dumps: mpsc::Sender<oneshot::Sender<Vec<Dumped>>>,
    /// The certificates in use, without their keys.
    pub secrets: Arc<dyn Fn() -> Vec<Resource> + Send + Sync>,
    /// Where the problems are that are told.
    pub state: watch::Receiver<State>,
}

impl Attachment {
    /// Runs for ever; a lost stream is opened anew, and since reports are sums nothing is lost with it.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.attend().await {
                tracing::debug!(%error, "the side stream to the control plane is down");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn attend(&mut self) -> Result<(), grpc::Error> {
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
        loop {
            tokio::select! {
                command = receiver.next() => {
                    let Some(command) = command? else { return Ok(()) };
                    let dump = self.obey(command).await;
                    say(&mut sender, report::What::Dump(dump))?;
                }
                _ = tick.tick() => {
                    let problems = self.state.borrow().problems.clone();
                    if problems != told {
                        say(&mut sender, report::What::Problems(self::problems(&problems)))?;
                        told = problems;
                    }
                    let changed = self.changes.read();
                    for edges in changed.chunks(MOST_IN_REPORT) {
                        let edges = edges.to_vec();
                        say(&mut sender, report::What::Traffic(TrafficReport { edges }))?;
                    }
                }
            }
        }
    }

    async fn obey(&self, command: Command) -> Dump {
        let id = command.id;
        let Some(command::What::Dump(request)) = command.what else {
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
                    .into_iter()
                    .filter(|d| wanted(&request.kind, d))
                    .map(resource),
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

fn resource(dumped: Dumped) -> Resource {
    Resource {
        name: dumped.name.1,
        type_url: dumped.name.0.type_url().to_owned(),
        version: dumped.version,
        body: dumped.body.to_vec(),
        error: dumped.error.unwrap_or_default(),
    }
}
