//! Endpoints that are asked for their load, each on a stream of its own (ORCA, out of band): what Envoy and leno ask, and
//! whom they send requests to by what they are told.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use leno_engine::decide::orca::LoadReport;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use leno_testkit::{Background, eventually};
use prost::Message;

use crate::envoy::{Envoy, Leno, ask, program};

const BOOTSTRAP: &str = r#"
node: {id: one, cluster: own}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  clusters:
  - name: told
    typed_extension_protocol_options: HTTP2
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: lb
          typed_config:
            "@type": TYPE
            enable_oob_load_report: true
            oob_reporting_period: 0.25s
            blackout_period: 0s
            weight_update_period: 0.1s
    load_assignment:
      cluster_name: told
      endpoints:
      - lb_endpoints:
        - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: STRONG}}, hostname: strong.test}}
        - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: WEAK}}}}
  - name: elsewhere
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: lb
          typed_config:
            "@type": TYPE
            enable_oob_load_report: true
            oob_reporting_period: 0.5s
            oob_reporting_config: {port_value: STRONG, authority: orca.test}
    load_assignment:
      cluster_name: elsewhere
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}, hostname: a.test}}]}]
  - name: unserved
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: lb
          typed_config: {"@type": TYPE, enable_oob_load_report: true, oob_reporting_period: 0.1s}
    load_assignment:
      cluster_name: unserved
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: DUMB}}}}]}]
  listeners:
  - name: "0"
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: told}}]}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;

const TYPE: &str = "type.googleapis.com/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin";
const HTTP2: &str = r#"{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}"#;

/// Who is asked what, and what is counted of it.
const WANT: &str = "\
dumb: POST http 127.0.0.1:DUMB, content-type: application/grpc, te: trailers, every 100 ms
strong: POST http orca.test, content-type: application/grpc, te: trailers, every 500 ms
strong: POST http strong.test, content-type: application/grpc, te: trailers, every 250 ms
weak: POST http 127.0.0.1:WEAK, content-type: application/grpc, te: trailers, every 250 ms
cluster.elsewhere.lb_orca_oob.active_sessions: 1
cluster.told.lb_orca_oob.active_sessions: 2
cluster.told.lb_orca_oob.stream_failures: 0
cluster.unserved.lb_orca_oob.active_sessions: 0
cluster.unserved.lb_orca_oob.reports_received: 0
cluster.unserved.lb_orca_oob.stream_terminated: 1
";

type Asked = Arc<Mutex<BTreeSet<String>>>;

/// `xds.service.orca.v3.OrcaLoadReportRequest`
#[derive(Clone, PartialEq, Message)]
struct Wanted {
    #[prost(message, optional, tag = "1")]
    report_interval: Option<leno_proto::google::protobuf::Duration>,
}

struct Servers {
    _background: Background,
    asked: Asked,
    strong: SocketAddr,
    weak: SocketAddr,
    dumb: SocketAddr,
}

impl Servers {
    fn start() -> Self {
        let (background, asked) = (Background::start(), Asked::default());
        let start = |name: &'static str| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            let asked = Arc::clone(&asked);
            background.handle.spawn(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(connection(name, stream, Arc::clone(&asked)));
                }
            });
            address
        };
        Self {
            strong: start("strong"),
            weak: start("weak"),
            dumb: start("dumb"),
            asked,
            _background: background,
        }
    }

    fn bootstrap(&self) -> Bootstrap {
        let text = BOOTSTRAP.replace("TYPE", TYPE).replace("HTTP2", HTTP2);
        let text = text.replace("STRONG", &self.strong.port().to_string());
        let text = text.replace("WEAK", &self.weak.port().to_string());
        let text = text.replace("DUMB", &self.dumb.port().to_string());
        Schema::load().from_text(&text).unwrap()
    }

    fn gets(&self, admin: &str, listener: SocketAddr) -> String {
        let stats = || ask(admin, "/stats?filter=lb_orca_oob");
        eventually("all are asked, and one has refused", || {
            let stats = stats()?;
            let told = WANT.lines().filter(|line| line.starts_with("cluster."));
            let missing: Vec<_> = told
                .filter(|line| !stats.lines().any(|known| known == *line))
                .collect();
            let reports = stats.lines().find_map(|line| {
                line.strip_prefix("cluster.told.lb_orca_oob.reports_received: ")?
                    .parse::<u64>()
                    .ok()
            });
            let done = missing.is_empty() && reports >= Some(6);
            done.then_some(()).ok_or(stats)
        });
        eventually("only the strong one is sent to", || {
            let names: BTreeSet<String> = (0..20).map(|_| get(listener)).collect();
            let only = names.len() == 1 && names.contains("strong");
            only.then_some(()).ok_or(names)
        });
        let asked = self.asked.lock().unwrap().clone();
        let stats = stats().unwrap();
        let wanted = |line: &&str| {
            WANT.lines()
                .any(|known| known.split(": ").next() == line.split(": ").next())
        };
        let mut text: String = asked.iter().map(|line| format!("{line}\n")).collect();
        text.extend(stats.lines().filter(wanted).map(|line| format!("{line}\n")));
        text.replace(&self.weak.port().to_string(), "WEAK")
            .replace(&self.dumb.port().to_string(), "DUMB")
    }
}

fn get(listener: SocketAddr) -> String {
    let mut stream = TcpStream::connect(listener).unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let names = ["strong", "weak"];
    let name = names.into_iter().find(|name| body.contains(name));
    name.unwrap_or(&answer).to_owned()
}

async fn connection(name: &'static str, stream: tokio::net::TcpStream, asked: Asked) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            // The proxy is gone: so is the stream.
            let _ = serve(name, request, respond, &asked).await;
        });
    }
}

async fn serve(
    name: &'static str,
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    asked: &Mutex<BTreeSet<String>>,
) -> Result<(), h2::Error> {
    if request.uri().path() != "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics" {
        let mut out = respond.send_response(http::Response::new(()), false)?;
        return out.send_data(Bytes::from_static(name.as_bytes()), true);
    }
    let (head, mut body) = request.into_parts();
    let mut message = BytesMut::new();
    while let Some(chunk) = body.data().await {
        message.extend_from_slice(&chunk?);
    }
    let wanted = Wanted::decode(&message[5..]).unwrap().report_interval.unwrap();
    let period = Duration::new(wanted.seconds.cast_unsigned(), wanted.nanos.cast_unsigned());
    let mut headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let line = format!(
        "{name}: {} {} {}, {}, every {} ms",
        head.method,
        head.uri.scheme_str().unwrap_or_default(),
        head.uri.authority().unwrap(),
        headers.join(", "),
        period.as_millis()
    );
    asked.lock().unwrap().insert(line);
    let grpc = http::Response::builder().header("content-type", "application/grpc");
    if name == "dumb" {
        let head = grpc.header("grpc-status", "12").body(()).unwrap();
        respond.send_response(head, true)?;
        return Ok(());
    }
    let mut out = respond.send_response(grpc.body(()).unwrap(), false)?;
    let report = LoadReport {
        cpu_utilization: 0.5,
        rps_fractional: if name == "strong" { 1e8 } else { 1.0 },
        ..LoadReport::default()
    };
    let report = report.encode_to_vec();
    loop {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(report.len()).unwrap());
        frame.extend_from_slice(&report);
        out.send_data(frame.freeze(), false)?;
        tokio::time::sleep(period).await;
    }
}

#[test]
fn envoy_asks_endpoints_for_their_load() {
    let Some(program) = program("envoy_asks_endpoints_for_their_load") else {
        return;
    };
    let servers = Servers::start();
    let envoy = Envoy::start(&program, &servers.bootstrap());
    assert_eq!(servers.gets(&envoy.admin, envoy.listeners[0]), WANT);
}

#[tokio::test]
async fn leno_asks_endpoints_for_their_load() {
    let servers = Servers::start();
    let leno = Leno::start(&servers.bootstrap());
    let (listener, admin) = (leno.listeners[0], leno.admin.clone());
    let asking = tokio::task::spawn_blocking(move || servers.gets(&admin, listener));
    assert_eq!(asking.await.unwrap(), WANT);
}
