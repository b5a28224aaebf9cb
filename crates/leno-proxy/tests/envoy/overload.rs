//! Too much to do, as files say it, at Envoy and at leno: what both do then.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use leno_testkit::eventually;

use crate::envoy::{Envoy, Leno, ask, program};
use crate::message::{Kind, first};

const ACTIONS: [&str; 9] = [
    "",
    "actions.stop_accepting_requests",
    "actions.disable_http_keepalive",
    "actions.stop_accepting_connections",
    "actions.reject_incoming_connections",
    "points.tcp_listener_accept",
    "points.http_connection_manager_decode_headers",
    "points.hcm_ondata_creating_codec",
    "points.http_downstream_filter_check",
];

/// What of the statistics this is about.
const STATS: [&str; 8] = [
    "downstream_rq_overload_close",
    "downstream_cx_overload_disable_keepalive",
    "rq_overload_local_reply",
    "downstream_cx_overload_reject",
    "downstream_global_cx_overflow",
    "downstream_cx_overflow",
    ".shed_load_count",
    ".active",
];

/// Each action has a monitor and a file of its own, by its number. The second listener is never overloaded.
fn bootstrap(directory: &Path, more: &str) -> Bootstrap {
    let monitor = |i: usize| {
        let file = directory.join(i.to_string());
        std::fs::write(&file, "0").unwrap();
        format!(
            r#"{{name: m{i}, typed_config: {{"@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: {}}}}}"#,
            file.display()
        )
    };
    let numbered = || ACTIONS.iter().enumerate();
    let list = |kind: &str| {
        let of_kind = numbered().filter(|(_, name)| name.starts_with(kind));
        let each = of_kind.map(|(i, name)| {
            let kind = if kind == "actions" { "overload_actions" } else { "load_shed_points" };
            let (_, name) = name.split_once('.').unwrap();
            format!("{{name: envoy.{kind}.{name}, triggers: [{{name: m{i}, scaled: {{scaling_threshold: 0.5, saturation_threshold: 0.9}}}}]}}")
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let listener = |i: usize, of_it: &str| {
        format!(
            r#"
  - name: "{i}"
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    stat_prefix: l{i}
    {of_it}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: h{i}
          append_local_overload: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: up}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"#
        )
    };
    let monitors: Vec<String> = numbered().map(|(i, _)| monitor(i)).collect();
    let text = format!(
        r#"
node: {{id: one, cluster: own}}
admin: {{ignore_global_conn_limit: true, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  clusters:
  - name: up
    load_assignment:
      cluster_name: up
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]
  listeners:{}{}
overload_manager:
  refresh_interval: 0.01s
  resource_monitors: [{}]
  actions: [{}]
  loadshed_points: [{}]
"#,
        backend().port(),
        listener(0, more),
        listener(
            1,
            "bypass_overload_manager: true\n    ignore_global_conn_limit: true"
        ),
        monitors.join(", "),
        list("actions"),
        list("points")
    );
    Schema::load().from_text(&text).unwrap()
}

/// Answers everything.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let (mut got, mut block) = (Vec::new(), [0; 4096]);
                while let Ok(read @ 1..) = stream.read(&mut block) {
                    got.extend_from_slice(&block[..read]);
                    if got.ends_with(b"\r\n\r\n") {
                        if got.starts_with(b"GET /never") {
                            continue;
                        }
                        got.clear();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nup";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// Somebody says how great the pressure is, and the proxy has seen it.
fn press(directory: &Path, admin: &str, monitor: usize, pressure: &str, percent: u64) {
    let fresh = directory.join("fresh");
    std::fs::write(&fresh, pressure).unwrap();
    std::fs::rename(&fresh, directory.join(monitor.to_string())).unwrap();
    let want = format!("overload.m{monitor}.pressure: {percent}");
    eventually("the pressure is measured", || {
        let told = ask(admin, "/stats?filter=pressure")?;
        let seen = told.lines().any(|line| line == want);
        seen.then_some(()).ok_or(told)
    });
}

/// Two requests on a connection: the first lines, and whether it ends. Envoy may take a second to end it.
fn exchange(listener: SocketAddr) -> String {
    let mut stream = TcpStream::connect(listener).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(1500)))
        .unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    // What has been closed already may or may not take it.
    let _ = stream.write_all(request);
    let mut told = String::new();
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    for again in [true, false] {
        let message = loop {
            if let Some((message, rest)) = first(&answer, Kind::Responses { head: false }, false)
                && message.complete
            {
                answer = rest.to_vec();
                break message;
            }
            match stream.read(&mut block) {
                Ok(0) => return told + "closed",
                Ok(read) => answer.extend_from_slice(&block[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return told + "nothing comes";
                }
                Err(_) => return told + "closed",
            }
        };
        let body = String::from_utf8_lossy(&message.body.bytes).into_owned();
        told += &format!("{} {body:?}", message.first_line());
        if let Some(own) = message.header("x-envoy-local-overloaded") {
            told += &format!(" x-envoy-local-overloaded: {own}");
        }
        if message.header("connection") == Some("close") {
            return told + " and the end";
        }
        told += "; ";
        if again {
            let _ = stream.write_all(request);
        }
    }
    told
}

fn stats(admin: &str) -> String {
    let told = ask(admin, "/stats").unwrap();
    let lines = told.lines().filter(|line| {
        let name = line.split(": ").next().unwrap_or_default();
        !line.ends_with(": 0") && !name.contains("admin") && STATS.iter().any(|stat| name.ends_with(stat))
    });
    lines.map(|line| format!("  {line}\n")).collect()
}

fn all(directory: &Path, listeners: &[SocketAddr], admin: &str) -> String {
    let mut told = String::new();
    for (i, action) in ACTIONS.iter().enumerate() {
        press(directory, admin, i, "0.95", 95);
        told += &format!("{action}\n");
        for listener in listeners {
            told += &format!("  {}\n", exchange(*listener));
        }
        told += &stats(admin);
        press(directory, admin, i, "0.3", 30);
    }
    told
}

/// Timers are shorter.
const TIMEOUTS: &str = r#"
overload_manager:
  refresh_interval: 0.01s
  resource_monitors:
  - name: m0
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: FILE}
  actions:
  - name: envoy.overload_actions.reduce_timeouts
    triggers: [{name: m0, scaled: {scaling_threshold: 0.5, saturation_threshold: 0.9}}]
    typed_config:
      "@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig
      timer_scale_factors:
      - {timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.2s}
      - {timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 0.5s}
"#;

fn hurried(directory: &Path) -> Bootstrap {
    let manager = TIMEOUTS.replace("FILE", &directory.join("0").display().to_string());
    let manager: Bootstrap = Schema::load().from_text(&manager).unwrap();
    Bootstrap {
        overload_manager: manager.overload_manager,
        ..bootstrap(directory, "")
    }
}

/// A connection with nothing on it, and one with a request that nobody answers: both were to last for minutes.
fn timeouts(directory: &Path, listener: SocketAddr, admin: &str) -> String {
    let connect = |first: &str| {
        let mut stream = TcpStream::connect(listener).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        stream
    };
    let mut idle = connect("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut waiting = connect("GET /never HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    press(directory, admin, 0, "1", 100);
    let mut told = String::new();
    for (name, stream) in [("idle", &mut idle), ("waiting", &mut waiting)] {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        told += &format!("  {name}: {} {body:?}\n", head.lines().next().unwrap());
    }
    told
}

/// Connections are limited by the runtime, of all listeners and of one, and by the overload manager.
const LIMITS: &str = r#"
layered_runtime: {layers: [{name: a, static_layer: {LAYER}}]}
"#;

/// Three connections to the first listener and one to the second, all of them at a time, and what is counted.
fn limited(listeners: &[SocketAddr], admin: &str) -> String {
    let mut told = String::new();
    let mut open = Vec::new();
    for listener in [0, 0, 0, 1] {
        let mut stream = TcpStream::connect(listeners[listener]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut block = [0; 4096];
        let read = stream.read(&mut block).unwrap_or_default();
        let line = String::from_utf8_lossy(&block[..read]).into_owned();
        told += &format!("{listener} {}\n", line.lines().next().unwrap_or("closed"));
        open.push(stream);
    }
    told + &stats(admin)
}

fn limits(directory: &Path) -> Vec<(&'static str, Bootstrap)> {
    let by_runtime = |layer: &str| {
        let text = LIMITS.replace("LAYER", layer);
        let more: Bootstrap = Schema::load().from_text(&text).unwrap();
        Bootstrap {
            layered_runtime: more.layered_runtime,
            overload_manager: None,
            ..bootstrap(directory, "")
        }
    };
    let manager = r#"
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 1
"#;
    let manager: Bootstrap = Schema::load().from_text(manager).unwrap();
    vec![
        (
            "of all",
            by_runtime("overload.global_downstream_max_connections: 2"),
        ),
        (
            "of one",
            by_runtime("envoy.resource_limits.listener.0.connection_limit: 1"),
        ),
        (
            "of the overload manager",
            Bootstrap {
                overload_manager: manager.overload_manager,
                ..bootstrap(directory, "")
            },
        ),
    ]
}

/// What Envoy 1.40 does: `UPDATE=1` writes it.
const WANT: &str = include_str!("overload.txt");

#[test]
fn envoy_does_less_when_there_is_too_much_to_do() {
    let Some(program) = program("envoy_does_less_when_there_is_too_much_to_do") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let envoy = Envoy::start(&program, &bootstrap(directory.path(), ""));
    let mut told = all(directory.path(), &envoy.listeners, &envoy.admin);
    for (name, bootstrap) in limits(directory.path()) {
        let envoy = Envoy::start(&program, &bootstrap);
        told += &format!("limit {name}\n{}", limited(&envoy.listeners, &envoy.admin));
    }
    let envoy = Envoy::start(&program, &hurried(directory.path()));
    let hurried = timeouts(directory.path(), envoy.listeners[0], &envoy.admin);
    told += &format!("timeouts\n{hurried}");
    if std::env::var_os("UPDATE").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/envoy/overload.txt");
        return std::fs::write(file, told).unwrap();
    }
    assert_eq!(told, WANT);
}

#[tokio::test]
async fn leno_does_less_when_there_is_too_much_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let leno = Leno::start(&bootstrap(directory.path(), ""));
    let (listeners, admin) = (leno.listeners.clone(), leno.admin.clone());
    let path = directory.path().to_owned();
    let asking = tokio::task::spawn_blocking(move || all(&path, &listeners, &admin));
    let mut told = asking.await.unwrap();
    for (name, bootstrap) in limits(directory.path()) {
        let leno = Leno::start(&bootstrap);
        let (listeners, admin) = (leno.listeners.clone(), leno.admin.clone());
        let asking = tokio::task::spawn_blocking(move || limited(&listeners, &admin));
        told += &format!("limit {name}\n{}", asking.await.unwrap());
    }
    let leno = Leno::start(&hurried(directory.path()));
    let (listener, admin, path) = (leno.listeners[0], leno.admin.clone(), directory.path().to_owned());
    let asking = tokio::task::spawn_blocking(move || timeouts(&path, listener, &admin));
    told += &format!("timeouts\n{}", asking.await.unwrap());
    assert_eq!(told, WANT);
}
