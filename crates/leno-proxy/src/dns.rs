//! The DNS proxy: answers for the mesh's names itself and forwards everything else byte for byte.
//!
//! Answering is `leno-dns` (pure); here are the sockets. A forwarded query keeps its bytes, so that whatever the
//! client and the resolver speak (EDNS, DNSSEC) passes through untouched.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leno_dns::{Answer, NameTable, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

/// Queries that wait for a resolver at one time; more are dropped, and the client asks again.
const MAX_FORWARDED: usize = 1024;
const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_IDLE: Duration = Duration::from_secs(30);
/// After an error of a listening socket: the lack of descriptors or memory passes, the proxy stays.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_MESSAGE: usize = 65_535;

/// What every socket of the proxy shares.
#[derive(Clone, Debug)]
pub struct Dns {
    names: watch::Receiver<Arc<NameTable>>,
    resolvers: Arc<[SocketAddr]>,
    /// How long each resolver may take.
    patience: Duration,
    forwarding: Arc<Semaphore>,
}

impl Dns {
    /// `resolvers`: where the machine itself asks, in order.
    pub fn new(names: watch::Receiver<Arc<NameTable>>, resolvers: Vec<SocketAddr>) -> Self {
        Self {
            names,
            resolvers: resolvers.into(),
            patience: FORWARD_TIMEOUT,
            forwarding: Arc::new(Semaphore::new(MAX_FORWARDED)),
        }
    }

    /// How long each resolver may take before the next one is asked; five seconds otherwise, as in resolv.conf(5).
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub async fn serve_udp(self, socket: UdpSocket) -> io::Result<()> {
        let socket = Arc::new(socket);
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An ICMP error of an earlier answer; the socket itself is well.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            let Some(query) = buffer.get(..length) else {
                continue;
            };
            let answer = self.names.borrow().answer(query, Transport::Udp);
            match answer {
                Answer::Reply(reply) => send(&socket, &reply, client).await,
                Answer::Drop => {}
                Answer::Forward => {
                    let Ok(permit) = self.forwarding.clone().try_acquire_owned() else {
                        continue;
                    };
                    let (dns, socket, query) = (self.clone(), socket.clone(), query.to_vec());
                    tokio::spawn(async move {
                        if let Some(reply) = dns.forward_udp(&query).await {
                            send(&socket, &reply, client).await;
                        }
                        drop(permit);
                    });
                }
            }
        }
    }

    pub async fn serve_tcp(self, listener: TcpListener) -> io::Result<()> {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The client has gone before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            let Ok(permit) = self.forwarding.clone().try_acquire_owned() else {
                continue;
            };
            let dns = self.clone();
            tokio::spawn(async move {
                if let Err(error) = dns.converse(stream).await {
                    tracing::debug!(%error, "DNS over TCP");
                }
                drop(permit);
            });
        }
    }

    /// RFC 7766: any number of messages, each with its length before it.
    async fn converse(&self, mut client: TcpStream) -> io::Result<()> {
        loop {
            let query = match tokio::time::timeout(TCP_IDLE, read_message(&mut client)).await {
                Ok(Ok(query)) => query,
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            };
            let answer = self.names.borrow().answer(&query, Transport::Tcp);
            let reply = match answer {
                Answer::Reply(reply) => reply,
                Answer::Drop => return Ok(()),
                Answer::Forward => self.forward_tcp(&query).await?,
            };
            write_message(&mut client, &reply).await?;
        }
    }

    /// The first resolver that answers. An answer is recognised by the query's id.
    async fn forward_udp(&self, query: &[u8]) -> Option<Vec<u8>> {
        for resolver in self.resolvers.iter() {
            match tokio::time::timeout(self.patience, ask_udp(*resolver, query)).await {
                Ok(Ok(reply)) => return Some(reply),
                Ok(Err(error)) => tracing::debug!(%error, %resolver, "DNS resolver"),
                Err(_) => tracing::debug!(%resolver, "DNS resolver does not answer"),
            }
        }
        leno_dns::server_failure(query)
    }

    async fn forward_tcp(&self, query: &[u8]) -> io::Result<Vec<u8>> {
        for resolver in self.resolvers.iter() {
            let ask = async {
                let mut stream = TcpStream::connect(resolver).await?;
                write_message(&mut stream, query).await?;
                read_message(&mut stream).await
            };
            if let Ok(Ok(reply)) = tokio::time::timeout(self.patience, ask).await {
                return Ok(reply);
            }
        }
        leno_dns::server_failure(query).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "DNS socket");
    tokio::time::sleep(PAUSE).await;
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(%error, %client, "DNS answer not sent");
    }
}

async fn ask_udp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if resolver.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut reply = vec![0; MAX_MESSAGE];
    loop {
        let length = socket.recv(&mut reply).await?;
        if length >= 2 && reply.get(..2) == query.get(..2) {
            reply.truncate(length);
            return Ok(reply);
        }
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// The `nameserver` lines of a resolv.conf; what is not an address is passed over.
pub fn resolvers(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|address| address.trim().split('%').next()?.parse().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_the_resolvers_in_order() {
        let text = "# x\nsearch a.b\nnameserver 198.18.0.53\nnameserver fe80::1%eth0\nnameserver nonsense\n";
        let expected: Vec<SocketAddr> =
            vec!["198.18.0.53:53".parse().unwrap(), "[fe80::1]:53".parse().unwrap()];
        assert_eq!(resolvers(text), expected);
    }
}
