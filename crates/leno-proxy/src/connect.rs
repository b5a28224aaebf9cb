//! New connections to upstreams: TCP in the right network, a unix socket, or an internal listener; then TLS.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use leno_engine::compile::endpoint::{Internal, Passed};
use leno_engine::compile::listener::{Address, Pipe};
use leno_engine::compile::proxy_protocol::Introduction;
use leno_engine::compile::socket::{SocketOption, When};
use leno_engine::decide::notes;
use leno_engine::decide::proxy_protocol::{Addresses, Client};
use leno_telemetry::record::TlsFacts;
use leno_telemetry::stats::{ClusterStat, Counts};
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::codec::h1::Workspace;
use crate::destination::{Destination, Try};
use crate::handshake::Handshake;
use crate::io::Io;
use crate::outcome::Failure;
use crate::prefixed::Prefixed;
use crate::socket_options::apply;
use crate::stream::Stream;
use crate::tcp::Scratch;
use crate::tls::{Contexts, Secured};

/// After which the next of an endpoint's addresses is tried: Envoy's.
const NEXT_TRY: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Sockets in the application's network, when that is not ours.
pub trait WorkloadSockets: Send + Sync {
    /// A TCP socket, not yet connected.
    fn open(&self, family: Family) -> Pin<Box<dyn Future<Output = io::Result<OwnedFd>> + Send>>;
}

/// What a worker's connections are made with.
#[derive(Clone, Copy)]
pub(crate) struct Connector<'w> {
    pub(crate) tls: &'w Contexts,
    pub(crate) workload: Option<&'w dyn WorkloadSockets>,
    pub(crate) http1: &'w Rc<Workspace>,
    pub(crate) scratch: &'w Scratch,
    pub(crate) internal: &'w dyn InternalListeners,
    /// The next connection's.
    pub(crate) ids: &'w AtomicU64,
    /// The cluster's; None: nobody counts.
    pub(crate) counts: Option<&'w Counts<ClusterStat>>,
}

/// Listeners that take connections from here only.
pub(crate) trait InternalListeners {
    /// The other end of a connection that the listener takes; None: there is no such listener.
    fn connect(&self, to: &Internal, passed: Passed, notes: notes::Passed) -> Option<DuplexStream>;
}

/// What is known of an upstream connection.
#[derive(Debug)]
pub(crate) struct UpstreamConnection {
    pub(crate) remote: Address,
    pub(crate) local: Option<SocketAddr>,
    /// Boxed: connections without TLS have no room for it.
    pub(crate) secured: Option<Box<Secured>>,
    pub(crate) id: u64,
    pub(crate) times: Times,
}

/// How it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) began: Instant,
    pub(crate) connected: Instant,
    /// None: without TLS.
    pub(crate) secured: Option<Instant>,
}

// === impl Connector ===

impl<'w> Connector<'w> {
    /// With handshakes counted.
    pub(crate) fn counting(self, counts: &'w Counts<ClusterStat>) -> Self {
        Self {
            counts: Some(counts),
            ..self
        }
    }
}

// === impl UpstreamConnection ===

impl UpstreamConnection {
    pub(crate) fn peer_principal(&self) -> Option<&Arc<str>> {
        self.secured.as_ref()?.peer_principal.as_ref()
    }

    pub(crate) fn local_principal(&self) -> Option<&Arc<str>> {
        self.secured.as_ref()?.local_principal.as_ref()
    }

    /// Whom it was made for, where the handshake said that.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.secured.as_ref()?.server_name.as_deref()
    }

    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.secured.as_ref()?.alpn.as_deref()
    }

    /// None: without TLS.
    pub(crate) fn handshake(&self) -> Option<&Arc<Handshake>> {
        Some(&self.secured.as_ref()?.handshake)
    }

    /// What the server has shown was taken back since: it is not used any more.
    pub(crate) fn is_revoked(&self) -> bool {
        self.handshake().is_some_and(|handshake| handshake.is_revoked())
    }

    /// For logs.
    pub(crate) fn tls_facts(&self) -> Option<&dyn TlsFacts> {
        let secured = self.secured.as_deref()?;
        Some(&*secured.handshake)
    }
}

/// Connects; the time-out covers the TLS handshake.
pub(crate) async fn connect(
    with: Connector<'_>,
    to: &Destination,
) -> Result<(Io, Rc<UpstreamConnection>), Failure> {
    let connecting = connect_and_secure(with, to);
    match tokio::time::timeout(to.timeout, connecting).await {
        Ok(result) => result,
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

async fn connect_and_secure(
    with: Connector<'_>,
    to: &Destination,
) -> Result<(Io, Rc<UpstreamConnection>), Failure> {
    if to.address.socket().is_none() && to.transport.introduction().is_some() {
        return Err(Failure::Connect("the PROXY protocol is for TCP".into()));
    }
    let began = Instant::now();
    let mut reached = None;
    let (stream, local) = match &to.address {
        Address::Socket(address) => {
            let stream = connect_socket(with, *address, to).await;
            let stream = stream.map_err(|e| Failure::Connect(reason(&e).into()))?;
            let local = stream.local_addr().ok();
            // The kernel is asked only where there were several to try.
            if !to.tries.is_empty() {
                reached = stream.peer_addr().ok();
            }
            (Stream::Tcp(stream), local)
        }
        Address::Pipe(pipe) => {
            let stream = UnixStream::connect(found(pipe)).await;
            let stream = stream.map_err(|e| immediate(&words(&e), &to.address))?;
            (Stream::Unix(stream), None)
        }
        Address::Internal(internal) => {
            let passed = match to.transport.passes_addresses() {
                true => internal.passed,
                false => Passed::default(),
            };
            let stream = with.internal.connect(internal, passed, to.passed.clone());
            let nobody = || immediate("Invalid argument", &to.address);
            (Stream::Within(stream.ok_or_else(nobody)?), None)
        }
    };
    let plain = Prefixed::new(Bytes::new(), stream);
    let mut connection = UpstreamConnection {
        remote: reached.map_or_else(|| to.address.clone(), Address::Socket),
        local,
        secured: None,
        id: with.ids.fetch_add(1, Ordering::Relaxed),
        times: Times {
            began,
            connected: Instant::now(),
            secured: None,
        },
    };
    let io = match to.transport.tls() {
        None => Io::Plain(plain),
        Some(tls) => {
            let (stream, secured) = with.tls.connect(tls, to, Io::Plain(plain), with.counts).await?;
            connection.secured = Some(Box::new(secured));
            connection.times.secured = Some(Instant::now());
            Io::Tls(stream)
        }
    };
    Ok((io, Rc::new(connection)))
}

async fn connect_with(
    source: Option<SocketAddr>,
    options: &[SocketOption],
    to: SocketAddr,
) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    apply(options, &SockRef::from(&socket), to.is_ipv6(), When::Created)?;
    if let Some(source) = source {
        socket.bind(source)?;
    }
    socket.connect(to).await
}

/// The first of these addresses that answers. One that has not answered after [`NEXT_TRY`] is not given up while others are
/// tried (RFC 8305 §5, "Happy Eyeballs").
async fn connect_first(tries: &[Try]) -> io::Result<TcpStream> {
    let connect = |one: &Try| {
        let Try {
            address,
            source,
            options,
        } = one.clone();
        async move { connect_with(source, &options, address).await }
    };
    let mut waiting = tries.iter();
    let mut trying = FuturesUnordered::new();
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        trying.extend(waiting.next().map(connect));
        let more = waiting.len() > 0;
        tokio::select! {
            result = trying.next() => match result {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = tokio::time::sleep(NEXT_TRY), if more => {}
        }
    }
}

/// Where the kernel looks for it: a name of the abstract namespace begins with a zero byte there.
fn found(pipe: &Pipe) -> PathBuf {
    match pipe.path.as_os_str().as_bytes() {
        [b'@', name @ ..] => PathBuf::from(OsStr::from_bytes(&[b"\0", name].concat())),
        _ => pipe.path.clone(),
    }
}

async fn connect_socket(with: Connector<'_>, address: SocketAddr, to: &Destination) -> io::Result<TcpStream> {
    let mut stream = match (with.workload, to.inbound) {
        (Some(workload), true) => connect_workload(workload, address.port()).await,
        _ if !to.tries.is_empty() => Box::pin(connect_first(&to.tries)).await,
        _ if to.source.is_none() && to.options.is_empty() => TcpStream::connect(address).await,
        _ => connect_with(to.source, &to.options, address).await,
    }?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    if let Some(introduction) = to.transport.introduction() {
        introduce(&mut stream, introduction, to.client.as_ref()).await?;
    }
    Ok(stream)
}

/// Says whose connection it is, before anything else.
async fn introduce(
    stream: &mut TcpStream,
    introduction: &Introduction,
    client: Option<&Client>,
) -> io::Result<()> {
    let own = Addresses {
        source: stream.local_addr()?,
        destination: stream.peer_addr()?,
    };
    let header = introduction.write(client, own).map_err(io::Error::other)?;
    stream.write_all(&header).await
}

/// In Envoy's words, which has no spaces there.
fn reason(error: &io::Error) -> String {
    format!("delayed connect error: {}", words(error))
}

/// As well; of what is known at once.
fn immediate(words: &str, address: &Address) -> Failure {
    Failure::Connect(format!("immediate connect error: {words}|remote address:{address}").into())
}

fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Applications listen on 127.0.0.1, on [::1], or on all addresses.
async fn connect_workload(workload: &dyn WorkloadSockets, port: u16) -> io::Result<TcpStream> {
    let v4 = workload_socket(workload, Family::V4).await?;
    match v4
        .connect(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        .await
    {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            let v6 = workload_socket(workload, Family::V6).await?;
            v6.connect(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port))
                .await
        }
        result => result,
    }
}

async fn workload_socket(workload: &dyn WorkloadSockets, family: Family) -> io::Result<TcpSocket> {
    let socket = std::net::TcpStream::from(workload.open(family).await?);
    socket.set_nonblocking(true)?;
    Ok(TcpSocket::from_std_stream(socket))
}
