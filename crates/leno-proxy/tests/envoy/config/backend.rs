//! The backends: `a` to `f` speak HTTP, `echo-a` and `echo-b` bytes; all stay for all cases of a run.

mod authorizer;
mod collector;
mod http1;
mod http2;
mod names;
mod script;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use leno_proto_text::Schema;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::case::socket;
use super::grpc::{self, Peer};
use super::pki::Pki;
pub(crate) use authorizer::Checks;
pub(crate) use collector::{Kept, Message};
pub(crate) use names::Asked;

const HTTP: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const ECHO: [&str; 2] = ["echo-a", "echo-b"];
/// Those with a cluster of their name in every case.
const CLUSTERS: [&str; 3] = ["a", "b", "c"];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) struct Backends {
    addresses: BTreeMap<&'static str, SocketAddr>,
    pub(crate) told: Arc<Told>,
    pub(crate) pki: Arc<Pki>,
    /// What `collector` has got.
    pub(crate) kept: Arc<Kept>,
    /// What `names` was asked.
    pub(crate) asked: Arc<Asked>,
    /// What `authorizer` was told.
    pub(crate) checks: Arc<Checks>,
    /// Dear to load.
    pub(crate) schema: Arc<Schema>,
    /// Dear too: not before it is asked for.
    grpc: OnceLock<Peer>,
}

/// What the requests so far have told the backends, all of them together.
#[derive(Default)]
pub(crate) struct Told {
    /// How often each scripted request has come.
    tries: Mutex<BTreeMap<String, usize>>,
    /// How many requests are held, by what they are held for; None: no longer.
    held: watch::Sender<BTreeMap<String, Option<usize>>>,
}

// === impl Backends ===

impl Backends {
    pub(crate) async fn start() -> Self {
        let told = Arc::new(Told::default());
        let mut addresses = BTreeMap::new();
        for name in HTTP.into_iter().chain(ECHO).chain(["silent", "proxied"]) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.insert(name, listener.local_addr().unwrap());
            tokio::spawn(listen(listener, name, Arc::clone(&told)));
        }
        let pki = Pki::new();
        for (name, mutual) in [("tls-a", false), ("mtls-a", true)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let acceptor = tls::acceptor(&pki, mutual);
            let behind = addresses["a"];
            addresses.insert(name, listener.local_addr().unwrap());
            tokio::spawn(tls::listen(listener, acceptor, behind));
        }
        let kept = Arc::new(Kept::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.insert("collector", listener.local_addr().unwrap());
        tokio::spawn(collect(listener, Arc::clone(&kept)));
        let (checks, schema) = (Arc::<Checks>::default(), Arc::new(Schema::load()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.insert("authorizer", listener.local_addr().unwrap());
        tokio::spawn(authorizer::listen(
            listener,
            Arc::clone(&checks),
            Arc::clone(&schema),
        ));
        let asked = Arc::default();
        addresses.insert("names", names::start(&asked).await);
        // Nobody listens there.
        addresses.insert("refused", SocketAddr::from(([127, 0, 0, 1], 1)));
        Self {
            addresses,
            told,
            pki: Arc::new(pki),
            kept,
            asked,
            checks,
            schema,
            grpc: OnceLock::new(),
        }
    }

    /// What was tried, held and collected: names of cases are of their category alone.
    pub(crate) fn forget(&self) {
        self.told.tries.lock().unwrap().clear();
        self.told.held.send_replace(BTreeMap::new());
        self.kept.clear();
        self.checks.clear();
    }

    pub(crate) fn grpc(&self) -> &Peer {
        self.grpc.get_or_init(Peer::start)
    }

    /// `a` to `f`, `echo-a`, `echo-b`, `tls-a`, `mtls-a`; `silent` takes connections and says nothing, `refused` takes none.
    /// `proxied` speaks HTTP behind the PROXY protocol, whose header becomes its name. `grpc` is grpcio, where there is one.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        if name == "grpc" && grpc::is_there() {
            return self.grpc().address;
        }
        let name = if name == "grpc" { "refused" } else { name };
        let known = self.addresses.get(name);
        *known.unwrap_or_else(|| panic!("there is no backend {name:?}"))
    }

    pub(crate) fn clusters(&self) -> Vec<Value> {
        let cluster = |name: &str| {
            let address = socket(self.address(name));
            let endpoint = json!({"address": address, "hostname": format!("{name}.backend.example")});
            json!({
                "name": name, "connect_timeout": "5s",
                // All cases of a category share them at the same time.
                "circuit_breakers": {"thresholds": [{"max_retries": 1000}]},
                "load_assignment": {
                    "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                },
            })
        };
        CLUSTERS.into_iter().map(cluster).collect()
    }
}

// === impl Told ===

impl Told {
    /// Which try it is, from 1.
    fn tried(&self, key: &str) -> usize {
        let mut tries = self.tries.lock().unwrap();
        let tries = tries.entry(key.to_owned()).or_default();
        *tries += 1;
        *tries
    }

    /// Until what it is held for is released.
    async fn hold(&self, what: &str) {
        self.held.send_modify(|held| {
            if let Some(count) = held.entry(what.to_owned()).or_insert(Some(0)) {
                *count += 1;
            }
        });
        let mut held = self.held.subscribe();
        let _ = held
            .wait_for(|held| held.get(what).is_none_or(Option::is_none))
            .await;
    }

    pub(crate) fn release(&self, what: &str) {
        self.held.send_modify(|held| {
            held.insert(what.to_owned(), None);
        });
    }

    /// Until that many are held.
    pub(crate) async fn arrived(&self, what: &str, count: usize) {
        let mut held = self.held.subscribe();
        let here = |held: &BTreeMap<String, Option<usize>>| held.get(what).copied().flatten() >= Some(count);
        let _ = held.wait_for(here).await;
    }
}

async fn listen(listener: TcpListener, name: &'static str, told: Arc<Told>) {
    while let Ok((stream, _)) = listener.accept().await {
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            match name {
                "silent" => drain(stream).await,
                "proxied" => proxied(stream, told).await,
                _ if ECHO.contains(&name) => echo(stream, name).await,
                _ => serve(stream, name, told).await,
            }
        });
    }
}

async fn collect(listener: TcpListener, kept: Arc<Kept>) {
    while let Ok((stream, _)) = listener.accept().await {
        let kept = Arc::clone(&kept);
        tokio::spawn(async move {
            match begins_with_http2(&stream).await? {
                true => collector::http2(stream, kept).await,
                false => collector::http1(stream, kept).await?,
            }
            std::io::Result::Ok(())
        });
    }
}

/// HTTP of the version that the client begins with.
async fn serve(stream: TcpStream, name: &'static str, told: Arc<Told>) -> std::io::Result<()> {
    if begins_with_http2(&stream).await? {
        http2::serve(stream, name, told).await;
        return Ok(());
    }
    http1::serve(stream, name, told).await
}

async fn begins_with_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut start = vec![0; PREFACE.len()];
    let seen = loop {
        stream.readable().await?;
        let seen = stream.peek(&mut start).await?;
        if seen == 0 || !PREFACE.starts_with(&start[..seen]) || seen == PREFACE.len() {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    Ok(seen == PREFACE.len() && start == PREFACE)
}

/// HTTP behind a header of the PROXY protocol, which becomes the backend's name.
async fn proxied(mut stream: TcpStream, told: Arc<Told>) -> std::io::Result<()> {
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n") || header.len() < 16 {
        header.push(stream.read_u8().await?);
        if header.len() == 16 && header.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
            let mut rest = vec![0; usize::from(u16::from_be_bytes([header[14], header[15]]))];
            stream.read_exact(&mut rest).await?;
            header.extend(rest);
            break;
        }
    }
    let name = header.escape_ascii().to_string();
    // A few bytes a connection, until the test has ended.
    serve(stream, name.leak(), told).await
}

/// The name of a tunnel's backend: with the head that asked for it, where that is wanted (`x-tell`).
fn tunnel_name(name: &str, head: &[String], tell: bool) -> String {
    let ours = |field: &&String| !field.starts_with("x-tell:") && !field.starts_with("x-script:");
    match tell {
        true => format!(
            "{name}: {}",
            head.iter().filter(ours).cloned().collect::<Vec<_>>().join(" | ")
        ),
        false => name.to_owned(),
    }
}

/// Everything comes back behind the backend's name.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, name: &str) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut answer = format!("{name}: ").into_bytes();
        answer.extend_from_slice(&buffer[..read]);
        stream.write_all(&answer).await?;
    }
}

async fn drain(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
