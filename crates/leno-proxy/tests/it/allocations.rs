//! What a request costs in allocations of the worker that serves it, with metrics on. The ceilings only go down.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use leno_engine::compile::access_log::AccessLog;
use leno_engine::compile::cluster::UpstreamProtocol;
use leno_proxy::report::{IstioMetrics, MeshTelemetry};
use leno_proxy::{Options, Proxy, Sink, Telemetry};
use leno_telemetry::metrics::Metrics;
use leno_telemetry::record::{
    ConnectionRecord, DownstreamRecord, LocalWorkload, RequestRecord, UpstreamRecord,
};
use tokio::net::TcpStream;

use crate::support::{Client, cluster, http_chain, http1_server, listener, manager, ok, table, tcp_server};

/// Allocations a request, of HTTP/1.1 and HTTP/2 on both sides, on connections that are there already.
const HTTP1: usize = 9;
const HTTP2: usize = 10;

/// Until buffers, tables and pools are as large as they will be.
const WARM_UP: usize = 100;
const REQUESTS: usize = 500;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator; the count is a constant-initialised thread local without
// destructor, so that touching it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Notes at each request's end how much the worker has allocated: a sink is called on its own worker.
struct Counts {
    telemetry: MeshTelemetry,
    requests: Arc<Requests>,
}

#[derive(Default)]
struct Requests {
    number: AtomicUsize,
    /// Allocations when the warm-up was over, and when all was.
    counts: Mutex<(usize, usize)>,
}

struct CountingSink {
    sink: Box<dyn Sink + Send>,
    requests: Arc<Requests>,
}

// === impl Counts ===

impl Telemetry for Counts {
    fn sink(&self) -> Box<dyn Sink + Send> {
        Box::new(CountingSink {
            sink: self.telemetry.sink(),
            requests: Arc::clone(&self.requests),
        })
    }

    fn settle(&self) {}
}

// === impl CountingSink ===

impl Sink for CountingSink {
    fn takes_all(&self) -> bool {
        true
    }

    fn request(&mut self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]) {
        self.sink.request(record, logs);
        let mut counts = self.requests.counts.lock().unwrap();
        match self.requests.number.fetch_add(1, Relaxed) + 1 {
            WARM_UP => counts.0 = COUNT.with(Cell::get),
            number if number == WARM_UP + REQUESTS => counts.1 = COUNT.with(Cell::get),
            _ => {}
        }
    }

    fn opened(&mut self, downstream: &DownstreamRecord, upstream: &UpstreamRecord<'_>) {
        self.sink.opened(downstream, upstream);
    }

    fn connection(&mut self, record: &ConnectionRecord<'_>, opened: bool, logs: &[Arc<AccessLog>]) {
        self.sink.connection(record, opened, logs);
    }

    fn flush(&mut self) {
        self.sink.flush();
    }
}

fn proxy(upstream: SocketAddr, protocol: UpstreamProtocol) -> (Proxy, SocketAddr, Arc<Requests>) {
    let requests = Arc::new(Requests::default());
    let metrics = Arc::new(Metrics::new(LocalWorkload::default()));
    let proxy = Proxy::start(Options {
        telemetry: Arc::new(Counts {
            telemetry: MeshTelemetry::start(metrics, IstioMetrics::All).unwrap(),
            requests: Arc::clone(&requests),
        }),
        ..Options::default()
    })
    .unwrap();
    let mut updater = proxy.updater();
    let mut cluster = cluster("c", &[upstream]);
    cluster.protocol = protocol;
    updater.upsert_cluster(cluster).unwrap();
    updater.upsert_route(table("routes", "c", |_| {}));
    updater
        .upsert_listener(listener("http", http_chain(manager("routes"))))
        .unwrap();
    updater.publish();
    let address = updater.addresses("http")[0];
    drop(updater);
    (proxy, address, requests)
}

/// Allocations a request, in hundredths.
fn per_request(requests: &Requests) -> usize {
    let (before, after) = *requests.counts.lock().unwrap();
    assert!(before > 0 && after >= before, "{before} {after}");
    (after - before) * 100 / REQUESTS
}

fn assert_ceiling(found: usize, ceiling: usize) {
    assert!(
        found <= ceiling * 100,
        "{found} hundredths of an allocation a request, {ceiling} whole ones are allowed"
    );
}

#[tokio::test]
async fn an_http1_request() {
    let upstream = http1_server(|_, _| ok("0123456789")).await;
    let (_proxy, address, requests) = proxy(upstream, UpstreamProtocol::Http1);
    let mut client = Client::connect(address).await;
    for _ in 0..=WARM_UP + REQUESTS {
        assert_eq!(client.get("/path?query").await.body(), "0123456789");
    }
    assert_ceiling(per_request(&requests), HTTP1);
}

#[tokio::test]
async fn an_http2_request() {
    let upstream = tcp_server(|stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"0123456789"), true).unwrap();
        }
    })
    .await;
    let (_proxy, address, requests) = proxy(upstream, UpstreamProtocol::Http2);
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    for _ in 0..=WARM_UP + REQUESTS {
        let request = Request::get("http://test/path?query").body(()).unwrap();
        let response = sender.send_request(request, true).unwrap().0.await.unwrap();
        let mut body = response.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "0123456789");
        body.flow_control().release_capacity(10).unwrap();
    }
    assert_ceiling(per_request(&requests), HTTP2);
}
