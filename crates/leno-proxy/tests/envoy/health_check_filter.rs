//! Somebody wants health checks to fail, at Envoy's admin port and at leno's: what both answer then.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;

use crate::envoy::{Envoy, Leno, answer, program};
use crate::message::{Kind, first};

const BOOTSTRAP: &str = r#"
node: {id: one, cluster: own}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
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
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 201}}]
          http_filters:
          - name: envoy.filters.http.health_check
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              pass_through_mode: MODE
              headers: [{name: ":path", string_match: {exact: /healthz}}]
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;

fn bootstrap(pass_through: bool) -> Bootstrap {
    let text = BOOTSTRAP.replace("MODE", if pass_through { "true" } else { "false" });
    Schema::load().from_text(&text).unwrap()
}

/// Status and the headers that this is about.
fn ask(listener: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(listener).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let (message, _) = first(&answer, Kind::Responses { head: false }, false).unwrap();
    let mut told = format!("{path} {}", message.first_line());
    for name in [
        "x-envoy-upstream-healthchecked-cluster",
        "x-envoy-immediate-health-check-fail",
    ] {
        if let Some(value) = message.header(name) {
            told += &format!(" | {name}: {value}");
        }
    }
    told
}

/// All answers, before, while checks are to fail, and afterwards.
fn answers(listener: SocketAddr, admin: &str) -> Vec<String> {
    let mut told = Vec::new();
    for change in [None, Some("/healthcheck/fail"), Some("/healthcheck/ok")] {
        if let Some(change) = change {
            told.push(answer(admin, "POST", change).unwrap().0);
        }
        told.extend(["/healthz", "/other"].map(|path| ask(listener, path)));
    }
    told
}

fn wanted(pass_through: bool) -> Vec<String> {
    let own = "x-envoy-upstream-healthchecked-cluster: own";
    let well = match pass_through {
        true => format!("/healthz HTTP/1.1 201 Created | {own}"),
        false => format!("/healthz HTTP/1.1 200 OK | {own}"),
    };
    let fails = "x-envoy-immediate-health-check-fail: true";
    let failed = format!("/healthz HTTP/1.1 503 Service Unavailable | {own} | {fails}");
    let other = "/other HTTP/1.1 201 Created";
    let done = "HTTP/1.1 200 OK";
    let elsewhere = format!("{other} | {fails}");
    let all = [&*well, other, done, &*failed, &*elsewhere, done, &*well, other];
    all.map(str::to_owned).into()
}

#[test]
fn envoy_fails_health_checks_when_it_is_told_to() {
    let Some(program) = program("envoy_fails_health_checks_when_it_is_told_to") else {
        return;
    };
    for pass_through in [false, true] {
        let envoy = Envoy::start(&program, &bootstrap(pass_through));
        assert_eq!(answers(envoy.listeners[0], &envoy.admin), wanted(pass_through));
    }
}

#[tokio::test]
async fn leno_fails_health_checks_when_it_is_told_to() {
    for pass_through in [false, true] {
        let leno = Leno::start(&bootstrap(pass_through));
        let (listener, admin) = (leno.listeners[0], leno.admin.clone());
        let asking = tokio::task::spawn_blocking(move || answers(listener, &admin));
        assert_eq!(asking.await.unwrap(), wanted(pass_through));
    }
}
