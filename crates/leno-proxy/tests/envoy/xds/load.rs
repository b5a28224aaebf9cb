//! A load reporting service, and what a proxy tells it of requests that succeed, fail, are refused and are under way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::envoy::config::core::v3::{address, socket_address};
use leno_proto::envoy::config::endpoint::v3::{UpstreamEndpointStats, UpstreamLocalityStats};
use leno_proto::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use leno_proto::google::protobuf;
use leno_proto_text::Schema;
use leno_testkit::{Background, eventually, free_address};
use prost::Message;
use serde_json::json;

use super::proxy::Proxy;
use super::script::socket;

type Said = Arc<Mutex<Vec<LoadStatsRequest>>>;

/// What both say, added up.
pub(crate) fn reported(start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
    let (background, said) = (Background::start(), Said::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let service = listener.local_addr().unwrap();
    let log = Arc::clone(&said);
    background.handle.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, Arc::clone(&log)));
        }
    });
    let (port, backend) = (free_address(), Backend::start());
    let proxy = start(&bootstrap(port, service, backend.address));
    eventually("a first report", || {
        let said = said.lock().unwrap();
        (said.len() > 1).then_some(()).ok_or(said.len())
    });
    for path in ["/", "/", "/status/503", "/status/404", "/reset"] {
        ask(port, path);
    }
    let waiting = Backend::hold(port);
    eventually("one is under way", || {
        let sums = sums(&said.lock().unwrap());
        let held = sums.issued == 6 && sums.active == 1;
        held.then_some(()).ok_or(format!("{sums:?}"))
    });
    // There is room for one.
    ask(port, "/");
    eventually("one is refused", || {
        let sums = sums(&said.lock().unwrap());
        (sums.dropped == 1).then_some(()).ok_or(format!("{sums:?}"))
    });
    let under_way = told(&said.lock().unwrap());
    backend.release();
    drop(waiting);
    eventually("nothing is under way", || {
        let sums = sums(&said.lock().unwrap());
        (sums.active == 0).then_some(()).ok_or(format!("{sums:?}"))
    });
    drop(proxy);
    let text = format!(
        "# one under way\n{under_way}# none\n{}",
        told(&said.lock().unwrap())
    );
    text.replace(&backend.address.port().to_string(), "PORT")
}

#[derive(Debug, Default)]
struct Sums {
    issued: u64,
    active: u64,
    dropped: u64,
}

fn sums(said: &[LoadStatsRequest]) -> Sums {
    let mut sums = Sums::default();
    for stats in said.iter().flat_map(|request| &request.cluster_stats) {
        sums.dropped += stats.total_dropped_requests;
        sums.issued += stats
            .upstream_locality_stats
            .iter()
            .map(|l| l.total_issued_requests)
            .sum::<u64>();
    }
    let last = said.last().into_iter().flat_map(|request| &request.cluster_stats);
    let localities = last.flat_map(|stats| &stats.upstream_locality_stats);
    sums.active = localities.map(|l| l.total_requests_in_progress).sum();
    sums
}

/// Everything but times, and how often it was said.
fn told(said: &[LoadStatsRequest]) -> String {
    let mut text = String::new();
    let first = said.first().unwrap();
    let node = first.node.as_ref().unwrap();
    let _ = writeln!(
        text,
        "first: node {} {} {:?}, {} clusters",
        node.id,
        node.cluster,
        node.client_features
            .iter()
            .filter(|feature| feature.contains("lrs"))
            .collect::<Vec<_>>(),
        first.cluster_stats.len()
    );
    let mut clusters = BTreeMap::<_, (u64, u64, BTreeMap<String, [u64; 3]>)>::new();
    for stats in said.iter().flat_map(|request| &request.cluster_stats) {
        assert!(stats.load_report_interval.is_some());
        let sum = clusters
            .entry((&stats.cluster_name, &stats.cluster_service_name))
            .or_default();
        sum.0 += stats.total_dropped_requests;
        sum.1 += stats
            .dropped_requests
            .iter()
            .map(|dropped| dropped.dropped_count)
            .sum::<u64>();
        for locality in &stats.upstream_locality_stats {
            let UpstreamLocalityStats {
                total_successful_requests: ok,
                total_error_requests: bad,
                total_issued_requests: issued,
                ..
            } = locality;
            let place = locality.locality.as_ref().unwrap();
            let key = format!(
                "{}/{}/{} priority {}",
                place.region, place.zone, place.sub_zone, locality.priority
            );
            add(sum.2.entry(key.clone()).or_default(), [*ok, *bad, *issued]);
            for endpoint in &locality.upstream_endpoint_stats {
                let UpstreamEndpointStats {
                    total_successful_requests: ok,
                    total_error_requests: bad,
                    total_issued_requests: issued,
                    ..
                } = endpoint;
                let Some(address::Address::SocketAddress(at)) =
                    endpoint.address.as_ref().unwrap().address.clone()
                else {
                    panic!("{endpoint:?}");
                };
                let Some(socket_address::PortSpecifier::PortValue(port)) = at.port_specifier else {
                    panic!("{endpoint:?}");
                };
                add(
                    sum.2.entry(format!("{key} {}:{port}", at.address)).or_default(),
                    [*ok, *bad, *issued],
                );
            }
        }
    }
    for ((name, service), (dropped, categories, rows)) in clusters {
        let _ = writeln!(text, "{name} {service:?} dropped {dropped} {categories}");
        for (row, [ok, bad, issued]) in rows {
            let _ = writeln!(text, "  {row}: succeeded {ok} failed {bad} issued {issued}");
        }
    }
    text
}

fn add(sum: &mut [u64; 3], more: [u64; 3]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

fn bootstrap(port: SocketAddr, service: SocketAddr, backend: SocketAddr) -> Bootstrap {
    let endpoints = |name: &str, at: SocketAddr| {
        json!({"cluster_name": name, "endpoints": [{
            "locality": {"region": "north", "zone": "a", "sub_zone": "1"},
            "lb_endpoints": [{"endpoint": {"address": socket(at)}}],
        }]})
    };
    let http2 = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "l",
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "one"}}],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    let text = json!({
        "node": {"id": "edge", "cluster": "edges"},
        "cluster_manager": {"load_stats_config": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "reports"}}],
        }},
        "static_resources": {
            "clusters": [
                {"name": "reports", "load_assignment": endpoints("reports", service), "typed_extension_protocol_options": http2},
                {
                    "name": "one", "load_assignment": endpoints("one", backend),
                    "circuit_breakers": {"thresholds": [{"max_requests": 1}]},
                },
            ],
            "listeners": [{
                "name": "l", "address": socket(port),
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
            }],
        },
    });
    Schema::load().from_text(&text.to_string()).unwrap()
}

/// One request on a connection of its own, to its end.
fn ask(port: SocketAddr, path: &str) {
    let mut stream = send(port, path);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
}

fn send(port: SocketAddr, path: &str) -> TcpStream {
    let mut stream = eventually("the proxy listens", || TcpStream::connect(port));
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Answers with a status, cuts off, or holds its answer.
struct Backend {
    address: SocketAddr,
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new(Mutex::new(Vec::new()));
        let holding = Arc::clone(&held);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                        _ => break,
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default();
                let status = path.strip_prefix("/status/").unwrap_or("200");
                match path {
                    "/hold" => holding.lock().unwrap().push(stream),
                    "/reset" => {}
                    _ => answer(&mut stream, status),
                }
            }
        });
        Self { address, held }
    }

    fn hold(port: SocketAddr) -> TcpStream {
        send(port, "/hold")
    }

    fn release(&self) {
        for stream in self.held.lock().unwrap().iter_mut() {
            answer(stream, "200");
        }
    }
}

fn answer(stream: &mut TcpStream, status: &str) {
    // The proxy may be gone.
    let head = format!("HTTP/1.1 {status} said\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
}

async fn connection(stream: tokio::net::TcpStream, said: Said) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let said = Arc::clone(&said);
        tokio::spawn(async move {
            // The proxy is gone: so is the stream.
            let _ = reports(request, respond, &said).await;
        });
    }
}

/// Wants reports often, of the cluster and of one that is not there.
async fn reports(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    said: &Mutex<Vec<LoadStatsRequest>>,
) -> Result<(), h2::Error> {
    assert_eq!(
        request.uri().path(),
        "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
    );
    let head = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut out = respond.send_response(head, false)?;
    let (mut body, mut buffer) = (request.into_body(), BytesMut::new());
    let mut first = true;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        buffer.extend_from_slice(&chunk);
        while let Some(length) = buffer.get(1..).and_then(|rest| rest.first_chunk()) {
            let length = u32::from_be_bytes(*length) as usize;
            if buffer.len() < 5 + length {
                break;
            }
            buffer.advance(5);
            said.lock()
                .unwrap()
                .push(LoadStatsRequest::decode(buffer.split_to(length)).unwrap());
            if std::mem::take(&mut first) {
                let wanted = LoadStatsResponse {
                    clusters: vec!["one".into(), "none".into()],
                    load_reporting_interval: Some(protobuf::Duration {
                        seconds: 0,
                        nanos: 50_000_000,
                    }),
                    report_endpoint_granularity: true,
                    ..Default::default()
                }
                .encode_to_vec();
                let mut frame = BytesMut::new();
                frame.put_u8(0);
                frame.put_u32(u32::try_from(wanted.len()).unwrap());
                frame.extend_from_slice(&wanted);
                out.send_data(frame.freeze(), false)?;
            }
        }
    }
    Ok(())
}
