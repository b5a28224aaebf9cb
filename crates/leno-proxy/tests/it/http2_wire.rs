//! What HTTP/2 peers see of the proxy: windows that close, streams that are given up, connections that go away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::{Ping, PingPong, Reason};
use http::{Request, Response};
use leno_engine::compile::cluster::UpstreamProtocol;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{Harness, cluster, http_chain, http1_server, listener, manager, ok, tcp_server};

type Sender = h2::client::SendRequest<Bytes>;

/// Bytes that the proxy asks for ahead on a stream, in these tests.
const WINDOW: usize = 65_535;

async fn client(address: SocketAddr) -> Sender {
    client_that_pings(address).await.0
}

async fn client_that_pings(address: SocketAddr) -> (Sender, PingPong) {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (sender, mut connection) = builder
        .max_concurrent_reset_streams(10_000)
        .handshake(stream)
        .await
        .unwrap();
    let pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    (sender.ready().await.unwrap(), pings)
}

fn proxy(endpoints: &[SocketAddr], protocol: UpstreamProtocol) -> (Harness, SocketAddr) {
    let harness = Harness::start();
    let mut manager = manager("routes");
    manager.http2.initial_stream_window = WINDOW as u32;
    let address = harness.serve(listener("http", http_chain(manager)), endpoints);
    harness.update(|updater| {
        let mut cluster = cluster("c", endpoints);
        cluster.protocol = protocol;
        cluster.http2.initial_stream_window = WINDOW as u32;
        updater.upsert_cluster(cluster).unwrap();
    });
    (harness, address)
}

fn get(uri: &str) -> Request<()> {
    Request::builder().uri(uri).body(()).unwrap()
}

fn post(uri: &str) -> Request<()> {
    Request::builder().method("POST").uri(uri).body(()).unwrap()
}

/// Counts connections, and answers each request when `go` says so.
async fn counting_server(go: Arc<Semaphore>) -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let address = tcp_server(move |stream, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        let go = Arc::clone(&go);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let go = Arc::clone(&go);
                tokio::spawn(async move {
                    let _turn = go.acquire().await.unwrap();
                    respond.send_response(Response::new(()), true).unwrap();
                });
            }
        }
    })
    .await;
    (address, connections)
}

#[tokio::test]
async fn streams_share_one_upstream_connection() {
    let go = Arc::new(Semaphore::new(0));
    let (upstream, connections) = counting_server(Arc::clone(&go)).await;
    let (_harness, address) = proxy(&[upstream], UpstreamProtocol::Http2);
    let mut sender = client(address).await;
    let calls: Vec<_> = (0..50)
        .map(|n| {
            sender
                .send_request(get(&format!("http://a/{n}")), true)
                .unwrap()
                .0
        })
        .collect();
    go.add_permits(50);
    for call in calls {
        assert_eq!(call.await.unwrap().status(), 200);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// An upstream that reads nothing of the body until it is told to, and then says how long it was.
async fn slow_reader(read: Arc<Semaphore>) -> SocketAddr {
    tcp_server(move |stream, _| {
        let read = Arc::clone(&read);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let read = Arc::clone(&read);
                tokio::spawn(async move {
                    let _turn = read.acquire().await.unwrap();
                    let mut body = request.into_body();
                    let mut length = 0;
                    while let Some(Ok(data)) = body.data().await {
                        length += data.len();
                        body.flow_control().release_capacity(data.len()).unwrap();
                    }
                    let head = Response::builder().header("x-length", length).body(()).unwrap();
                    respond.send_response(head, true).unwrap();
                });
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_upstream_that_does_not_read_stops_the_client() {
    const BODY: usize = 4 << 20;
    let read = Arc::new(Semaphore::new(0));
    let upstream = slow_reader(Arc::clone(&read)).await;
    let (_harness, address) = proxy(&[upstream], UpstreamProtocol::Http2);
    let mut sender = client(address).await;
    let (response, mut stream) = sender.send_request(post("http://a/"), false).unwrap();
    let mut sent = 0;
    let mut told = false;
    while sent < BODY {
        stream.reserve_capacity(BODY - sent);
        let more = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        let more = match tokio::time::timeout(std::time::Duration::from_millis(300), more).await {
            Ok(more) => more.unwrap().unwrap(),
            Err(_) => {
                assert!(!told, "it stopped twice");
                // The upstream's window, ours, and what is on its way between them.
                assert!(sent <= 65_535 + 2 * WINDOW + (256 << 10), "{sent} bytes are held");
                told = true;
                read.add_permits(1);
                continue;
            }
        };
        let chunk = more.min(BODY - sent);
        sent += chunk;
        stream.send_data(vec![0; chunk].into(), sent == BODY).unwrap();
    }
    assert!(told);
    let response = response.await.unwrap();
    assert_eq!(response.headers().get("x-length").unwrap(), &BODY.to_string());
}

#[tokio::test]
async fn a_client_that_gives_up_is_heard_upstream() {
    let (told, heard) = tokio::sync::oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let upstream = tcp_server(move |stream, _| {
        let told = told.lock().unwrap().take().unwrap();
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            told.send(reason.unwrap()).unwrap();
        }
    })
    .await;
    let (harness, address) = proxy(&[upstream], UpstreamProtocol::Http2);
    let mut sender = client(address).await;
    let (response, mut stream) = sender.send_request(post("http://a/"), false).unwrap();
    stream.send_data("some".into(), false).unwrap();
    let mut heard = heard;
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(100), &mut heard).await;
    assert!(quiet.is_err());
    stream.send_reset(Reason::CANCEL);
    drop(response);
    assert_eq!(heard.await.unwrap(), Reason::CANCEL);
    let record = harness.records.request(0).await;
    assert!(!record.flags.is_empty(), "{record:?}");
}

#[tokio::test]
async fn a_stream_that_the_upstream_did_not_look_at_goes_elsewhere() {
    let upstream = tcp_server(|stream, connection| async move {
        let mut server = h2::server::handshake(stream).await.unwrap();
        let (_request, mut respond) = server.accept().await.unwrap().unwrap();
        if connection == 0 {
            respond.send_response(Response::new(()), true).unwrap();
            // The next one comes and is refused.
            if let Some(Ok((_request, mut respond))) = server.accept().await {
                respond.send_reset(Reason::REFUSED_STREAM);
            }
        } else {
            respond.send_response(Response::new(()), true).unwrap();
        }
        while server.accept().await.is_some() {}
    })
    .await;
    let (_harness, address) = proxy(&[upstream], UpstreamProtocol::Http2);
    let mut sender = client(address).await;
    for _ in 0..2 {
        let call = sender.send_request(get("http://a/"), true).unwrap().0;
        assert_eq!(call.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_cookie_in_pieces_reaches_http1_as_one() {
    let upstream = http1_server(|request, _| ok(request.header("cookie").unwrap())).await;
    let (_harness, address) = proxy(&[upstream], UpstreamProtocol::Http1);
    let mut sender = client(address).await;
    let request = Request::builder()
        .uri("http://a/")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let response = sender.send_request(request, true).unwrap().0.await.unwrap();
    let body = response.into_body().data().await.unwrap().unwrap();
    assert_eq!(body, "a=1; b=2");
}

#[tokio::test]
async fn many_small_pieces_of_a_body_are_few_frames() {
    let body: String = (0..2000).map(|_| "1\r\nx\r\n").collect();
    let upstream = http1_server(move |_, _| {
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}0\r\n\r\n").into_bytes()
    })
    .await;
    let (_harness, address) = proxy(&[upstream], UpstreamProtocol::Http1);
    let mut sender = client(address).await;
    let response = sender
        .send_request(get("http://a/"), true)
        .unwrap()
        .0
        .await
        .unwrap();
    let mut body = response.into_body();
    let (mut frames, mut length) = (0, 0);
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        frames += 1;
        length += data.len();
    }
    assert_eq!(length, 2000);
    assert!(frames < 200, "{frames} frames");
}

#[tokio::test]
async fn a_head_over_the_limit_is_answered() {
    let (harness, address) = proxy(&[], UpstreamProtocol::Http1);
    let mut sender = client(address).await;
    let mut request = get("http://a/");
    for n in 0..200 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        request.headers_mut().insert(name, "v".parse().unwrap());
    }
    let response = sender.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(response.status(), 431);
    assert_eq!(harness.records.request(0).await.status, Some(431));
}

#[tokio::test]
async fn who_opens_streams_only_to_reset_them_is_sent_away() {
    let go = Arc::new(Semaphore::new(0));
    let (upstream, _connections) = counting_server(go).await;
    let (_harness, address) = proxy(&[upstream], UpstreamProtocol::Http2);
    let (mut sender, mut pings) = client_that_pings(address).await;
    for _ in 0..2000 {
        let answered = match sender.ready().await {
            Ok(ready) => {
                sender = ready;
                if let Ok((_response, mut stream)) = sender.send_request(get("http://a/"), false) {
                    stream.send_reset(Reason::CANCEL);
                }
                // An answer says that the proxy has read all that came before it.
                pings.ping(Ping::opaque()).await
            }
            Err(error) => {
                // Who goes on writing may find the connection gone before it reads why.
                let calm = error.is_io() || error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
                assert!(calm, "{error:?}");
                return;
            }
        };
        if answered.is_err() {
            return;
        }
    }
    panic!("2,000 streams, and it is still there");
}
