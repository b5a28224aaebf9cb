//! Whoever does not read holds back whoever writes: what the proxy holds between them is bounded.
//!
//! That is counted: the bytes that the sender has got rid of, less what the kernel says lies in the sockets (which it
//! lets grow as it sees fit).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use leno_engine::compile::cluster::UpstreamProtocol;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{Harness, cluster, http_chain, listener, manager, read_message, tcp_chain, tcp_server};

const MIB: usize = 1024 * 1024;
/// More than all sockets on the way can hold.
const TOTAL: usize = 128 * MIB;
/// What the proxy may hold of one stream or connection.
const BOUND: usize = 512 * 1024;
const SMALL: usize = 64 * 1024;

/// Bytes that a sender has got rid of.
#[derive(Clone, Debug, Default)]
struct Taken(Arc<AtomicUsize>);

// === impl Taken ===

impl Taken {
    /// Writes `total` bytes, as many as are taken.
    async fn write(&self, stream: &mut (impl AsyncWriteExt + Unpin), total: usize) {
        let chunk = vec![7; SMALL];
        let mut left = total;
        while left > 0 {
            match stream.write(&chunk[..left.min(SMALL)]).await {
                Ok(written) if written > 0 => {
                    self.0.fetch_add(written, Relaxed);
                    left -= written;
                }
                _ => return,
            }
        }
    }

    /// Waits until no more is taken; bytes that are in none of the sockets from or to these addresses.
    async fn held(&self, addresses: [SocketAddr; 2]) -> usize {
        let taken = self.standstill().await;
        let queued = queued(addresses.map(|address| address.port()));
        taken.saturating_sub(queued)
    }

    /// Waits until no more is taken; how much it was.
    async fn standstill(&self) -> usize {
        let (mut before, mut same) = (0, 0);
        while same < 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.0.load(Relaxed);
            same = if now == before && now > 0 { same + 1 } else { 0 };
            before = now;
        }
        before
    }
}

/// Bytes in the send and receive queues of all sockets from or to these ports (proc(5), /proc/net/tcp).
fn queued(ports: [u16; 2]) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let number = |hex: &str| usize::from_str_radix(hex, 16).unwrap();
    let of_socket = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let port = |column: usize| {
            columns[column]
                .split_once(':')
                .map(|(_, port)| number(port) as u16)
        };
        let ours = ports.iter().any(|p| port(1) == Some(*p) || port(2) == Some(*p));
        let (send, receive) = columns[4].split_once(':').unwrap();
        // A listening socket's queue is of connections.
        let listening = columns[3] == "0A";
        if ours && !listening {
            number(send) + number(receive)
        } else {
            0
        }
    };
    table.lines().skip(1).map(of_socket).sum()
}

/// An upstream that answers with [`TOTAL`] bytes, or with `each`.
async fn source(taken: Taken, each: usize) -> SocketAddr {
    tcp_server(move |mut stream, _| {
        let taken = taken.clone();
        async move {
            SockRef::from(&stream).set_send_buffer_size(SMALL).unwrap();
            if read_message(&mut stream).await.is_none() {
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {each}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            taken.write(&mut stream, each).await;
        }
    })
    .await
}

/// An upstream that accepts and never reads.
async fn deaf() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL as u32).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener: TcpListener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL as u32).unwrap();
    socket.set_send_buffer_size(SMALL as u32).unwrap();
    socket.connect(address).await.unwrap()
}

async fn h2_client(address: SocketAddr, window: u32) -> h2::client::SendRequest<Bytes> {
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .handshake(connect(address).await)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

fn serve(endpoint: SocketAddr, protocol: UpstreamProtocol) -> (Harness, SocketAddr) {
    let harness = Harness::start();
    let address = harness.serve(listener("http", http_chain(manager("routes"))), &[endpoint]);
    harness.update(|updater| {
        let mut cluster = cluster("c", &[endpoint]);
        cluster.protocol = protocol;
        updater.upsert_cluster(cluster).unwrap();
    });
    (harness, address)
}

#[tokio::test]
async fn an_http1_client_that_does_not_read_its_response() {
    let taken = Taken::default();
    let upstream = source(taken.clone(), TOTAL).await;
    let (_harness, address) = serve(upstream, UpstreamProtocol::Http1);
    let mut client = connect(address).await;
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let held = taken.held([address, upstream]).await;
    assert!(held < BOUND, "{held} bytes are held");
}

#[tokio::test]
async fn an_http2_client_that_does_not_read_its_response() {
    let taken = Taken::default();
    let upstream = source(taken.clone(), TOTAL).await;
    let (_harness, address) = serve(upstream, UpstreamProtocol::Http1);
    let mut sender = h2_client(address, 65_535).await;
    let request = Request::get("http://a/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    let _unread = response.await.unwrap();
    let held = taken.held([address, upstream]).await;
    assert!(held < BOUND, "{held} bytes are held");
}

/// A hundred streams whose windows are shut cost what a hundred windows hold, not what a hundred responses are.
#[tokio::test]
async fn a_hundred_http2_streams_with_shut_windows() {
    const STREAMS: usize = 100;
    let taken = Taken::default();
    let upstream = source(taken.clone(), 4 * MIB).await;
    let (_harness, address) = serve(upstream, UpstreamProtocol::Http1);
    let mut sender = h2_client(address, 0).await;
    let mut unread = Vec::new();
    for _ in 0..STREAMS {
        let request = Request::get("http://a/").body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        unread.push(response.await.unwrap());
    }
    let held = taken.held([address, upstream]).await;
    assert!(held < STREAMS * BOUND, "{held} bytes are held");
}

#[tokio::test]
async fn a_tcp_client_that_does_not_read() {
    let taken = Taken::default();
    let harness = Harness::start();
    let upstream = source(taken.clone(), TOTAL).await;
    let address = harness.serve(listener("tcp", tcp_chain("c")), &[upstream]);
    let mut client = connect(address).await;
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let held = taken.held([address, upstream]).await;
    assert!(held < BOUND, "{held} bytes are held");
}

#[tokio::test]
async fn an_upstream_that_does_not_read_http1() {
    for head in [
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {TOTAL}\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{TOTAL:x}\r\n"),
    ] {
        let upstream = deaf().await;
        let (_harness, address) = serve(upstream, UpstreamProtocol::Http1);
        let mut client = connect(address).await;
        client.write_all(head.as_bytes()).await.unwrap();
        let taken = Taken::default();
        let counted = taken.clone();
        tokio::spawn(async move { counted.write(&mut client, TOTAL).await });
        let held = taken.held([address, upstream]).await;
        assert!(held < BOUND, "{held} bytes are held");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_read_http2() {
    let upstream = tcp_server(|stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut unread = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let stream = respond.send_response(Response::new(()), false).unwrap();
            unread.push((request, stream));
        }
    })
    .await;
    let (_harness, address) = serve(upstream, UpstreamProtocol::Http2);
    let mut sender = h2_client(address, 65_535).await;
    let request = Request::post("http://a/").body(()).unwrap();
    let (_response, mut stream) = sender.send_request(request, false).unwrap();
    let taken = Taken::default();
    let counted = taken.clone();
    tokio::spawn(async move {
        let mut left = TOTAL;
        while left > 0 {
            stream.reserve_capacity(SMALL);
            let Some(Ok(granted)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                return;
            };
            stream.send_data(Bytes::from(vec![7; granted]), false).unwrap();
            counted.0.fetch_add(granted, Relaxed);
            left = left.saturating_sub(granted);
        }
    });
    let held = taken.held([address, upstream]).await;
    assert!(held < BOUND, "{held} bytes are held");
}

#[tokio::test]
async fn an_upstream_that_does_not_read_tcp() {
    let harness = Harness::start();
    let upstream = deaf().await;
    let address = harness.serve(listener("tcp", tcp_chain("c")), &[upstream]);
    let mut client = connect(address).await;
    let taken = Taken::default();
    let counted = taken.clone();
    tokio::spawn(async move { counted.write(&mut client, TOTAL).await });
    let held = taken.held([address, upstream]).await;
    assert!(held < BOUND, "{held} bytes are held");
}

/// A client that asks and asks and reads nothing gets as far as its answers do.
#[tokio::test]
async fn a_flood_of_pipelined_requests() {
    let taken = Taken::default();
    let answered = taken.clone();
    let upstream = tcp_server(move |mut stream, _| {
        let answered = answered.clone();
        async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SMALL}\r\n\r\n");
            while read_message(&mut stream).await.is_some() && stream.write_all(head.as_bytes()).await.is_ok()
            {
                answered.write(&mut stream, SMALL).await;
            }
        }
    })
    .await;
    let (_harness, address) = serve(upstream, UpstreamProtocol::Http1);
    let (mut reading, mut writing) = connect(address).await.into_split();
    let asked = taken.clone();
    tokio::spawn(async move {
        let requests = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
        for _ in 0..TOTAL / requests.len() {
            match writing.write(requests.as_bytes()).await {
                Ok(written) if written > 0 => asked.0.fetch_add(written, Relaxed),
                _ => return,
            };
        }
    });
    let held = taken.held([address, upstream]).await;
    assert!(held < BOUND, "{held} bytes of requests and responses are held");
    // It goes on as soon as the client reads.
    let mut answer = vec![0; 4 * MIB];
    reading.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}
