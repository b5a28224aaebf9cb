//! HBONE between two proxies, each of them the real Envoy or leno: connections through streams of HTTP/2 over mutual TLS,
//! in the form in which istiod configures both ends (`connect_originate`, `connect_terminate`).

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use leno_engine::compile::NoFiles;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use leno_testkit::eventually;

use crate::config::pki::Pki;
use crate::envoy::{Envoy, Leno, program};

const MOST: usize = 8 << 20;

/// What is behind the tunnel.
struct Targets {
    echo: SocketAddr,
    /// Reads to the end, tells how much it was, and sends as much.
    mirror: SocketAddr,
    /// Speaks first.
    greeter: SocketAddr,
    /// An echo that a policy may not let anybody reach.
    denied: SocketAddr,
    /// Nobody is there.
    refused: SocketAddr,
    /// Kept so that nobody else gets it; it does not listen.
    _reserved: socket2::Socket,
}

impl Targets {
    fn start() -> Self {
        let reserved = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        reserved.bind(&any.into()).unwrap();
        Self {
            echo: serve(echo),
            denied: serve(echo),
            mirror: serve(|mut stream| {
                let mut all = Vec::new();
                if stream.read_to_end(&mut all).is_ok() {
                    let _ = stream.write_all(format!("{}\n", all.len()).as_bytes());
                    let _ = stream.write_all(&all);
                }
            }),
            greeter: serve(|mut stream| {
                let _ = stream.write_all(b"220 welcome\n");
                let _ = stream.read_to_end(&mut Vec::new());
            }),
            refused: reserved.local_addr().unwrap().as_socket().unwrap(),
            _reserved: reserved,
        }
    }
}

fn echo(mut stream: TcpStream) {
    let mut block = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut block) {
        if stream.write_all(&block[..read]).is_err() {
            return;
        }
    }
}

fn serve(each: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

fn pem(name: &str, pki: &Pki) -> String {
    format!("{{inline_string: {:?}}}", pki.pem(name))
}

/// The client's side, as `connect_originate` of a sidecar or a waypoint.
fn originator(targets: &Targets, terminator: SocketAddr, pki: &Pki) -> Bootstrap {
    let trusted = format!("validation_context: {{trusted_ca: {}}}", pem("ca.crt", pki));
    let certificate = format!(
        "tls_certificates: [{{certificate_chain: {}, private_key: {}}}], ",
        pem("client.crt", pki),
        pem("client.key", pki)
    );
    let mut clusters = String::new();
    for (name, certificate) in [("connect_originate", certificate.as_str()), ("bare", "")] {
        clusters += &format!(
            r#"
  - name: {name}
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    connect_timeout: 5s
    cleanup_interval: 60s
    original_dst_lb_config:
      upstream_port_override: {}
      metadata_key: {{key: envoy.filters.listener.original_dst, path: [{{key: waypoint}}]}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{allow_connect: true}}}}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {{alpn_protocols: [h2], {certificate}{trusted}}}
"#,
            terminator.port()
        );
    }
    let mut listeners = String::new();
    let each = [
        (targets.echo, "connect_originate"),
        (targets.mirror, "connect_originate"),
        (targets.greeter, "connect_originate"),
        (targets.refused, "connect_originate"),
        (targets.echo, "bare"),
        (targets.denied, "connect_originate"),
    ];
    for (i, (target, through)) in each.into_iter().enumerate() {
        clusters += &format!(
            r#"
  - name: to-{i}
    load_assignment:
      cluster_name: x
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{envoy_internal_address: {{server_listener_name: {through}, endpoint_id: "{target}"}}}}}}
          metadata: {{filter_metadata: {{envoy.filters.listener.original_dst: {{local: "{target}"}}}}}}
    transport_socket:
      name: internal_upstream
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
        passthrough_metadata: [{{kind: {{host: {{}}}}, name: envoy.filters.listener.original_dst}}]
        transport_socket: {{name: raw, typed_config: {{"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}
"#
        );
        listeners += &format!(
            r#"
  - name: "{i}"
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t{i}, cluster: to-{i}}}
"#
        );
    }
    for name in ["connect_originate", "bare"] {
        listeners += &format!(
            r#"
  - name: {name}
    use_original_dst: false
    internal_listener: {{}}
    listener_filters: [{{name: o, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}}}]
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: {name}
          cluster: {name}
          tunneling_config: {{hostname: "%DOWNSTREAM_LOCAL_ADDRESS%"}}
"#
        );
    }
    compose(&listeners, &clusters)
}

/// The listener of port 15008, by what its streams go to.
fn terminator(
    routes: &str,
    filters: &str,
    listeners: &str,
    clusters: &str,
    pki: &Pki,
    log: &Path,
) -> Bootstrap {
    let listener = format!(
        r#"
  - name: "0"
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    connection_balance_config: {{exact_balance: {{}}}}
    filter_chains:
    - name: default
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: [h2]
            tls_certificates: [{{certificate_chain: {}, private_key: {}}}]
            validation_context: {{trusted_ca: {}}}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: connect_terminate
          forward_client_cert_details: APPEND_FORWARD
          set_current_client_cert_details: {{subject: true, uri: true, dns: true}}
          use_remote_address: false
          stream_idle_timeout: 0s
          upgrade_configs: [{{upgrade_type: CONNECT}}]
          http2_protocol_options:
            allow_connect: true
            max_concurrent_streams: 100
            connection_keepalive: {{interval: 10s, timeout: 20s}}
          route_config:
            name: default
            virtual_hosts: [{{name: default, domains: ["*"], routes: [{routes}]}}]
          http_filters:
          {filters}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          access_log:
          - name: log
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {}
              log_format: {{text_format_source: {{inline_string: "%PROTOCOL% %REQ(:METHOD)% %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %DOWNSTREAM_PEER_URI_SAN%\n"}}}}
{listeners}"#,
        pem("server.crt", pki),
        pem("server.key", pki),
        pem("ca.crt", pki),
        log.display(),
    );
    compose(&listener, clusters)
}

fn compose(listeners: &str, clusters: &str) -> Bootstrap {
    let text = format!(
        r#"
node: {{id: one, cluster: own}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
bootstrap_extensions:
- {{name: internal, typed_config: {{"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}}}
static_resources:
  clusters:{clusters}
  listeners:{listeners}
"#
    );
    Schema::load().from_text(&text).unwrap()
}

/// Each target is a route of its own.
fn simple(targets: &Targets, pki: &Pki, log: &Path) -> Bootstrap {
    let (mut routes, mut clusters) = (String::new(), String::new());
    for target in [
        targets.echo,
        targets.mirror,
        targets.greeter,
        targets.denied,
        targets.refused,
    ] {
        routes += &format!(
            r#"{{match: {{connect_matcher: {{}}, headers: [{{name: ":authority", string_match: {{exact: "{target}"}}}}]}}, route: {{cluster: "{target}", upgrade_configs: [{{upgrade_type: CONNECT, connect_config: {{}}}}]}}}}, "#
        );
        clusters += &format!(
            r#"
  - name: "{target}"
    load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}
"#,
            target.port()
        );
    }
    terminator(&routes, "", "", &clusters, pki, log)
}

/// As istiod has it of a sidecar: streams go to `main_internal`, which learns from the filter state where they go and whose
/// they are.
fn istio(targets: &Targets, pki: &Pki, log: &Path) -> Bootstrap {
    let object = |key: &str, factory: &str, format: &str| {
        format!(
            "{{object_key: {key}, {factory}shared_with_upstream: ONCE, format_string: {{text_format_source: {{inline_string: \"{format}\"}}}}}}"
        )
    };
    let string = "factory_key: envoy.string, ";
    let objects = [
        object(
            "envoy.filters.listener.original_dst.local_ip",
            "",
            "%REQ(:AUTHORITY)%",
        ),
        object(
            "envoy.filters.listener.original_dst.remote_ip",
            "",
            "%DOWNSTREAM_REMOTE_ADDRESS%",
        ),
        object("io.istio.peer_principal", string, "%DOWNSTREAM_PEER_URI_SAN%"),
        object("io.istio.local_principal", string, "%DOWNSTREAM_LOCAL_URI_SAN%"),
    ];
    let filters = format!(
        r#"- name: connect_authority
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
              on_request_headers: [{}]"#,
        objects.join(", ")
    );
    let route = "{match: {connect_matcher: {}}, route: {cluster: main_internal, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}";
    // The mirror's port has a chain whose policy lets nobody in that is not the client.
    let chain = |i: usize, matches: &str, principal: &str| {
        format!(
            r#"
    - filter_chain_match: {{prefix_ranges: [{{address_prefix: 127.0.0.1, prefix_len: 32}}]{matches}}}
      filters:
      - name: rbac
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC
          stat_prefix: tcp.
          rules: {{action: ALLOW, policies: {{p: {{permissions: [{{any: true}}], principals: [{{filter_state: {{key: io.istio.peer_principal, string_match: {{exact: "{principal}"}}}}}}]}}}}}}
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: in{i}
          cluster: inbound
          access_log:
          - name: log
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {}
              log_format: {{text_format_source: {{inline_string: "to %DOWNSTREAM_LOCAL_ADDRESS% of %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %FILTER_STATE(io.istio.peer_principal:PLAIN)% %RESPONSE_FLAGS%\n"}}}}
"#,
            log.display()
        )
    };
    let client = "spiffe://cluster.local/ns/x/sa/client";
    let listeners = format!(
        r#"
  - name: main_internal
    traffic_direction: INBOUND
    continue_on_listener_filters_timeout: true
    internal_listener: {{}}
    listener_filters: [{{name: o, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}}}]
    filter_chains:{}{}"#,
        chain(0, "", client),
        chain(
            1,
            &format!(", destination_port: {}", targets.denied.port()),
            "spiffe://cluster.local/ns/x/sa/other"
        ),
    );
    let clusters = r#"
  - name: inbound
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
  - name: main_internal
    load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {envoy_internal_address: {server_listener_name: main_internal}}}}]}]}
    transport_socket:
      name: internal_upstream
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
        transport_socket: {name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}
"#;
    terminator(route, &filters, &listeners, clusters, pki, log)
}

/// What a client sees of each listener of the originator.
fn all(listeners: &[SocketAddr]) -> String {
    let connect = |i: usize| {
        let stream = TcpStream::connect(listeners[i]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let ended = |mut stream: TcpStream| {
        let mut rest = Vec::new();
        let how = match stream.read_to_end(&mut rest) {
            Ok(_) => "end",
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => "end",
            Err(_) => "nothing comes",
        };
        format!("{:?} {how}", String::from_utf8_lossy(&rest))
    };
    let mut told = String::new();
    let mut echo = connect(0);
    for word in ["one", "two"] {
        let mut back = vec![0; word.len()];
        echo.write_all(word.as_bytes()).unwrap();
        echo.read_exact(&mut back).unwrap();
        told += &format!("echo {}\n", String::from_utf8_lossy(&back));
    }
    echo.shutdown(Shutdown::Write).unwrap();
    told += &format!("echo {}\n", ended(echo));
    let mut mirror = connect(1);
    let sent: Vec<u8> = (0..MOST).map(|i| (i % 251) as u8).collect();
    mirror.write_all(&sent).unwrap();
    mirror.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    mirror.read_to_end(&mut back).unwrap();
    let line = back.iter().position(|b| *b == b'\n').unwrap();
    told += &format!(
        "mirror {} {}\n",
        String::from_utf8_lossy(&back[..line]),
        back[line + 1..] == sent
    );
    let mut greeter = connect(2);
    let mut greeting = [0; 12];
    greeter.read_exact(&mut greeting).unwrap();
    greeter.shutdown(Shutdown::Write).unwrap();
    told += &format!(
        "greeter {:?} {}\n",
        String::from_utf8_lossy(&greeting),
        ended(greeter)
    );
    for (i, name) in [(3, "refused"), (4, "without a certificate")] {
        let mut stream = connect(i);
        let _ = stream.write_all(b"hello");
        told += &format!("{name} {}\n", ended(stream));
    }
    told
}

/// An echo's words, or that there is none.
fn policed(listeners: &[SocketAddr]) -> String {
    let mut stream = TcpStream::connect(listeners[5]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = stream.write_all(b"hello");
    let mut back = [0; 5];
    match stream.read_exact(&mut back) {
        Ok(()) => String::from_utf8_lossy(&back).into_owned(),
        Err(_) => "nothing".into(),
    }
}

enum Proxy {
    Envoy(Envoy),
    Leno(Leno),
}

impl Proxy {
    fn start(program: Option<&str>, bootstrap: &Bootstrap) -> Self {
        match program {
            Some(program) => Self::Envoy(Envoy::start(program, bootstrap)),
            None => Self::Leno(Leno::start_with(bootstrap, &NoFiles).unwrap()),
        }
    }

    fn listeners(&self) -> Vec<SocketAddr> {
        match self {
            Self::Envoy(envoy) => envoy.listeners.clone(),
            Self::Leno(leno) => leno.listeners.clone(),
        }
    }
}

const SEEN: &str = "\
echo one
echo two
echo \"\" end
mirror 8388608 true
greeter \"220 welcome\\n\" \"\" end
refused \"\" end
without a certificate \"\" end
";

/// What the terminator logs of it, by target.
fn logged(targets: &Targets, log: &Path, lines: usize, whole: bool) -> String {
    // A tunnel to a listener of its own may be open before that knows that it comes to nothing, or not.
    let ended = [&targets.denied, &targets.refused].map(|target| format!("CONNECT {target} "));
    let told = |line: &str| whole || !ended.iter().any(|ended| line.contains(ended));
    let text = eventually("all streams are logged", || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let count = text.lines().filter(|line| told(line)).count();
        match count >= lines {
            true => Ok(text),
            false => Err(format!("{count} of {lines} lines: {text}")),
        }
    });
    let kept: Vec<&str> = text.lines().filter(|line| told(line)).collect();
    let mut named = kept.join("\n");
    for (name, target) in [
        ("ECHO", targets.echo),
        ("MIRROR", targets.mirror),
        ("GREETER", targets.greeter),
        ("DENIED", targets.denied),
        ("REFUSED", targets.refused),
    ] {
        named = named.replace(&target.to_string(), name);
    }
    let mut lines: Vec<&str> = named.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Every pair of the two proxies.
async fn pairs(
    test: &str,
    form: fn(&Targets, &Pki, &Path) -> Bootstrap,
    policed_want: &'static str,
    want: &str,
) {
    let Some(program) = program(test) else { return };
    let (envoy, leno) = (Some(program.as_str()), None);
    let lines = want.lines().count();
    for (name, from, to) in [
        ("envoy to envoy", envoy, envoy),
        ("envoy to leno", envoy, leno),
        ("leno to envoy", leno, envoy),
        ("leno to leno", leno, leno),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let (targets, pki) = (Targets::start(), Pki::new());
        let far = Proxy::start(to, &form(&targets, &pki, &log));
        let near = Proxy::start(from, &originator(&targets, far.listeners()[0], &pki));
        let listeners = near.listeners();
        let asking = tokio::task::spawn_blocking(move || {
            let seen = all(&listeners) + &policed(&listeners);
            (seen, logged(&targets, &log, lines, policed_want == "hello"))
        });
        let (seen, logged) = asking.await.unwrap();
        assert_eq!(seen, format!("{SEEN}{policed_want}"), "{name}");
        assert_eq!(logged, want, "{name}");
    }
}

#[tokio::test]
async fn tunnels_go_both_ways_between_envoy_and_leno() {
    let want = "\
HTTP/2 CONNECT DENIED 200 - spiffe://cluster.local/ns/x/sa/client
HTTP/2 CONNECT ECHO 200 - spiffe://cluster.local/ns/x/sa/client
HTTP/2 CONNECT GREETER 200 - spiffe://cluster.local/ns/x/sa/client
HTTP/2 CONNECT MIRROR 200 - spiffe://cluster.local/ns/x/sa/client
HTTP/2 CONNECT REFUSED 503 UF spiffe://cluster.local/ns/x/sa/client";
    pairs(
        "tunnels_go_both_ways_between_envoy_and_leno",
        simple,
        "hello",
        want,
    )
    .await;
}

#[tokio::test]
async fn a_tunnel_s_end_as_istiod_has_it_knows_where_it_goes_and_whose_it_is() {
    let want = "\
HTTP/2 CONNECT ECHO 200 - spiffe://cluster.local/ns/x/sa/client
HTTP/2 CONNECT GREETER 200 - spiffe://cluster.local/ns/x/sa/client
HTTP/2 CONNECT MIRROR 200 - spiffe://cluster.local/ns/x/sa/client
to DENIED of 127.0.0.1 spiffe://cluster.local/ns/x/sa/client -
to ECHO of 127.0.0.1 spiffe://cluster.local/ns/x/sa/client -
to GREETER of 127.0.0.1 spiffe://cluster.local/ns/x/sa/client -
to MIRROR of 127.0.0.1 spiffe://cluster.local/ns/x/sa/client -
to REFUSED of 127.0.0.1 spiffe://cluster.local/ns/x/sa/client UF,URX";
    let test = "a_tunnel_s_end_as_istiod_has_it_knows_where_it_goes_and_whose_it_is";
    pairs(test, istio, "nothing", want).await;
}
