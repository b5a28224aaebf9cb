//! Files of events, by Envoy and by leno: who is well, who is ejected and who comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use leno_engine::compile::NoFiles;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::eventually;
use regex::Regex;

use crate::config::Backends;
use crate::envoy::{Envoy, Leno, program};

const BOOTSTRAP: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
cluster_manager: {outlier_detection: {event_log_path: DIRECTORY/ejections}}
static_resources:
  listeners:
  - name: "0"
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: a}}]}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: a
    outlier_detection:
      consecutive_5xx: 1
      base_ejection_time: 0.3s
      interval: 0.1s
      max_ejection_percent: 100
    health_checks:
    - timeout: 5s
      interval: 60s
      no_traffic_interval: 60s
      unhealthy_threshold: 2
      healthy_threshold: 2
      event_logger: [LOGGER]
      tcp_health_check: {}
    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: ADDRESS}}]}]}
  - name: failing
    health_checks:
    - timeout: 5s
      interval: 60s
      no_traffic_interval: 60s
      unhealthy_threshold: 2
      healthy_threshold: 2
      event_logger: [LOGGER]
      http_health_check: {path: /, request_headers_to_add: [{header: {key: x-answer, value: "500"}}]}
    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: ADDRESS}}]}]}
"#;

const LOGGER: &str = "{name: file, typed_config: {\"@type\": type.googleapis.com/\
    envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink, event_log_path: DIRECTORY/checks}}";

fn bootstrap(backends: &Backends, directory: &Path) -> Bootstrap {
    let address = backends.address("a");
    let socket = format!(
        "{{socket_address: {{address: {}, port_value: {}}}}}",
        address.ip(),
        address.port()
    );
    let text = BOOTSTRAP
        .replace("LOGGER", LOGGER)
        .replace("ADDRESS", &socket)
        .replace("DIRECTORY", &directory.to_string_lossy());
    backends.schema.from_text(&text).unwrap()
}

/// What is written of a start, and of one answer that is bad enough; in the order of the text.
fn written(listener: SocketAddr, directory: &Path) -> Vec<String> {
    let mut told = lines(&directory.join("checks"), 2);
    let mut stream = TcpStream::connect(listener).unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-answer: 503\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    told.extend(lines(&directory.join("ejections"), 2));
    told.sort();
    told
}

/// So many lines of a file, once they are there, without what differs from run to run.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let changing =
        Regex::new(r#""timestamp":"[^"]*"|"port_value":\d+|"secs_since_last_action":"\d+"|:\d{4,5}""#);
    let changing = changing.unwrap();
    let text = eventually("the events are written", || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        match text.lines().count() {
            lines if lines == count => Ok(text),
            lines => Err(format!("{lines} lines")),
        }
    });
    let lines = text.lines();
    lines
        .map(|line| changing.replace_all(line, "…").into_owned())
        .collect()
}

fn wanted() -> Vec<String> {
    let host = r#""host":{"socket_address":{"protocol":"TCP","address":"127.0.0.1",…,"resolver_name":"","ipv4_compat":false,"network_namespace_filepath":""}}"#;
    let nowhere = r#""locality":{"region":"","zone":"","sub_zone":""}"#;
    let mut lines = vec![
        format!(
            r#"{{"health_checker_type":"TCP",{host},"cluster_name":"a","add_healthy_event":{{"first_check":true}},…,{nowhere}}}"#
        ),
        format!(
            r#"{{"health_checker_type":"HTTP",{host},"cluster_name":"failing",…,"health_check_failure_event":{{"failure_type":"ACTIVE","first_check":true,"http_status_code":500}},{nowhere}}}"#
        ),
        r#"{"type":"CONSECUTIVE_5XX",…,"cluster_name":"a","upstream_url":"127.0.0.1…,"action":"EJECT","num_ejections":1,"enforced":true,"eject_consecutive_event":{}}"#.to_owned(),
        r#"{"type":"CONSECUTIVE_5XX",…,…,"cluster_name":"a","upstream_url":"127.0.0.1…,"action":"UNEJECT","num_ejections":1,"enforced":false}"#.to_owned(),
    ];
    lines.sort();
    lines
}

#[tokio::test]
async fn envoy_writes_events() {
    let Some(program) = program("envoy_writes_events") else {
        return;
    };
    let (backends, directory) = (Backends::start().await, tempfile::tempdir().unwrap());
    let bootstrap = bootstrap(&backends, directory.path());
    let running = tokio::task::spawn_blocking(move || {
        let envoy = Envoy::start(&program, &bootstrap);
        written(envoy.listeners[0], directory.path())
    });
    assert_eq!(running.await.unwrap(), wanted());
}

#[tokio::test]
async fn leno_writes_the_same_events() {
    let (backends, directory) = (Backends::start().await, tempfile::tempdir().unwrap());
    let leno = Leno::start_with(&bootstrap(&backends, directory.path()), &NoFiles).unwrap();
    let listener = leno.listeners[0];
    let running = tokio::task::spawn_blocking(move || written(listener, directory.path()));
    assert_eq!(running.await.unwrap(), wanted());
}
