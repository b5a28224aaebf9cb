//! What a request allocates: counted in a process in which nothing else allocates, and only ever lowered.
#![allow(unsafe_code, clippy::unwrap_used)]

#[allow(dead_code, reason = "the other integration tests use the rest")]
#[path = "../it/support.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use leno_engine::compile::access_log::{AccessLog, Destination, Sink};
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::listener::{FilterChain, TerminalFilter};
use leno_engine::compile::route::{Forward, HostPredicate, RetryOn, RetryPolicy};
use leno_proxy::report::{IstioMetrics, MeshTelemetry};
use leno_proxy::{Options, Proxy};
use leno_telemetry::access_log::default_text;
use leno_telemetry::metrics::Metrics;
use leno_telemetry::record::LocalWorkload;
use rustix::process::{Resource, getrlimit};

/// An HTTP/1.1 request with an answer of 128 bytes, both heads parsed and written anew.
const CEILING: usize = 9;
/// Bytes of these, most of them the future that serves the request. jemalloc looks after its caches with every so many
/// bytes, and serves what is over 4,096 at once by its slow way.
const CEILING_BYTES: usize = 6400;
const REQUESTS: usize = 1000;

/// Bytes that a connection holds once its request is answered, and one of TCP once bytes have passed, as [`taken`] counts.
const IDLE_BYTES: usize = 1950;
const IDLE_TCP_BYTES: usize = 2350;
const IDLE: usize = 10_000;
/// Descriptors of everything else.
const OTHERS: u64 = 500;

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
/// Bytes that are taken and not given back.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// What jemalloc gives to who asks for so many bytes: four sizes to each doubling.
const fn taken(size: usize) -> usize {
    let step = match size {
        0..=128 => 16,
        _ => (size - 1).next_power_of_two() / 8,
    };
    size.next_multiple_of(step)
}

// SAFETY: hands every call on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        LIVE.fetch_add(taken(layout.size()), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(taken(layout.size()), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers every read with the same response; allocates nothing once it runs.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 128\r\n\r\n{}",
            "x".repeat(128)
        );
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer), Ok(1..)) {
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

/// Answers each connection once, and keeps it.
fn upstream_of_many() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::with_capacity(IDLE + 1);
        let mut buffer = [0; 4096];
        while let Ok((mut stream, _)) = listener.accept() {
            assert!(stream.read(&mut buffer).unwrap() > 0);
            stream.write_all(&[b'x'; 128]).unwrap();
            kept.push(stream);
        }
    });
    address
}

fn tcp_chain() -> FilterChain {
    let mut chain = support::tcp_chain("c");
    if let TerminalFilter::Tcp(tcp) = &mut chain.terminal {
        Arc::get_mut(tcp).unwrap().idle_timeout = Some(Duration::from_secs(3600));
    }
    chain
}

fn ask(stream: &mut TcpStream) {
    let request = b"GET /hello?x=1 HTTP/1.1\r\nhost: web:80\r\nuser-agent: test\r\naccept: */*\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut buffer = [0; 4096];
    let mut read = 0;
    while !buffer[..read].ends_with(&[b'x'; 128]) {
        let more = stream.read(&mut buffer[read..]).unwrap();
        assert!(more > 0, "the proxy closed the connection");
        read += more;
    }
}

/// Allocations, and their bytes.
fn allocated_by_a_request(
    edit_manager: impl FnOnce(&mut HttpConnectionManager),
    edit_route: impl FnOnce(&mut Forward),
) -> (usize, usize) {
    let metrics = Arc::new(Metrics::new(LocalWorkload::default()));
    let proxy = Proxy::start(Options {
        telemetry: Arc::new(MeshTelemetry::start(metrics, IstioMetrics::All).unwrap()),
        ..Options::default()
    })
    .unwrap();
    let mut manager = support::manager("routes");
    edit_manager(&mut manager);
    let address = {
        let mut updater = proxy.updater();
        updater
            .upsert_cluster(support::cluster("c", &[upstream()]))
            .unwrap();
        updater.upsert_route(support::table("routes", "c", edit_route));
        let listener = support::listener("http", support::http_chain(manager));
        updater.upsert_listener(listener).unwrap();
        updater.publish();
        updater.addresses("http")[0]
    };
    let mut stream = TcpStream::connect(address).unwrap();
    // Connections, pools, label sets and buffers are made with the first ones.
    (0..REQUESTS).for_each(|_| ask(&mut stream));
    let allocated = || (COUNT.load(Relaxed), BYTES.load(Relaxed));
    let before = allocated();
    (0..REQUESTS).for_each(|_| ask(&mut stream));
    let after = allocated();
    drop(stream);
    proxy.shutdown();
    // What is done once a second or once a batch of log lines is not a request's.
    ((after.0 - before.0) / REQUESTS, (after.1 - before.1) / REQUESTS)
}

/// What each of ten thousand connections holds that have had an answer and are kept.
fn bytes_of_idle_connections(chain: FilterChain, upstream: SocketAddr, most: usize) -> usize {
    let proxy = Proxy::start(Options::default()).unwrap();
    let address = {
        let mut updater = proxy.updater();
        updater
            .upsert_cluster({
                let mut cluster = support::cluster("c", &[upstream]);
                cluster.limits.default.max_connections = u32::MAX;
                cluster
            })
            .unwrap();
        updater.upsert_route(support::table("routes", "c", |_| {}));
        updater.upsert_listener(support::listener("idle", chain)).unwrap();
        updater.publish();
        updater.addresses("idle")[0]
    };
    // All ends of each are in this process, which may not have as many descriptors.
    let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let count = IDLE.min((descriptors.saturating_sub(OTHERS) / 4) as usize);
    let mut held = Vec::with_capacity(count);
    let open = || {
        let mut stream = TcpStream::connect(address).unwrap();
        ask(&mut stream);
        stream
    };
    // Buffers and pools are made with the first.
    let first = open();
    let before = LIVE.load(Relaxed);
    held.extend((0..count).map(|_| open()));
    // What a request has left is let go of with the next look at its connection.
    let end = Instant::now() + Duration::from_secs(20);
    let each = || LIVE.load(Relaxed).saturating_sub(before) / count;
    while each() > most && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let each = each();
    drop((first, held));
    proxy.shutdown();
    each
}

/// In one test: the count is the process's.
#[test]
fn a_request_allocates_no_more_than_it_did_and_an_idle_connection_holds_no_more() {
    let (plain, bytes) =
        allocated_by_a_request(|_| {}, |forward| forward.timeout = Some(Duration::from_secs(15)));
    assert!(plain <= CEILING, "plain: {plain}");
    assert!(bytes <= CEILING_BYTES, "plain: {bytes} bytes");
    let (mesh, _) = allocated_by_a_request(
        |manager| {
            manager.access_log.push(Arc::new(AccessLog {
                to: Destination::Lines {
                    sink: Sink::File("/dev/null".into()),
                    format: default_text().unwrap(),
                },
                filter: None,
            }));
        },
        |forward| {
            forward.retry = Some(Arc::new(RetryPolicy {
                on: RetryOn::default(),
                num_retries: 2,
                per_try_timeout: None,
                per_try_idle_timeout: None,
                status_codes: vec![503],
                retriable_headers: vec![],
                backoff_base: Duration::from_millis(25),
                backoff_max: Duration::from_millis(250),
                omit: vec![HostPredicate::Previous],
                host_selection_attempts: 5,
                ..RetryPolicy::default()
            }));
        },
    );
    assert!(mesh <= CEILING, "with retries and an access log: {mesh}");
    let http = support::http_chain(support::manager("routes"));
    let idle = bytes_of_idle_connections(http, upstream(), IDLE_BYTES);
    let tcp = bytes_of_idle_connections(tcp_chain(), upstream_of_many(), IDLE_TCP_BYTES);
    assert!(idle <= IDLE_BYTES, "an idle connection holds {idle} bytes");
    assert!(
        tcp <= IDLE_TCP_BYTES,
        "an idle connection of TCP holds {tcp} bytes"
    );
}
