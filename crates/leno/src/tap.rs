//! `leno tap`: live requests, one on a line.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Args, ValueEnum};
use leno_proto::control::{Edge, Peer, TapFilter, TapRecord, TapRequest, TapResponse};
use leno_telemetry::access_log::rfc3339;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::client::Mesh;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output;
use crate::seeing::show;
use crate::seeing::target::Target;

/// Live requests: who calls whom for what, and what came of it
#[derive(Debug, Args)]
pub struct Tap {
    #[command(flatten)]
    watched: Watched,
    /// End after so many requests
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Which requests are watched; `leno top` asks the same.
#[derive(Clone, Debug, Args)]
pub struct Watched {
    /// Whose requests: a workload or service (svc/NAME, workload/NAME), or ns/NAMESPACE; all if left out
    #[arg(value_parser = Target::parse)]
    target: Option<Target>,
    /// Namespace of the target
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only this method
    #[arg(long)]
    method: Option<String>,
    /// Only paths that begin like this, or, after a ~, that match a regular expression: ~/reviews/[0-9]+
    #[arg(long)]
    path: Option<String>,
    /// Only these: 404, 5xx, 500-504, several with commas; 0 is no response
    #[arg(long)]
    status: Option<String>,
    /// Only requests for this host or service
    #[arg(long)]
    host: Option<String>,
    /// Only with this other side: NAME, NAME.NAMESPACE, ns/NAMESPACE or a SPIFFE id
    #[arg(long, conflicts_with_all = ["to", "from"])]
    peer: Option<String>,
    /// Only what the target asks of this one
    #[arg(long, value_name = "PEER", conflicts_with = "from")]
    to: Option<String>,
    /// Only what this one asks of the target
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    /// Requests a second, at most; how many there were beyond is said
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_rps: Option<u32>,
}

/// Lines a second that a reader can still follow, if nothing else is said.
const MAX_RPS: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    /// One object a line
    Json,
}

pub fn run(args: &Tap, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let lines = Lines {
        format: args.output,
        columns: Columns::default(),
        left: args.count,
    };
    output::block_on(async {
        let mesh = Mesh::connect(&join).await?;
        let mut responses = mesh.tap(&args.watched.request(MAX_RPS)).await?;
        // On a thread of its own: while it waits for its reader, the connection has to be kept alive.
        let (queue, mut printed) = lines.start()?;
        loop {
            let response = tokio::select! {
                response = responses.next() => response.context("the tap ended")?,
                written = &mut printed => return Ok(written??),
            };
            let Some(response) = response else {
                anyhow::bail!(
                    "the control plane ended the tap — {} — it may be stopping; start the tap again",
                    join.address
                )
            };
            if queue.send(response).await.is_err() {
                return Ok(printed.await??);
            }
        }
    })
}

// === impl Watched ===

impl Watched {
    /// `max_rps`: if nothing else is said.
    pub fn request(&self, max_rps: u32) -> TapRequest {
        let namespace = self.namespace.as_deref();
        let target = self
            .target
            .clone()
            .unwrap_or_else(Target::all)
            .in_namespace(namespace);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let path = text(&self.path);
        let (path, path_regex) = match path.strip_prefix('~') {
            Some(regex) => (String::new(), regex.to_owned()),
            None => (path, String::new()),
        };
        let (peer, direction) = match (&self.peer, &self.to, &self.from) {
            (_, Some(to), _) => (to.clone(), "outbound"),
            (_, _, Some(from)) => (from.clone(), "inbound"),
            (peer, ..) => (text(peer), ""),
        };
        TapRequest {
            max_per_second: self.max_rps.unwrap_or(max_rps),
            filter: Some(TapFilter {
                method: text(&self.method),
                path,
                path_regex,
                status: text(&self.status),
                host: text(&self.host),
                peer,
                direction: direction.to_owned(),
                // Of the whole mesh, the called side's report would be the caller's again.
                once: target.as_str().is_empty() && direction.is_empty(),
            }),
            target: target.as_str().to_owned(),
        }
    }
}

/// Writes lines until nobody reads them.
struct Lines {
    format: Format,
    columns: Columns,
    left: Option<u64>,
}

impl Lines {
    /// Where responses go, and what has become of it once it is enough.
    fn start(mut self) -> io::Result<(mpsc::Sender<TapResponse>, oneshot::Receiver<io::Result<()>>)> {
        let (queue, mut responses) = mpsc::channel(1);
        let (ended, printed) = oneshot::channel();
        std::thread::Builder::new().name("lines".into()).spawn(move || {
            let _ = ended.send(self.print_all(&mut responses));
        })?;
        Ok((queue, printed))
    }

    fn print_all(&mut self, responses: &mut mpsc::Receiver<TapResponse>) -> io::Result<()> {
        self.begin()?;
        while let Some(response) = responses.blocking_recv() {
            if self.print(&response)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        match self.format {
            Format::Table => write(&self.columns.heading()).map(drop),
            Format::Json => Ok(()),
        }
    }

    /// None: it is enough.
    fn print(&mut self, response: &TapResponse) -> io::Result<Option<()>> {
        for record in &response.records {
            let line = match self.format {
                Format::Table => self.columns.line(record),
                Format::Json => format!("{}\n", document(record)),
            };
            if write(&line)?.is_none() {
                return Ok(None);
            }
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return Ok(None);
                }
            }
        }
        // Beside the lines, so that whoever reads them by program is not disturbed.
        if let Some(note) = losses(response) {
            eprintln!("{note}");
        }
        Ok(Some(()))
    }
}

/// None: nobody reads it any more, which is no failure.
fn write(text: &str) -> io::Result<Option<()>> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(None),
        written => written.map(Some),
    }
}

fn losses(response: &TapResponse) -> Option<String> {
    let mut said = Vec::new();
    if response.over_limit > 0 {
        said.push(format!(
            "{} more than --max-rps allows are not shown",
            response.over_limit
        ));
    }
    if response.lost > 0 {
        said.push(format!("{} are lost: they are read too slowly", response.lost));
    }
    (!said.is_empty()).then(|| format!("({})", said.join("; ")))
}

/// Widths of the first columns; they grow with what is in them.
#[derive(Debug)]
struct Columns {
    source: usize,
    destination: usize,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            source: 16,
            destination: 16,
        }
    }
}

impl Columns {
    fn heading(&self) -> String {
        self.put(["TIME", "FROM", "TO", "MTLS", "STATUS", "LATENCY", "REQUEST"].map(String::from))
    }

    fn line(&mut self, record: &TapRecord) -> String {
        let edge = record.edge.clone().unwrap_or_default();
        let (source, destination) = (show::source(&edge), show::destination(&edge));
        let [source, destination] = [&source, &destination].map(|name| show::short(name).to_owned());
        self.source = self.source.max(source.chars().count());
        self.destination = self.destination.max(destination.chars().count());
        let request = [record.method.as_str(), record.path.as_str()].map(show::harmless);
        let mut request = request.join(" ");
        if !edge.flags.is_empty() {
            request.push_str(&format!("  {} {}", edge.flags, show::harmless(&record.details)));
        }
        self.put([
            time(record).get(11..23).unwrap_or_default().to_owned(),
            source,
            destination,
            if edge.mtls { "yes" } else { "no" }.to_owned(),
            status(&edge),
            show::latency(Duration::from_micros(record.duration_us)),
            request,
        ])
    }

    fn put(&self, cells: [String; 7]) -> String {
        let [time, source, destination, mtls, status, latency, request] = cells;
        let (from, to) = (self.source, self.destination);
        format!(
            "{time:<12}  {source:<from$}  {destination:<to$}  {mtls:<4}  {status:>6}  {latency:>7}  {request}\n"
        )
    }
}

fn status(edge: &Edge) -> String {
    match (edge.code, edge.grpc_status) {
        (0, _) => "-".into(),
        (_, Some(status)) if edge.protocol == "grpc" => format!("grpc {status}"),
        (code, _) => code.to_string(),
    }
}

fn time(record: &TapRecord) -> String {
    rfc3339(SystemTime::UNIX_EPOCH + Duration::from_micros(record.start_us))
}

fn document(record: &TapRecord) -> Value {
    let edge = record.edge.clone().unwrap_or_default();
    json!({
        "time": time(record),
        "durationMs": record.duration_us as f64 / 1000.0,
        "reporter": edge.reporter,
        "source": party(edge.source.as_ref(), &record.client_address),
        "destination": party(edge.destination.as_ref(), &record.server_address),
        "service": edge.destination_service,
        "protocol": edge.protocol,
        "mtls": edge.mtls,
        "tlsVersion": record.tls_version,
        "method": record.method,
        "authority": record.authority,
        "path": record.path,
        "status": edge.code,
        "grpcStatus": edge.grpc_status,
        "flags": edge.flags,
        "details": record.details,
        "failed": edge.failures > 0,
        "attempts": record.attempts,
        "bytesReceived": record.bytes_received,
        "bytesSent": record.bytes_sent,
        "requestId": record.request_id,
        "route": {
            "name": edge.route, "rule": edge.rule, "madeBy": edge.made_by, "place": record.place,
        },
    })
}

fn party(peer: Option<&Peer>, address: &str) -> Value {
    let peer = peer.cloned().unwrap_or_default();
    json!({
        "workload": peer.workload, "namespace": peer.namespace, "app": peer.app, "version": peer.version,
        "principal": peer.principal, "address": address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> TapRecord {
        let peer = |workload: &str| {
            Some(Peer {
                workload: workload.into(),
                namespace: "default".into(),
                ..Peer::default()
            })
        };
        TapRecord {
            edge: Some(Edge {
                source: peer("productpage-v1"),
                destination: peer("reviews-v2"),
                mtls: true,
                code: 503,
                flags: "UF".into(),
                ..Edge::default()
            }),
            start_us: 1_795_320_306_007_000,
            duration_us: 1_500,
            method: "GET".into(),
            path: path.into(),
            details: "connect".into(),
            ..TapRecord::default()
        }
    }

    #[test]
    fn lines_are_aligned_and_harmless() {
        let mut columns = Columns::default();
        let heading = columns.heading();
        let line = columns.line(&record("/a\u{1b}[2J"));
        assert_eq!(
            line,
            "04:05:06.007  productpage-v1    reviews-v2        yes      503    1.5ms  GET /a\u{fffd}[2J  UF connect\n"
        );
        assert_eq!(heading.find("REQUEST"), line.find("GET"));
        let json = document(&record("/a"));
        assert_eq!(json["time"], "2026-11-22T04:05:06.007Z");
        assert_eq!(
            (json["status"].as_u64(), json["durationMs"].as_f64()),
            (Some(503), Some(1.5))
        );
    }

    #[test]
    fn losses_are_said() {
        let response = TapResponse {
            lost: 7,
            over_limit: 2,
            ..TapResponse::default()
        };
        let said = losses(&response).unwrap();
        assert!(
            said.contains("7 are lost") && said.contains("2 more than --max-rps"),
            "{said}"
        );
        assert_eq!(losses(&TapResponse::default()), None);
    }
}
