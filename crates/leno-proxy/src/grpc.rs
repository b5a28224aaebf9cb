//! A thin gRPC client over h2 and prost: what the proxy itself calls (ADS, certificates, the Mesh service).
//!
//! One HTTP/2 connection per [`Channel`]; messages are length-prefixed (gRPC over HTTP/2, "Length-Prefixed-Message").
//! A message is bounded by [`MAX_MESSAGE`]; what arrives compressed is refused, since nothing was offered.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Bytes of one message; an answer that names 10,000 services fits.
pub const MAX_MESSAGE: usize = 64 << 20;
/// Bytes of a message that must be able to go at once before it is queued; a peer's window may be no larger than 64 KiB.
const IN_TURN: usize = 16 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WINDOW: u32 = 1 << 20;
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a call failed, and whether it is worth trying again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("no TLS with {address}: {source}")]
    Tls { address: String, source: io::Error },
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Status(Status),
    #[error("the connection broke: {0}")]
    Transport(#[from] h2::Error),
    #[error("the peer ended the stream")]
    Ended,
    #[error("a message of {0} bytes is over the limit of {MAX_MESSAGE}")]
    TooLarge(usize),
    #[error("not a gRPC answer: {0}")]
    Protocol(String),
}

impl Error {
    /// Trying again later cannot help: the caller is refused for what it is.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Status(s) if matches!(s.code, UNAUTHENTICATED | PERMISSION_DENIED | INVALID_ARGUMENT))
    }
}

pub const INVALID_ARGUMENT: u32 = 3;
pub const PERMISSION_DENIED: u32 = 7;
pub const UNAUTHENTICATED: u32 = 16;

/// `grpc-status` and `grpc-message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u32,
    pub message: String,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "gRPC status {}", self.code),
            message => f.write_str(message),
        }
    }
}

/// Where a channel goes.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// None: plaintext.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

pub struct Channel {
    send: SendRequest<Bytes>,
    authority: String,
    /// Headers of each call.
    metadata: Vec<(String, String)>,
    scheme: &'static str,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Channel {
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        let address = target.address.to_string();
        let unreached = |source| Error::Connect {
            address: address.clone(),
            source,
        };
        let tcp = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target.address))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(unreached)?;
        tcp.set_nodelay(true).map_err(unreached)?;
        match &target.tls {
            None => Self::handshake(tcp, address, "http").await,
            Some((config, name)) => {
                let connect = TlsConnector::from(config.clone()).connect(name.clone(), tcp);
                let tls = tokio::time::timeout(CONNECT_TIMEOUT, connect)
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    .map_err(|source| Error::Tls {
                        address: address.clone(),
                        source,
                    })?;
                Self::handshake(tls, address, "https").await
            }
        }
    }

    /// Plaintext over a socket in the file system.
    pub async fn connect_pipe(path: &Path) -> Result<Self, Error> {
        let unix = UnixStream::connect(path).await;
        let unix = unix.map_err(|source| Error::Connect {
            address: path.display().to_string(),
            source,
        })?;
        Self::handshake(unix, "localhost".to_owned(), "http").await
    }

    /// Says who is called, where it is not the address, and what goes with each call.
    #[must_use]
    pub fn calling(mut self, authority: String, metadata: Vec<(String, String)>) -> Self {
        self.authority = authority;
        self.metadata = metadata;
        self
    }

    async fn handshake<T>(io: T, authority: String, scheme: &'static str) -> Result<Self, Error>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .enable_push(false)
            .handshake(io)
            .await?;
        let driver = tokio::spawn(drive(connection));
        Ok(Self {
            send,
            authority,
            metadata: Vec::new(),
            scheme,
            driver,
        })
    }

    /// One message each way.
    pub async fn unary<Q: Message, A: Message + Default>(
        &self,
        path: &str,
        bearer: Option<&str>,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, Error> {
        let call = async {
            let (mut sender, mut receiver) = self.stream::<Q, A>(path, bearer).await?;
            sender.send(request)?;
            sender.finish()?;
            let answer = receiver.next().await?.ok_or(Error::Ended)?;
            // The status stands in the trailers.
            receiver.next().await?;
            Ok(answer)
        };
        tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            Err(Error::Status(Status {
                code: 4,
                message: format!("no answer within {timeout:?}"),
            }))
        })
    }

    /// Messages both ways.
    pub async fn stream<Q: Message, A: Message + Default>(
        &self,
        path: &str,
        bearer: Option<&str>,
    ) -> Result<(Sender<Q>, Receiver<A>), Error> {
        let mut request = http::Request::post(format!("{}://{}{path}", self.scheme, self.authority))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("leno/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.metadata {
            request = request.header(name, value);
        }
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(()).map_err(|e| Error::Protocol(e.to_string()))?;
        let mut send = self.send.clone().ready().await?;
        let (response, stream) = send.send_request(request, false)?;
        let receiver = Receiver {
            state: Incoming::Head(response),
            buffer: BytesMut::new(),
            kind: PhantomData,
        };
        Ok((
            Sender {
                stream,
                kind: PhantomData,
            },
            receiver,
        ))
    }
}

/// Moves the connection until it ends, or until the peer no longer answers pings: a machine that lost its power sends
/// no reset, and a stream on which nothing is said would seem open for ever.
async fn drive<T>(mut connection: h2::client::Connection<T, Bytes>)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let pings = connection.ping_pong();
    let alive = async {
        let Some(mut pings) = pings else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(PING_EVERY).await;
            match tokio::time::timeout(PING_TIMEOUT, pings.ping(h2::Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection's own end says why.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => return,
            }
        }
    };
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "gRPC connection ended");
            }
        }
        () = alive => tracing::debug!("gRPC connection given up: the peer does not answer"),
    }
}

pub struct Sender<Q> {
    stream: SendStream<Bytes>,
    kind: PhantomData<fn(Q)>,
}

impl<Q: Message> Sender<Q> {
    /// Queues a message; h2 sends it as the peer's window allows.
    pub fn send(&mut self, message: &Q) -> Result<(), Error> {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(5 + length);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(length).map_err(|_| Error::TooLarge(length))?);
        message
            .encode(&mut frame)
            .map_err(|e| Error::Protocol(e.to_string()))?;
        Ok(self.stream.send_data(frame.freeze(), false)?)
    }

    /// Queues a message once some of it can go: for messages that are many, so that they do not pile up here when the
    /// peer is slow. Not cancel safe.
    pub async fn send_in_turn(&mut self, message: &Q) -> Result<(), Error> {
        let wanted = (5 + message.encoded_len()).min(IN_TURN);
        self.stream.reserve_capacity(wanted);
        while self.stream.capacity() < wanted {
            match poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                Some(capacity) => drop(capacity?),
                None => return Err(Error::Ended),
            }
        }
        self.send(message)
    }

    pub fn finish(&mut self) -> Result<(), Error> {
        Ok(self.stream.send_data(Bytes::new(), true)?)
    }
}

enum Incoming {
    Head(h2::client::ResponseFuture),
    Body(RecvStream),
    End,
}

pub struct Receiver<A> {
    state: Incoming,
    buffer: BytesMut,
    kind: PhantomData<fn() -> A>,
}

impl<A: Message + Default> Receiver<A> {
    /// The next message; None when the stream has ended with status 0. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<A>, Error> {
        loop {
            if let Some(message) = self.decode()? {
                return Ok(Some(message));
            }
            match &mut self.state {
                Incoming::Head(response) => {
                    let response = response.await?;
                    if response.status() != http::StatusCode::OK {
                        return Err(Error::Protocol(format!("HTTP status {}", response.status())));
                    }
                    if let Some(status) = status_of(response.headers()) {
                        self.state = Incoming::End;
                        ok(status)?;
                        continue;
                    }
                    self.state = Incoming::Body(response.into_body());
                }
                Incoming::Body(body) => match body.data().await {
                    Some(chunk) => {
                        let chunk = chunk?;
                        body.flow_control().release_capacity(chunk.len())?;
                        self.buffer.extend_from_slice(&chunk);
                    }
                    None => {
                        let trailers = body.trailers().await?;
                        self.state = Incoming::End;
                        ok(trailers.as_ref().and_then(status_of).ok_or(Error::Ended)?)?;
                    }
                },
                Incoming::End => return Ok(None),
            }
        }
    }

    fn decode(&mut self) -> Result<Option<A>, Error> {
        let Some(prefix) = self.buffer.first_chunk::<5>() else {
            return Ok(None);
        };
        let [compressed, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        if compressed != 0 {
            return Err(Error::Protocol(
                "a compressed message, which was not offered".into(),
            ));
        }
        if length > MAX_MESSAGE {
            return Err(Error::TooLarge(length));
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        let frame = self.buffer.split_to(length).freeze();
        A::decode(frame)
            .map(Some)
            .map_err(|e| Error::Protocol(e.to_string()))
    }
}

fn status_of(headers: &http::HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers
        .get("grpc-message")
        .map_or("", |m| m.to_str().unwrap_or(""));
    Some(Status {
        code,
        message: percent_decoded(message),
    })
}

fn ok(status: Status) -> Result<(), Error> {
    if status.code == 0 {
        Ok(())
    } else {
        Err(Error::Status(status))
    }
}

/// `grpc-message` is percent-encoded; what does not decode stays as it came.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_messages_are_percent_decoded() {
        assert_eq!(percent_decoded("token%20%22a%22 100% é"), "token \"a\" 100% é");
    }

    #[test]
    fn only_refusals_are_final() {
        let status = |code| {
            Error::Status(Status {
                code,
                message: String::new(),
            })
        };
        assert!(status(UNAUTHENTICATED).is_refusal());
        assert!(!status(14).is_refusal());
        assert!(!Error::Ended.is_refusal());
    }
}
