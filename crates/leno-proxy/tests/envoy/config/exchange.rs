//! The steps of one case against one proxy, each request on a connection of its own.

mod http1;
mod http2;
mod raw;
mod tls;

pub(crate) use tls::{believing_anybody, names_shown};

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leno_testkit::eventually;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::case::{Case, Place};
use super::collected::{Collected, collected};
use super::pki::Pki;
use super::request::{Request, Show, Step};
use super::words::Words;
use crate::message::quoted;

/// Nothing takes that long.
const PATIENCE: Duration = Duration::from_secs(15);
/// Differ from run to run.
const VARIABLE: [&str; 3] = ["date", "x-envoy-upstream-service-time", "content-length"];
/// Between a case and its backends.
const OURS: [&str; 4] = ["x-key", "x-hold", "x-script", "x-check"];

/// An answer as it is told.
struct Told {
    /// 0: none came.
    status: u16,
    backend: Option<String>,
    text: String,
}

/// `run` tells this run of the case from all others.
pub(crate) async fn all(case: &Case, place: Place<'_>, run: &str, proxy: SocketAddr) -> String {
    let words = Words::of(place.backends);
    let mut text = String::new();
    let pki = || Arc::clone(&place.backends.pki);
    let mut held: Vec<(String, JoinHandle<Told>)> = Vec::new();
    for (number, step) in case.steps().iter().enumerate() {
        match step {
            Step::Line(line) if line == "release" => {
                place.backends.told.release(run);
                for (shown, answer) in held.drain(..) {
                    let told = answer.await.unwrap();
                    let _ = writeln!(text, "< {shown}\n{}", told.text);
                }
            }
            Step::Line(line) => {
                let told = one(Request::plain(line), pki(), proxy).await;
                let _ = writeln!(text, "> {line}\n{}", told.text);
            }
            Step::Request(request) if request.hold => {
                let keyed = request.said(&words).keyed(run, number);
                let mut answer = tokio::spawn(one(keyed, pki(), proxy));
                let _ = writeln!(text, "> {}", step.shown());
                let count = held.len() + 1;
                tokio::select! {
                    () = place.backends.told.arrived(run, count) => held.push((step.shown(), answer)),
                    told = &mut answer => { let _ = writeln!(text, "{}", told.unwrap().text); }
                }
            }
            Step::Request(request) => {
                let outcome = several(&request.said(&words), &pki(), run, number, proxy).await;
                let _ = writeln!(text, "> {}\n{outcome}", step.shown());
            }
            Step::Call(call) => {
                let key = format!("{run} {number}");
                let outcome = within(place.backends.grpc().call(call, &key, proxy)).await;
                let _ = writeln!(text, "> {}\n{outcome}", step.shown());
            }
            Step::Bytes(bytes) => {
                tokio::time::sleep(Duration::from_millis(bytes.after)).await;
                let mut outcomes = Vec::new();
                for _ in 0..bytes.times {
                    outcomes.push(within(raw::bytes(bytes, proxy)).await);
                }
                let _ = writeln!(text, "> {}\n{}", step.shown(), folded(outcomes));
            }
        }
    }
    if let Some(wanted) = case.collected() {
        let got = || collected(&place.backends.schema, &place.backends.kept.of(&case.collector()));
        let whole = async {
            while got().records.len() < wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // What is missing is seen in the text.
        let _ = tokio::time::timeout(PATIENCE, whole).await;
        let Collected { around, records, .. } = got();
        let _ = writeln!(text, "collected\n{}", [around, records].concat().join("\n"));
    }
    if case.tells_what_was_checked() {
        let checks = place.backends.checks.of(&case.authorizer());
        let _ = writeln!(text, "checked\n{}", checks.join("\n"));
    }
    if case.tells_what_was_asked() {
        let _ = writeln!(text, "asked\n{}", place.backends.asked.of(&case.name).join("\n"));
    }
    if let Some(lines) = case.logged() {
        let path = case.path(place, "log");
        let log = tokio::task::spawn_blocking(move || {
            eventually("the access log is whole", || {
                let log = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
                match log.lines().count() {
                    all if all >= lines => Ok(log),
                    some => Err(format!("{some} lines of {lines}: {log}")),
                }
            })
        });
        let _ = write!(text, "log\n{}", log.await.unwrap());
    }
    words.told(&case.without_ids(text))
}

async fn several(request: &Request, pki: &Arc<Pki>, run: &str, number: usize, proxy: SocketAddr) -> String {
    tokio::time::sleep(Duration::from_millis(request.after)).await;
    if let Some(status) = request.until {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let told = one(request.clone(), Arc::clone(pki), proxy).await;
            if told.status == status {
                return format!("becomes {status}");
            }
            if tokio::time::Instant::now() > deadline {
                return format!("never becomes {status}: {}", told.text);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let mut outcomes = Vec::new();
    for time in 0..request.times {
        let told = one(request.keyed(run, number * 1000 + time), Arc::clone(pki), proxy).await;
        outcomes.push(match request.show {
            Show::All => told.text,
            Show::Backend | Show::Set => format!("{} {}", told.status, told.backend.unwrap_or_default()),
        });
    }
    match request.show {
        Show::Set => {
            let set: BTreeSet<String> = outcomes.into_iter().collect();
            set.into_iter().collect::<Vec<_>>().join("\n")
        }
        _ => folded(outcomes),
    }
}

/// The same again and again is told once.
fn folded(outcomes: Vec<String>) -> String {
    let mut lines = Vec::new();
    for group in outcomes.chunk_by(|one, next| one == next) {
        lines.push(match group.len() {
            1 => group[0].clone(),
            count => format!("{} (× {count})", group[0]),
        });
    }
    lines.join("\n")
}

async fn one(request: Request, pki: Arc<Pki>, proxy: SocketAddr) -> Told {
    let exchange = async {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        if let Some(ahead) = &request.ahead {
            stream.write_all(ahead.as_bytes()).await.unwrap();
        }
        let Some(tls) = &request.tls else {
            return match request.http2 {
                true => http2::exchange(&request, stream).await,
                false => http1::exchange(&request, stream).await,
            };
        };
        let (stream, described) = match tls::connect(tls, &pki, stream).await {
            Ok(connected) => connected,
            Err(text) => {
                return Told {
                    status: 0,
                    backend: None,
                    text,
                };
            }
        };
        let told = match request.http2 {
            true => http2::exchange(&request, stream).await,
            false => http1::exchange(&request, stream).await,
        };
        Told {
            text: format!("{described}\n{}", told.text),
            ..told
        }
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await;
    answer.unwrap_or_else(|_| Told {
        status: 0,
        backend: None,
        text: "STUCK".into(),
    })
}

async fn within(exchange: impl Future<Output = String>) -> String {
    let answer = tokio::time::timeout(PATIENCE, exchange).await;
    answer.unwrap_or_else(|_| "STUCK".into())
}

/// `line | name: value | …`, then the body: headers in the order of their names, theirs among each other is kept.
fn shown(line: &str, mut headers: Vec<String>, body: &[u8], trailers: &[String]) -> String {
    headers.retain(|line| !is_one_of(line, &VARIABLE));
    headers.sort_by_key(|line| name(line));
    let mut text = line.to_owned();
    for header in headers {
        let _ = write!(text, " | {header}");
    }
    if !body.is_empty() {
        let _ = write!(text, "\n  {}", told_by_backend(body));
    }
    for trailer in trailers {
        let _ = write!(text, "\n  (trailer) {trailer}");
    }
    text
}

fn name(line: &str) -> String {
    // Pseudo-headers begin with what divides the others.
    let from = usize::from(line.starts_with(':'));
    let end = line[from..].find(':').map_or(line.len(), |end| from + end);
    line[..end].to_ascii_lowercase()
}

fn is_one_of(line: &str, names: &[&str]) -> bool {
    names.contains(&name(line).as_str())
}

/// What a backend got is told without what differs from run to run; its headers in the order of their names too.
fn told_by_backend(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let mut parts = text.split(" | ");
    let first = parts.next().unwrap_or_default().to_owned();
    if !first.contains(" gets ") {
        return quoted(body);
    }
    let headers = parts.filter(|line| !is_one_of(line, &OURS));
    let mut headers: Vec<String> = headers.map(rounded).collect();
    headers.sort_by_key(|line| name(line));
    [first].into_iter().chain(headers).collect::<Vec<_>>().join(" | ")
}

/// What is left of a long time-out is told in steps.
fn rounded(line: &str) -> String {
    let left = line.strip_prefix("x-envoy-expected-rq-timeout-ms: ");
    match left.and_then(|left| left.parse::<u64>().ok()) {
        Some(left) if left > 2_000 => {
            format!("x-envoy-expected-rq-timeout-ms: {}", left.next_multiple_of(1_000))
        }
        _ => line.to_owned(),
    }
}
