//! What the proxy says of itself over HTTP, and what it may be told there: Envoy's admin interface
//! (<https://www.envoyproxy.io/docs/envoy/latest/operations/admin>).
//!
//! Pages in JSON are Envoy's own messages (`envoy.admin.v3`); whoever can write messages as text does that
//! ([`WriteJson`]), for the descriptors that it takes are not to stay in the data plane's memory.

mod answer;
pub(crate) mod certs;
mod client_status;
mod clusters;
mod config_dump;
mod endpoints;
mod http2;
mod init_dump;
mod listeners;
mod logging;
mod pages;
mod query;
mod runtime;
mod server;
mod stats;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf, BytesMut};
use leno_engine::message::Version;
use leno_http1::{
    Framing, HeadScanner, Limits, ResponseTo, Settings, encode_response, leading_empty_lines, parse_request,
};
use leno_proto::google::protobuf::Any;
use leno_telemetry::metrics::Metrics;
use leno_tls::Secrets;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::Handle;
use crate::discovery::Dump;
use answer::Answer;
pub(crate) use endpoints::address;
pub use logging::{Logging, SetDirectives};
use pages::Asked;

/// Whether the proxy has what it needs to serve.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// Writes a message as JSON, without its secrets. It may take its time.
pub type WriteJson = Arc<dyn Fn(&Any, &Wanted) -> Result<Json, String> + Send + Sync>;

/// Reads a message of this full name from JSON, into its wire format. It may take its time too.
pub type ReadJson = Arc<dyn Fn(&str, &str) -> Result<Vec<u8>, String> + Send + Sync>;

/// What is wanted of a config dump: Envoy's parameters of these names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub resource: Option<String>,
    pub mask: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Text(String),
    /// There is no such resource.
    NoResource,
    /// The mask is of no message in the dump.
    NoField,
}

/// What the pages are made of.
pub struct Admin {
    pub metrics: Arc<Metrics>,
    pub ready: Ready,
    /// Of a mesh's proxy: how long these last is told.
    pub secrets: Option<Arc<Secrets>>,
    /// Of a mesh's proxy: what it has denied is told.
    pub denials: Option<Handle>,
    /// None: the pages about the configuration and the process are not there.
    pub own: Option<Own>,
}

/// What a proxy with a bootstrap of its own tells, and how it is told something.
pub struct Own {
    pub proxy: Handle,
    /// `envoy.config.bootstrap.v3.Bootstrap`, encoded.
    pub bootstrap: Vec<u8>,
    pub json: WriteJson,
    pub read_json: ReadJson,
    pub process: Process,
    pub logging: Logging,
    /// Tells what has come from elsewhere. None: nothing does.
    pub dumps: Option<mpsc::Sender<oneshot::Sender<Dump>>>,
    /// Somebody wants the process to end.
    pub quit: Arc<Notify>,
}

/// What the process was started with.
#[derive(Clone, Debug)]
pub struct Process {
    pub version: String,
    pub config_path: PathBuf,
    pub concurrency: usize,
    pub started: Instant,
    pub started_at: SystemTime,
}

/// Where the pages are served.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Connections at one time; more wait in the backlog.
const MAX_CONNECTIONS: usize = 64;
/// A connection on which nothing is asked is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How a connection begins on which HTTP/2 is spoken: what is a head by itself in HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// Bytes of a body: parameters, or a question.
const MAX_FORM: u64 = 64 * 1024;

const SETTINGS: Settings = Settings {
    limits: Limits {
        head_bytes: 8192,
        fields: 100,
    },
    http10: true,
    hostless_http10: false,
    any_method: true,
    chunked_length: false,
};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

impl Own {
    /// What has come from elsewhere.
    async fn known(&self) -> Dump {
        let Some(dumps) = &self.dumps else {
            return Dump::default();
        };
        let (reply, dumped) = oneshot::channel();
        match dumps.send(reply).await {
            Ok(()) => dumped.await.unwrap_or_default(),
            Err(_) => Dump::default(),
        }
    }
}

/// Serves until the process ends.
pub async fn serve(socket: impl Into<Socket>, admin: Arc<Admin>) {
    let socket = socket.into();
    let open = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else {
            return;
        };
        let stream = match socket.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            if let Err(error) = serve_connection(stream, &admin).await {
                tracing::debug!(%error, "admin connection");
            }
            drop(permit);
        });
    }
}

async fn serve_connection(mut stream: Box<dyn Stream>, admin: &Arc<Admin>) -> io::Result<()> {
    let mut input = BytesMut::new();
    loop {
        let read = tokio::time::timeout(HEADER_TIMEOUT, read_head(&mut stream, &mut input));
        let Some(end) = read.await?? else {
            return Ok(());
        };
        if input.starts_with(PREFACE) {
            return http2::serve(stream, input.freeze(), admin).await;
        }
        let head = input.split_to(end);
        let (reply, close) = reply(&head, &mut stream, &mut input, admin).await?;
        stream.write_all(&reply).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// The length of the next head. None: there is none.
async fn read_head(stream: &mut Box<dyn Stream>, input: &mut BytesMut) -> io::Result<Option<usize>> {
    let mut scanner = HeadScanner::default();
    loop {
        let empty = leading_empty_lines(input);
        if empty > 0 {
            input.advance(empty);
            scanner = HeadScanner::default();
        }
        if let Some(end) = scanner.find(input) {
            return Ok(Some(end));
        }
        // What is too long is refused by whoever reads it.
        if input.len() > SETTINGS.limits.head_bytes {
            return Ok(Some(input.len()));
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// The answer to a request, and whether it is the last.
async fn reply(
    head: &[u8],
    stream: &mut Box<dyn Stream>,
    input: &mut BytesMut,
    admin: &Admin,
) -> io::Result<(Vec<u8>, bool)> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut to = ResponseTo {
        version: Version::Http11,
        head: false,
        tunnel: false,
        close: true,
        date: date.as_bytes(),
    };
    let asked = parse_request(head, false, &SETTINGS).map(|request| {
        to.version = request.head.version;
        to.head = request.head.method.as_ref() == b"HEAD";
        to.close = !request.persistent;
        (Asked::new(&request.head), request.framing)
    });
    let answer = match asked {
        Ok((asked, framing)) => {
            let form = form(framing, stream, input).await?;
            to.close |= form.is_none();
            pages::answer(admin, asked.with(&form.unwrap_or_default())).await
        }
        Err(error) => Answer::text(error.status(), format!("{error}\n")),
    };
    let mut out = Vec::new();
    let length = Some(answer.body.len() as u64);
    let encoded = encode_response(&answer.head(), length, &to, &mut out).map_err(io::Error::other)?;
    if !encoded.body.is_withheld() {
        out.extend_from_slice(&answer.body);
    }
    Ok((out, encoded.close))
}

/// The parameters in the body, as a form sends them. None: a body that is not read.
async fn form(
    framing: Framing,
    stream: &mut Box<dyn Stream>,
    input: &mut BytesMut,
) -> io::Result<Option<BytesMut>> {
    let length = match framing {
        Framing::None => 0,
        Framing::Length(length) if length <= MAX_FORM => usize::try_from(length).unwrap_or(usize::MAX),
        _ => return Ok(None),
    };
    let read = async {
        while input.len() < length {
            if stream.read_buf(input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    tokio::time::timeout(HEADER_TIMEOUT, read).await??;
    Ok(Some(input.split_to(length)))
}
