//! What statsd gets, from Envoy and from leno, and what both tell of their times.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use leno_testkit::eventually;

use crate::envoy::{Envoy, Leno, ask, program};

/// Two statsd, one of which reads tags; what is excluded goes to none.
const BOOTSTRAP: &str = r#"
node: {id: one, cluster: own}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
stats_flush_interval: 0.1s
stats_config:
  use_all_default_tags: false
  stats_tags:
  - {tag_name: zone, fixed_value: east}
  - {tag_name: envoy.http_conn_manager_prefix}
  - {tag_name: version, regex: "\\.((v\\d+)\\.)"}
  stats_matcher: {exclusion_list: {patterns: [{suffix: downstream_rq_http1_total}]}}
  histogram_bucket_settings:
  - {match: {suffix: downstream_rq_time}, buckets: [60000, 120000]}
stats_sinks:
- name: plain
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink
    prefix: plain
    address: {socket_address: {address: 127.0.0.1, port_value: PLAIN, protocol: UDP}}
- name: dog
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink
    max_bytes_per_datagram: 1200
    address: {socket_address: {address: 127.0.0.1, port_value: DOG, protocol: UDP}}
static_resources:
  listeners:
  - name: "0"
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    stat_prefix: in
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: shop.v2
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 201}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;

/// Lines that both send, once something has been asked.
const WANT: [[&str; 3]; 2] = [
    [
        "plain.http.shop.v2.downstream_rq_2xx:2|c",
        "plain.http.shop.v2.downstream_cx_active:1|g",
        "plain.listener.in.downstream_cx_total:1|c",
    ],
    [
        "envoy.http.downstream_rq_2xx:2|c|#zone:east,version:v2,envoy.http_conn_manager_prefix:shop",
        "envoy.http.downstream_cx_active:1|g|#zone:east,version:v2,envoy.http_conn_manager_prefix:shop",
        "envoy.listener.in.downstream_cx_total:1|c|#zone:east",
    ],
];

struct Statsd([UdpSocket; 2]);

impl Statsd {
    fn start() -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        };
        Self([socket(), socket()])
    }

    fn bootstrap(&self) -> Bootstrap {
        let [plain, dog] = self
            .0
            .each_ref()
            .map(|socket| socket.local_addr().unwrap().port());
        let text = BOOTSTRAP.replace("PLAIN", &plain.to_string());
        let text = text.replace("DOG", &dog.to_string());
        Schema::load().from_text(&text).unwrap()
    }

    /// Reads until all that is wanted has come; a tag's place in its line does not count.
    fn gets(&self, admin: &str, listener: SocketAddr) -> String {
        let mut stream = TcpStream::connect(listener).unwrap();
        let two = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2);
        stream.write_all(two.as_bytes()).unwrap();
        let mut answers = String::new();
        while answers.matches("201 Created").count() < 2 {
            let mut block = [0; 4096];
            let read = stream.read(&mut block).unwrap();
            answers += &String::from_utf8_lossy(&block[..read]);
        }
        for (socket, want) in self.0.iter().zip(WANT) {
            let mut missing: Vec<String> = want.map(sorted).into();
            while !missing.is_empty() {
                let mut block = [0; 65536];
                let read = socket
                    .recv(&mut block)
                    .unwrap_or_else(|_| panic!("{missing:?} has not come"));
                for line in String::from_utf8_lossy(&block[..read]).lines() {
                    let line = sorted(line);
                    assert!(!line.contains("downstream_rq_http1_total"), "{line}");
                    missing.retain(|wanted| *wanted != line);
                }
            }
        }
        drop(stream);
        // Envoy tells of times what was there at the last flush.
        let prometheus = eventually("the times are told", || {
            let told = ask(
                admin,
                "/stats/prometheus?filter=^http.shop.*downstream_rq_(time$|http1|2xx)",
            )?;
            let count = told.lines().find(|line| line.contains("time_count"));
            let there = count.is_some_and(|line| line.ends_with(" 2"));
            there.then(|| told.clone()).ok_or(told)
        });
        let lines = prometheus.lines().filter(|line| !line.contains("_sum"));
        lines.map(|line| format!("{}\n", by_labels(line))).collect()
    }
}

fn sorted(line: &str) -> String {
    let Some((line, tags)) = line.split_once("|#") else {
        return line.to_owned();
    };
    let mut tags: Vec<&str> = tags.split(',').collect();
    tags.sort_unstable();
    format!("{line}|#{}", tags.join(","))
}

fn by_labels(line: &str) -> String {
    let Some((name, rest)) = line.split_once('{') else {
        return line.to_owned();
    };
    let (labels, value) = rest.split_once('}').unwrap();
    let mut labels: Vec<&str> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}{value}", labels.join(","))
}

const PROMETHEUS: &str = r#"# TYPE envoy_http_downstream_rq_2xx counter
envoy_http_downstream_rq_2xx{envoy_http_conn_manager_prefix="shop",version="v2",zone="east"} 2
# TYPE envoy_http_downstream_rq_time histogram
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="shop",le="60000",version="v2",zone="east"} 2
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="shop",le="120000",version="v2",zone="east"} 2
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="shop",le="+Inf",version="v2",zone="east"} 2
envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="shop",version="v2",zone="east"} 2
"#;

#[test]
fn envoy_sends_statistics_to_statsd() {
    let Some(program) = program("envoy_sends_statistics_to_statsd") else {
        return;
    };
    let statsd = Statsd::start();
    let envoy = Envoy::start(&program, &statsd.bootstrap());
    assert_eq!(statsd.gets(&envoy.admin, envoy.listeners[0]), PROMETHEUS);
}

#[tokio::test]
async fn leno_sends_statistics_to_statsd() {
    let statsd = Statsd::start();
    let leno = Leno::start(&statsd.bootstrap());
    let (listener, admin) = (leno.listeners[0], leno.admin.clone());
    let asking = tokio::task::spawn_blocking(move || statsd.gets(&admin, listener));
    assert_eq!(asking.await.unwrap(), PROMETHEUS);
}
