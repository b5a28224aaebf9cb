//! A proxy under test, upstreams that it can be pointed at, and what it recorded.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leno_engine::compile::access_log::AccessLog;
use leno_engine::compile::cluster::{
    BalancePolicy, CircuitBreakers, Cluster, Discovery, TransportSockets, UpstreamHttp2, UpstreamProtocol,
};
use leno_engine::compile::config_source::Source;
use leno_engine::compile::endpoint::{Assignment, Endpoint, Locality};
use leno_engine::compile::http::{
    Codec, ForwardClientCert, ForwardClientCertMode, Http2Options, HttpConnectionManager, HttpLimits,
    HttpTimeouts, RouteSource, ServerHeader,
};
use leno_engine::compile::listener::{
    Address, ChainMatch, Direction, FilterChain, Listener, ListenerFilters, TcpCluster, TcpProxy,
    TerminalFilter,
};
use leno_engine::compile::matcher::PathMatcher;
use leno_engine::compile::rate_limit::RouteLimits;
use leno_engine::compile::route::{
    Action, ClusterChoice, DomainIndex, Forward, HeaderOps, HostRewrite, Route, RouteMatch, RouteTable,
    VirtualHost,
};
use leno_engine::decide::places::Places;
use leno_engine::flags::Flags;
use leno_proxy::{Options, Proxy, Sink, Telemetry};
use leno_telemetry::record::{ConnectionRecord, DownstreamRecord, RequestRecord, UpstreamRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request's record, what of it outlives the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) status: Option<u16>,
    pub(crate) flags: Flags,
    pub(crate) details: String,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) attempts: u32,
    pub(crate) remote: SocketAddr,
    pub(crate) peer: Option<String>,
    pub(crate) upstream_peer: Option<String>,
}

/// Records of one proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(Arc<Mutex<(Vec<Seen>, Vec<Seen>)>>);

pub(crate) struct Harness {
    pub(crate) proxy: Proxy,
    pub(crate) records: Records,
}

// === impl Records ===

impl Records {
    /// Waits for the n-th request's record.
    pub(crate) async fn request(&self, n: usize) -> Seen {
        self.wait(|r| r.0.get(n).cloned()).await
    }

    pub(crate) async fn connection(&self, n: usize) -> Seen {
        self.wait(|r| r.1.get(n).cloned()).await
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.0.lock().unwrap().0.clone()
    }

    async fn wait<T>(&self, find: impl Fn(&(Vec<Seen>, Vec<Seen>)) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = find(&self.0.lock().unwrap()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found)
            .await
            .expect("no such record")
    }
}

impl Telemetry for Records {
    fn sink(&self) -> Box<dyn Sink + Send> {
        Box::new(self.clone())
    }

    fn settle(&self) {}
}

impl Sink for Records {
    fn takes_all(&self) -> bool {
        true
    }

    fn request(&mut self, record: &RequestRecord<'_>, _logs: &[Arc<AccessLog>]) {
        self.0.lock().unwrap().0.push(Seen {
            path: String::from_utf8_lossy(&record.request.path).into_owned(),
            status: record.response.map(|r| r.status),
            flags: record.flags,
            details: record.details.to_owned(),
            received: record.bytes_received,
            sent: record.bytes_sent,
            attempts: record.attempts,
            remote: record.downstream.remote,
            peer: record.downstream.peer_principal.as_deref().map(str::to_owned),
            upstream_peer: record
                .upstream
                .and_then(|u| u.peer_principal)
                .map(|p| p.to_string()),
        });
    }

    fn opened(&mut self, _downstream: &DownstreamRecord, _upstream: &UpstreamRecord<'_>) {}

    fn connection(&mut self, record: &ConnectionRecord<'_>, _opened: bool, _logs: &[Arc<AccessLog>]) {
        self.0.lock().unwrap().1.push(Seen {
            path: String::new(),
            status: None,
            flags: record.flags,
            details: record.details.to_owned(),
            received: record.bytes_received,
            sent: record.bytes_sent,
            attempts: 0,
            remote: record.downstream.remote,
            peer: record.downstream.peer_principal.as_deref().map(str::to_owned),
            upstream_peer: record
                .upstream
                .and_then(|u| u.peer_principal)
                .map(|p| p.to_string()),
        });
    }

    fn flush(&mut self) {}
}

// === impl Harness ===

impl Harness {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let records = Records::default();
        let options = Options {
            telemetry: Arc::new(records.clone()),
            ..options
        };
        Self {
            proxy: Proxy::start(options).unwrap(),
            records,
        }
    }

    /// A proxy with one HTTP listener whose every request goes to one cluster of these endpoints.
    pub(crate) fn http(endpoints: &[SocketAddr]) -> (Self, SocketAddr) {
        let harness = Self::start();
        let address = harness.serve(listener("http", http_chain(manager("routes"))), endpoints);
        (harness, address)
    }

    pub(crate) fn serve(&self, listener: Listener, endpoints: &[SocketAddr]) -> SocketAddr {
        let name = listener.name.clone();
        let mut updater = self.proxy.updater();
        updater.upsert_cluster(cluster("c", endpoints)).unwrap();
        updater.upsert_route(table("routes", "c", |_| {}));
        updater.upsert_listener(listener).unwrap();
        updater.publish();
        updater.addresses(&name)[0]
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut leno_proxy::Updater)) {
        let mut updater = self.proxy.updater();
        change(&mut updater);
        updater.publish();
    }
}

// === configuration ===

pub(crate) fn listener(name: &str, chain: FilterChain) -> Listener {
    Listener {
        told: None,
        name: name.to_owned(),
        stat_name: name.to_owned(),
        istio_stats: false,
        addresses: vec![Address::Socket(([127, 0, 0, 1], 0).into())],
        bind_to_port: true,
        internal: false,
        use_original_dst: false,
        socket: Default::default(),
        options: Vec::new(),
        direction: Direction::Outbound,
        filters: ListenerFilters::default(),
        chains: vec![Arc::new(chain)],
        default_chain: None,
        matcher: None,
        access_log: vec![],
        buffer_limit: None,
        strict: Default::default(),
        places: Places::new(u64::MAX),
        ignores_global_limit: false,
        bypasses_overload: false,
    }
}

pub(crate) fn chain(terminal: TerminalFilter) -> FilterChain {
    FilterChain {
        told: None,
        name: String::new(),
        matches: ChainMatch::default(),
        tls: None,
        network: Vec::new(),
        terminal,
        handshake_timeout: Duration::from_secs(5),
    }
}

pub(crate) fn http_chain(manager: HttpConnectionManager) -> FilterChain {
    chain(TerminalFilter::Http(Arc::new(manager)))
}

pub(crate) fn tcp_chain(cluster: &str) -> FilterChain {
    chain(TerminalFilter::Tcp(Arc::new(TcpProxy {
        log_options: Default::default(),
        stat_prefix: "tcp".to_owned(),
        by_server_name: false,
        forward: None,
        clusters: vec![TcpCluster {
            name: cluster.to_owned(),
            weight: 1,
            metadata: Default::default(),
        }],
        metadata: Default::default(),
        hash: None,
        backoff: None,
        after_data: None,
        tlvs: None,
        on_demand: None,
        idle_timeout: None,
        max_duration: None,
        max_duration_jitter: 0.0,
        max_connect_attempts: 1,
        tunnel: None,
        access_log: vec![],
        origin: None,
    })))
}

pub(crate) fn manager(routes: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        log_options: Default::default(),
        on_demand: false,
        stat_prefix: "http".to_owned(),
        codec: Codec::Auto,
        routes: RouteSource::Rds(routes.to_owned(), Source::ads()),
        filters: vec![],
        access_log: vec![],
        keeps_trailers: false,
        counts_wire: false,
        limits: HttpLimits {
            max_header_bytes: 60 * 1024,
            max_headers: 100,
            max_requests_per_connection: None,
        },
        timeouts: HttpTimeouts {
            idle: None,
            stream_idle: None,
            request: None,
            request_headers: None,
            drain: Duration::from_secs(1),
            max_connection_duration: None,
            jitter: Default::default(),
            ends_with_answer: false,
            max_stream_duration: None,
            delayed_close: Some(Duration::from_secs(1)),
            stream_flush: None,
        },
        server_header: ServerHeader::Overwrite("leno".to_owned()),
        client_cert: ForwardClientCert {
            mode: ForwardClientCertMode::Sanitize,
            subject: false,
            uri: true,
            dns: false,
            cert: false,
            chain: false,
            issuer: false,
            json: false,
        },
        client_cert_by_request: None,
        use_remote_address: false,
        xff_trusted_hops: 0,
        ip_detection: Vec::new(),
        scheme_of_upstream: false,
        introduces_itself: false,
        upgrade_filters: Vec::new(),
        proxy_status: None,
        told_ports: None,
        http1: Default::default(),
        upgrades: vec!["websocket".to_owned()],
        generate_request_id: true,
        request_ids: leno_engine::compile::tracing::RequestIds::default(),
        tracing: None,
        preserve_request_id: false,
        normalize_path: true,
        merge_slashes: false,
        strip_port: leno_engine::compile::http::StripPort::None,
        internal: Default::default(),
        ignored_upgrades: Vec::new(),
        early: vec![],
        underscores: leno_engine::compile::http::Underscores::Allowed,
        scheme: None,
        forwarded_port: false,
        keep_forwarded_for: false,
        answer_request_id: false,
        router: Default::default(),
        strip_trailing_dot: false,
        escaped_slashes: leno_engine::compile::http::EscapedSlashes::Kept,
        local_replies: None,
        via: None,
        any_method: false,
        chunked_length: false,
        tells_local_overload: false,
        http2: Http2Options {
            keepalive: None,
            allow_connect: false,
            max_concurrent_streams: 100,
            initial_stream_window: 65_535,
            initial_connection_window: 1024 * 1024,
        },
    }
}

pub(crate) fn table(name: &str, cluster: &str, edit: impl FnOnce(&mut Forward)) -> RouteTable {
    let mut forward = Forward {
        rate_limits: RouteLimits::default(),
        metadata: Default::default(),
        cluster: ClusterChoice::One(cluster.to_owned()),
        timeout: None,
        idle_timeout: None,
        flush_timeout: None,
        retry: None,
        hedge: false,
        prefix_rewrite: None,
        regex_rewrite: None,
        path_format: None,
        host_rewrite: HostRewrite::None,
        forwarded_host: false,
        hash: vec![],
        mirrors: vec![],
        upgrades: HashMap::new(),
        connect: None,
        kept: None,
        max_stream_duration: None,
        grpc_timeout_max: None,
        grpc_timeout_offset: Duration::ZERO,
        grpc_streams: None,
        cluster_not_found: 503,
        redirects: None,
        priority: Default::default(),
    };
    edit(&mut forward);
    let route = Route {
        told: None,
        stat_name: None,
        host: Default::default(),
        tracing: None,
        decorator: None,
        name: "all".to_owned(),
        matches: RouteMatch {
            path: PathMatcher::Prefix("/".to_owned()),
            case_sensitive: true,
            headers: vec![],
            query: vec![],
            grpc: false,
            runtime_fraction: None,
            cookies: vec![],
            ignore_parameters: false,
            facts: None,
        },
        action: Action::Forward(Box::new(forward)),
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
        filter_configs: HashMap::new(),
        rule: 0,
        origin: None,
        place: None,
    };
    RouteTable {
        vhds: None,
        on_demand: false,
        validates: false,
        name: name.to_owned(),
        hosts: vec![VirtualHost {
            facts: Default::default(),
            name: "any".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Arc::new(route)],
            tree: None,
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            filter_configs: HashMap::new(),
            include_attempt_count: true,
            include_is_timeout_retry: false,
            answer_attempt_count: false,
            require_tls: false,
            rate_limits: Arc::default(),
        }],
        domains: DomainIndex {
            any: Some(0),
            ..DomainIndex::default()
        },
        filter_configs: HashMap::new(),
        internal_headers: Vec::new(),
        host_header: None,
        ignore_port: false,
        most_specific_wins: false,
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
    }
}

pub(crate) fn cluster(name: &str, endpoints: &[SocketAddr]) -> Cluster {
    Cluster {
        http1: Default::default(),
        sni_header: None,
        mirrors: Vec::new(),
        retry: None,
        told: None,
        name: name.to_owned(),
        stat_name: name.to_owned(),
        discovery: Discovery::Static(Arc::new(assignment(endpoints))),
        waits_for_names: true,
        apart: false,
        max_connection_duration: None,
        max_stream_duration: None,
        balance: BalancePolicy::RoundRobin { slow_start: None },
        subsets: None,
        connect_timeout: Duration::from_secs(5),
        limits: CircuitBreakers::default(),
        health_check: None,
        ignores_unchecked: false,
        ignores_health_on_removal: false,
        closes_unwell: false,
        closes_on_change: false,
        outlier: None,
        errors: None,
        transport: TransportSockets::default(),
        protocol: UpstreamProtocol::Http1,
        panic_threshold: 50,
        locality_weighted: false,
        wished: leno_engine::compile::cluster::Statuses::default(),
        wishes: None,
        zone: Default::default(),
        original_dst: Default::default(),
        hash: Vec::new(),
        max_requests_per_connection: None,
        idle_timeout: None,
        service: None,
        external: false,
        keeps_alpn: false,
        bind: None,
        keepalive: Vec::new(),
        address_order: Default::default(),
        preconnect: None,
        counts_sizes: false,
        buffer_limit: None,
        http2: UpstreamHttp2 {
            keepalive: None,
            max_concurrent_streams: 100,
            initial_stream_window: 1024 * 1024,
            initial_connection_window: 4 * 1024 * 1024,
        },
    }
}

pub(crate) fn assignment(endpoints: &[SocketAddr]) -> Assignment {
    Assignment {
        priorities: vec![vec![Locality {
            name: Default::default(),
            weight: 1,
            endpoints: endpoints
                .iter()
                .map(|address| Arc::new(Endpoint::at(*address)))
                .collect(),
        }]],
        overprovisioning: 140,
        ..Assignment::default()
    }
}

// === the other sides ===

/// A TCP server that gives each connection, with its number, to `serve`.
pub(crate) async fn tcp_server<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            tokio::spawn(serve(stream, number));
        }
    });
    address
}

/// One HTTP/1.1 request as it was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Text {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn body(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Reads one message; None at the connection's end.
pub(crate) async fn read_message(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Text> {
    let mut text = Text::default();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    text.head = String::from_utf8(head).unwrap();
    if let Some(length) = text.header("content-length") {
        text.body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut text.body).await.ok()?;
    } else if text.header("transfer-encoding").is_some() {
        text.body = read_chunks(stream).await?;
    }
    Some(text)
}

async fn read_chunks(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.ok()?);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).await.ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// An HTTP/1.1 server: answers each request with what `answer` writes.
pub(crate) async fn http1_server(
    answer: impl Fn(&Text, usize) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> SocketAddr {
    tcp_server(move |mut stream, connection| {
        let answer = answer.clone();
        async move {
            while let Some(request) = read_message(&mut stream).await {
                if stream.write_all(&answer(&request, connection)).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub(crate) fn status(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// A client that writes what it is told.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Text {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
            .await;
        self.receive().await
    }

    pub(crate) async fn receive(&mut self) -> Text {
        let received = tokio::time::timeout(Duration::from_secs(10), read_message(&mut self.0));
        received
            .await
            .expect("no answer in time")
            .expect("connection closed without an answer")
    }

    /// Whether the proxy has ended the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(10), self.0.read(&mut byte));
        matches!(read.await, Ok(Ok(0) | Err(_)))
    }
}
