//! xDS for a process beside us: what it says on our socket goes to the control plane over TLS with the workload's
//! certificate, byte by byte.
//!
//! Nothing is read on the way, so there is no message that would be too large, no protocol variant that would be
//! missing, and flow control holds from end to end. A new connection begins with the newest certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leno_proxy::control_plane::ControlPlane;
use leno_proxy::grpc::Target;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::caller;

/// One peer has one or two streams; a peer that leaks them shall not take our descriptors.
const MOST: usize = 64;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer's connection is held while the control plane is away, before it is left to the peer's own backoff,
/// which in gRPC grows to two minutes.
const HOLD: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(100);

/// Where peers come in.
pub enum Listener {
    Unix(UnixListener),
    /// On loopback, for this user only.
    Tcp(TcpListener),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub async fn serve(listener: Listener, mut control: ControlPlane) {
    let open = Arc::new(Semaphore::new(MOST));
    let away = Arc::new(watch::Sender::new(false));
    loop {
        // Closed by nobody.
        let Ok(permit) = open.clone().acquire_owned().await else {
            return;
        };
        let (peer, target) = match (listener.accept().await, control.joined()) {
            (Ok(peer), Ok(target)) => (peer, target),
            (Err(error), _) => {
                tracing::warn!(%error, "a connection for xDS is not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "no TLS towards the control plane");
                continue;
            }
        };
        let away = Arc::clone(&away);
        tokio::spawn(async move {
            forward(peer, &target, &away).await;
            drop(permit);
        });
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Io>> {
        match self {
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Tcp(listener) => loop {
                let (stream, client) = listener.accept().await?;
                let known = match (client, stream.local_addr()?) {
                    (SocketAddr::V4(client), SocketAddr::V4(server)) => caller::is_this_user(client, server)?,
                    _ => false,
                };
                if known {
                    stream.set_nodelay(true)?;
                    return Ok(Box::new(stream));
                }
                tracing::warn!(%client, "another user's program asks for xDS with this workload's identity; refused");
            },
        }
    }
}

async fn forward(mut peer: Box<dyn Io>, target: &Target, away: &watch::Sender<bool>) {
    let connected = tokio::time::timeout(HOLD, connect_until_there(target, away));
    // Else the peer sees its connection end, and comes again.
    if let Ok(mut control) = connected.await {
        let ended = tokio::io::copy_bidirectional(&mut peer, &mut control).await;
        tracing::debug!(?ended, "a connection for xDS has ended");
    }
}

async fn connect_until_there(target: &Target, away: &watch::Sender<bool>) -> TlsStream<TcpStream> {
    loop {
        match connect(target).await {
            Ok(control) => {
                if away.send_replace(false) {
                    tracing::info!(address = %target.address, "the control plane answers again");
                }
                return control;
            }
            Err(error) => {
                if !away.send_replace(true) {
                    tracing::warn!(%error, address = %target.address, "the control plane does not answer; waiting");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn connect(target: &Target) -> io::Result<TlsStream<TcpStream>> {
    let Some((config, name)) = &target.tls else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let connect = async {
        let tcp = TcpStream::connect(target.address).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(Arc::clone(config))
            .connect(name.clone(), tcp)
            .await
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
