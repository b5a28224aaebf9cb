//! Names that are not the mesh's: the resolver's business, byte for byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_dns::NameTable;
use leno_proto::istio::networking::nds::v1::NameTable as Names;
use leno_proxy::dns::Dns;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};

/// `AAAA? Example.org`, class IN, mixed case, with EDNS (payload 4096, DO, an option nobody knows) and five bytes more.
const QUERY: &[u8] = b"\xab\xcd\x01\x20\0\x01\0\0\0\0\0\x01\x07eXaMpLe\x03oRg\0\0\x1c\0\x01\
    \0\0\x29\x10\0\0\0\x80\0\0\x08\xfd\xe9\0\x04leno\xde\xad\xbe\xef\x99";
/// Answers are not looked into beyond their id.
const REPLY: &[u8] = b"\xab\xcd\x81\x80\xff\xff\0\0\0\0\0\0 this is no DNS message \0\x01\x02";

/// A query of its own id for a name of the mesh.
const MESH_QUERY: &[u8] =
    b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07nowhere\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01";

const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// For what must come; far longer than anything here takes.
const SOON: Duration = Duration::from_secs(10);

/// The DNS proxy on a port of its own, UDP and TCP.
struct Server {
    udp: SocketAddr,
    tcp: SocketAddr,
    _names: watch::Sender<Arc<NameTable>>,
}

impl Server {
    async fn start(resolvers: Vec<SocketAddr>, patience: Duration) -> Self {
        let (names, table) = watch::channel(Arc::new(NameTable::new(&Names::default())));
        let dns = Dns::new(table, resolvers).with_patience(patience);
        let (socket, listener) = (
            UdpSocket::bind(LOCAL).await.unwrap(),
            TcpListener::bind(LOCAL).await.unwrap(),
        );
        let (udp, tcp) = (socket.local_addr().unwrap(), listener.local_addr().unwrap());
        tokio::spawn(dns.clone().serve_udp(socket));
        tokio::spawn(dns.serve_tcp(listener));
        Self {
            udp,
            tcp,
            _names: names,
        }
    }

    async fn ask_udp(&self, query: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind(LOCAL).await.unwrap();
        socket.send_to(query, self.udp).await.unwrap();
        let mut reply = vec![0; 65_535];
        let (length, from) = tokio::time::timeout(SOON, socket.recv_from(&mut reply))
            .await
            .expect("an answer")
            .unwrap();
        assert_eq!(from, self.udp);
        reply.truncate(length);
        reply
    }

    async fn ask_tcp(&self, query: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.tcp).await.unwrap();
        write(&mut stream, query).await;
        tokio::time::timeout(SOON, read(&mut stream))
            .await
            .expect("an answer")
    }
}

async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u16().await.unwrap();
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await.unwrap();
    message
}

async fn write(stream: &mut TcpStream, message: &[u8]) {
    stream.write_u16(message.len().try_into().unwrap()).await.unwrap();
    stream.write_all(message).await.unwrap();
}

/// A resolver over UDP and TCP on one port; it tells what it was asked, and answers with the same bytes always.
async fn resolver(reply: &'static [u8]) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (socket, listener) = loop {
        let socket = UdpSocket::bind(LOCAL).await.unwrap();
        // The same number may be taken for TCP.
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            break (socket, listener);
        }
    };
    let address = socket.local_addr().unwrap();
    let (asked, questions) = mpsc::unbounded_channel();
    let over_tcp = asked.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let _ = asked.send(buffer[..length].to_vec());
            // A stray answer first: it must be passed over.
            socket.send_to(b"\0\0stray", client).await.unwrap();
            socket.send_to(reply, client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = over_tcp.send(read(&mut stream).await);
            write(&mut stream, reply).await;
        }
    });
    (address, questions)
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    let socket = UdpSocket::bind(LOCAL).await.unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn a_foreign_query_and_its_answer_pass_byte_for_byte() {
    let (address, mut asked) = resolver(REPLY).await;
    let server = Server::start(vec![address], SOON).await;
    assert_eq!(server.ask_udp(QUERY).await, REPLY);
    assert_eq!(asked.recv().await.unwrap(), QUERY);
    assert_eq!(server.ask_tcp(QUERY).await, REPLY);
    assert_eq!(asked.recv().await.unwrap(), QUERY);
}

#[tokio::test]
async fn an_answer_longer_than_any_datagram_without_edns_passes_too() {
    static LONG: [u8; 60_000] = {
        let mut long = [7; 60_000];
        (long[0], long[1]) = (0xab, 0xcd);
        long
    };
    let (address, _asked) = resolver(&LONG).await;
    let server = Server::start(vec![address], SOON).await;
    assert_eq!(server.ask_udp(QUERY).await, LONG);
    assert_eq!(server.ask_tcp(QUERY).await, LONG);
}

#[tokio::test]
async fn names_of_the_mesh_are_never_forwarded() {
    let (address, mut asked) = resolver(REPLY).await;
    let server = Server::start(vec![address], SOON).await;
    for reply in [server.ask_udp(MESH_QUERY).await, server.ask_tcp(MESH_QUERY).await] {
        assert_eq!(reply[..2], MESH_QUERY[..2]);
        assert_eq!(reply[3] & 0x0f, 3, "NXDOMAIN");
    }
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn a_resolver_that_is_not_there_gives_a_server_failure_at_once() {
    let server = Server::start(vec![nobody().await], SOON).await;
    let begin = Instant::now();
    for reply in [server.ask_udp(QUERY).await, server.ask_tcp(QUERY).await] {
        assert_eq!(reply[..2], QUERY[..2]);
        assert_eq!(reply[2] & 0x80, 0x80, "a response");
        assert_eq!(reply[3] & 0x0f, 2, "SERVFAIL");
    }
    assert!(
        begin.elapsed() < SOON / 2,
        "refused is refused: {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn without_any_resolver_the_answer_is_a_server_failure() {
    let server = Server::start(Vec::new(), SOON).await;
    assert_eq!(server.ask_udp(QUERY).await[3] & 0x0f, 2);
    assert_eq!(server.ask_tcp(QUERY).await[3] & 0x0f, 2);
}

#[tokio::test]
async fn after_a_silent_resolver_the_next_one_is_asked() {
    // Bound, and never read.
    let silent = UdpSocket::bind(LOCAL).await.unwrap();
    let (address, mut asked) = resolver(REPLY).await;
    let resolvers = vec![silent.local_addr().unwrap(), nobody().await, address];
    let server = Server::start(resolvers, Duration::from_millis(50)).await;
    assert_eq!(server.ask_udp(QUERY).await, REPLY);
    assert_eq!(asked.recv().await.unwrap(), QUERY);
    let mut unread = vec![0; 512];
    let (length, _) = silent.recv_from(&mut unread).await.unwrap();
    assert_eq!(&unread[..length], QUERY, "the first one was asked first");
}

/// Descriptors that are used up, for one, come back; a proxy that has ended does not.
#[tokio::test]
async fn errors_of_its_sockets_do_not_end_the_proxy() {
    let (_names, table) = watch::channel(Arc::new(NameTable::new(&Names::default())));
    let dns = Dns::new(table, Vec::new());
    // Neither listening nor connected: accepting and receiving are errors.
    let unfit = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let listener = TcpListener::from_std(unfit().into()).unwrap();
    assert!(listener.accept().await.is_err());
    let socket = UdpSocket::from_std(unfit().into()).unwrap();
    assert!(socket.recv_from(&mut [0]).await.is_err());
    let serving = async {
        tokio::select! {
            end = dns.clone().serve_tcp(listener) => end,
            end = dns.serve_udp(socket) => end,
        }
    };
    let ended = tokio::time::timeout(Duration::from_millis(150), serving).await;
    assert!(ended.is_err(), "{ended:?}");
}
