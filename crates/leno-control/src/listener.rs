//! Connections to the control plane: who is at the other end, as the handshake proved it.
//!
//! A client certificate is optional, because a workload's first call is the one that gets it one; what it is good
//! for is decided by each service.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use leno_ca::Authority;
use leno_model::Trust;
use leno_tls::{
    ClientAuth, Crypto, HandshakeFailure, Identity, PeerCheck, ROOT_CA, Resumption, Revocation, Secrets,
    ServerTls, SpiffeId, TlsConfigs, TlsServer, TrustBundle, TrustDomain, Versions, WORKLOAD_CERTIFICATE,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;
use tonic::transport::server::Connected;

use crate::error::{NOT_RENEWED, PEER_REFUSED, StartError};
use crate::limits::{Ended, Gate, Place, StreamPlace};
use crate::once::Once;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes that have ended and wait to be served.
const BACKLOG: usize = 128;
/// A failed renewal is tried again after this.
const RENEW_RETRY: Duration = Duration::from_secs(60);

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Over TLS, where credentials may travel.
    pub(crate) secure: bool,
    /// Of its verified certificate.
    pub(crate) identity: Option<SpiffeId>,
    gate: Arc<Gate>,
    /// Streams that last, of this connection.
    streams: Arc<AtomicUsize>,
}

pub(crate) struct Connection {
    io: Io,
    peer: Peer,
    _place: Place,
    /// It may have to give way to others.
    ended: Option<Ended>,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The control plane's own certificate and whom it trusts.
pub(crate) struct Tls {
    secrets: Arc<Secrets>,
    crypto: Crypto,
    names: Vec<String>,
    server: Arc<ServerTls>,
    configs: Mutex<TlsConfigs>,
}

// === impl Peer ===

impl Peer {
    /// A place for a stream that lasts.
    pub(crate) fn stream(&self) -> Result<StreamPlace, Status> {
        self.gate.stream(&self.streams, self.identity.as_ref())
    }
}

/// A place for a stream that lasts, of whoever asks for it.
pub(crate) fn stream_of<T>(request: &tonic::Request<T>) -> Result<StreamPlace, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.ok_or_else(|| Status::internal("the connection is not known"))?
        .stream()
}

// === impl Tls ===

impl Tls {
    pub(crate) fn new(
        authority: &Authority,
        trust_domain: &TrustDomain,
        names: Vec<String>,
    ) -> Result<Self, StartError> {
        let crypto = Crypto::system();
        let secrets = Arc::new(Secrets::new());
        let check = PeerCheck {
            trust_domains: vec![trust_domain.clone()],
            ..PeerCheck::any(ROOT_CA)
        };
        let server = ServerTls {
            identity: WORKLOAD_CERTIFICATE.to_owned(),
            further: Vec::new(),
            client_auth: ClientAuth::Optional(check),
            alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
            versions: Versions::TLS13,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            resumption: Resumption::Off,
            staples: Default::default(),
            scans_all: false,
        };
        let tls = Self {
            configs: Mutex::new(TlsConfigs::new(crypto.clone(), secrets.clone(), 4)),
            secrets,
            crypto,
            names,
            server: Arc::new(server),
        };
        tls.renew(authority, SystemTime::now())?;
        Ok(tls)
    }

    /// Whom the listener trusts; its own certificate is made anew where its root is another.
    pub(crate) fn trust(&self, authority: &Authority, trust: &Trust) -> Result<(), StartError> {
        let mut bundle = TrustBundle::from_pem(trust.roots.as_bytes(), "the mesh's root certificate")?;
        if let Some(revoked) = &trust.revocations {
            let lists = Revocation::from_pem(revoked.lists.as_bytes(), revoked.leaf_only);
            let lists = lists.map_err(StartError::RevocationLists)?;
            bundle = bundle.with(PeerCheck {
                revocation: Some(lists),
                ..PeerCheck::any(ROOT_CA)
            });
        }
        self.secrets.set_bundle(ROOT_CA, bundle);
        self.renew(authority, SystemTime::now()).map(drop)
    }

    /// A new certificate; returns when the next is due.
    fn renew(&self, authority: &Authority, now: SystemTime) -> Result<SystemTime, StartError> {
        let made = authority.server_certificate(&self.names, None, now)?;
        let origin = "the control plane's own certificate";
        let identity = Identity::from_pem(
            made.chain_pem.as_bytes(),
            origin,
            made.key_pem.as_bytes(),
            origin,
            &self.crypto,
        )?;
        let due = identity.half_life();
        self.secrets.set_identity(WORKLOAD_CERTIFICATE, identity);
        Ok(due)
    }

    /// Keeps the certificate fresh; open connections are not touched.
    pub(crate) async fn renew_forever(&self, authority: &Authority) {
        let mut due = self
            .secrets
            .load()
            .identity(WORKLOAD_CERTIFICATE)
            .map(Identity::half_life);
        loop {
            let now = SystemTime::now();
            let wait = due
                .and_then(|due| due.duration_since(now).ok())
                .unwrap_or_default();
            tokio::time::sleep(wait.max(Duration::from_secs(1))).await;
            due = match self.renew(authority, SystemTime::now()) {
                Ok(due) => Some(due),
                Err(error) => {
                    tracing::error!("error[{NOT_RENEWED}]: {error}");
                    SystemTime::now().checked_add(RENEW_RETRY)
                }
            };
        }
    }

    fn current(&self) -> Result<TlsServer, leno_tls::ConfigError> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        configs.server(&self.server)
    }

    async fn accept(
        &self,
        tcp: TcpStream,
    ) -> Result<(Box<TlsStream<TcpStream>>, Option<SpiffeId>), HandshakeFailure> {
        let protocol = |detail: String| HandshakeFailure::Protocol { detail };
        let server = self.current().map_err(|error| protocol(error.to_string()))?;
        let start = LazyConfigAcceptor::new(Default::default(), tcp)
            .await
            .map_err(|error| HandshakeFailure::from_io(&error))?;
        let stream = start
            .into_stream(server.config().clone())
            .await
            .map_err(|error| HandshakeFailure::from_io(&error))?;
        let peer = server.peer(stream.get_ref().1, SystemTime::now())?;
        Ok((Box::new(stream), peer.id))
    }
}

/// Accepts connections and does the handshakes, none of which can hold up another.
pub(crate) fn secure(
    listener: TcpListener,
    tls: Arc<Tls>,
    gate: Arc<Gate>,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(BACKLOG);
    let refused = Arc::new(Once::default());
    tokio::spawn(async move {
        while let Some((tcp, address)) = next(&listener, &accepted).await {
            // Nobody else is accepted while there is no place: the kernel keeps who comes.
            let Some((place, ended)) = gate.admit(address).await else {
                continue;
            };
            let (tls, refused, out) = (tls.clone(), refused.clone(), accepted.clone());
            tokio::spawn(async move {
                let made = shake(&tls, tcp, address, (place, ended), &refused).await;
                if let Some(connection) = made {
                    drop(out.send(Ok(connection)).await);
                }
            });
        }
    });
    connections
}

/// The handshake. None: there is nobody to be served, and it has been said why.
async fn shake(
    tls: &Tls,
    tcp: TcpStream,
    address: SocketAddr,
    (mut place, mut ended): (Place, Ended),
    refused: &Once,
) -> Option<Connection> {
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(tcp));
    let (stream, identity) = tokio::select! {
        shaken = handshake => match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(failure)) => {
                if refused.first(&format!("{} {failure}", address.ip())) {
                    tracing::warn!(
                        "warning[{PEER_REFUSED}]: TLS handshake failed: {failure} — peer {address} — its \
                         certificate must be of this mesh: join again with a token"
                    );
                }
                return None;
            }
            Err(_) => {
                tracing::debug!(%address, "no TLS handshake in time");
                return None;
            }
        },
        _ = &mut ended => return None,
    };
    let ended = match &identity {
        Some(identity) => {
            place.prove(identity).ok()?;
            None
        }
        None => Some(ended),
    };
    let gate = place.gate();
    Some(Connection {
        io: Io::Tls(stream),
        peer: Peer {
            address,
            secure: true,
            identity,
            gate,
            streams: Arc::default(),
        },
        _place: place,
        ended,
    })
}

/// Without TLS, for loopback.
pub(crate) fn plaintext(listener: TcpListener, gate: Arc<Gate>) -> mpsc::Receiver<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        while let Some((tcp, address)) = next(&listener, &accepted).await {
            let Some(place) = gate.admit_plaintext(address) else {
                continue;
            };
            let peer = Peer {
                address,
                secure: false,
                identity: None,
                gate: gate.clone(),
                streams: Arc::default(),
            };
            let connection = Connection {
                io: Io::Plain(tcp),
                peer,
                _place: place,
                ended: None,
            };
            if accepted.send(Ok(connection)).await.is_err() {
                return;
            }
        }
    });
    connections
}

/// Who comes next; None: nobody is served any more.
async fn next(
    listener: &TcpListener,
    accepted: &mpsc::Sender<io::Result<Connection>>,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        tokio::select! {
            connection = listener.accept() => match connection {
                Ok((tcp, address)) => {
                    // Small messages both ways: waiting for more to send only delays them.
                    let _ = tcp.set_nodelay(true);
                    return Some((tcp, address));
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = accepted.closed() => return None,
        }
    }
}

// === impl Connection ===

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(ended) = &mut this.ended
            && Pin::new(ended).poll(cx).is_ready()
        {
            this.ended = None;
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
