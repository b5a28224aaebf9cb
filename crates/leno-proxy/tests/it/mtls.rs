//! A pair of proxies: mutual TLS, identities, and the client's version restored.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use leno_engine::compile::cluster::{Transport, TransportSockets, UpstreamProtocol};
use leno_engine::compile::http::{ForwardClientCert, ForwardClientCertMode};
use leno_engine::compile::listener::{Direction, FilterChain, Listener, TransportProtocol};
use leno_engine::compile::matcher::{Pattern, StringMatcher};
use leno_engine::compile::tls::{
    Certificate, CommonTls, DownstreamTls, Parameters, SanKind, SanMatcher, SecretSource, StaplePolicy,
    TrustSource, UpstreamTls, Validation,
};
use leno_proxy::Options;
use leno_tls::{
    Crypto, PendingIdentity, ROOT_CA, SYSTEM_ROOTS, Secrets, SpiffeId, TrustBundle, WORKLOAD_CERTIFICATE,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;

use crate::support::{
    Client, Harness, cluster, http_chain, http1_server, listener, manager, ok, read_message, tcp_chain,
    tcp_server,
};

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/server";

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A proxy's options with an identity of this mesh.
    fn options(&self, id: &str) -> Options {
        let crypto = Crypto::system();
        let pending = PendingIdentity::generate(id.parse::<SpiffeId>().unwrap()).unwrap();
        let csr = CertificateSigningRequestParams::from_pem(pending.csr_pem()).unwrap();
        let certificate = csr.signed_by(&self.0).unwrap().pem();
        let secrets = Secrets::new();
        secrets.set_identity(
            WORKLOAD_CERTIFICATE,
            pending.complete(&[certificate], &crypto).unwrap(),
        );
        let bundle = TrustBundle::from_pem(self.0.pem().as_bytes(), "root").unwrap();
        // In place of the machine's own.
        secrets.set_bundle(SYSTEM_ROOTS, bundle.clone());
        secrets.set_bundle(ROOT_CA, bundle);
        Options {
            secrets: Arc::new(secrets),
            crypto,
            ..Options::default()
        }
    }
}

fn common(alpn: &[&str], peer: Option<&str>) -> CommonTls {
    CommonTls {
        certificates: vec![SecretSource::Sds(WORKLOAD_CERTIFICATE.to_owned(), None)],
        validation: Some(Validation {
            sans: peer
                .map(|peer| SanMatcher {
                    kind: SanKind::Uri,
                    matcher: StringMatcher {
                        pattern: Pattern::Exact(peer.to_owned()),
                        ignore_case: false,
                    },
                })
                .into_iter()
                .collect(),
            ..Validation::of(TrustSource::Sds(ROOT_CA.to_owned(), None))
        }),
        alpn: alpn.iter().map(|name| (*name).to_owned()).collect(),
        parameters: Parameters::default(),
    }
}

fn inbound_chain(mut chain: FilterChain, alpn: &[&str]) -> FilterChain {
    chain.tls = Some(Arc::new(DownstreamTls {
        common: common(alpn, None),
        require_client_certificate: true,
        tickets: None,
        staples: StaplePolicy::Lenient,
        scans_all: false,
    }));
    chain
}

fn outbound(endpoint: SocketAddr, alpn: &[&str], expected: &str) -> leno_engine::compile::cluster::Cluster {
    let mut cluster = cluster("c", &[endpoint]);
    cluster.protocol = match alpn == UPGRADED {
        true => UpstreamProtocol::Http2,
        false => UpstreamProtocol::Downstream,
    };
    cluster.transport = TransportSockets {
        matches: vec![],
        matcher: None,
        default: Transport::Tls(Arc::new(UpstreamTls {
            common: common(alpn, Some(expected)),
            sni: Some("outbound_.80_._.server".to_owned()),
            auto_host_sni: false,
            auto_san_validation: false,
            sessions: 0,
        })),
    };
    cluster
}

/// What the control plane says where every endpoint restores versions.
const UPGRADED: &[&str] = &["istio-h2", "istio", "h2"];
/// What it says elsewhere.
const KEPT: &[&str] = &["istio-http/1.1", "istio"];
const HTTP_IN: &[&str] = &["h2", "http/1.1", "istio"];

/// Client's proxy → server's proxy → upstream.
struct Pair {
    near: Harness,
    far: Harness,
    address: SocketAddr,
}

fn pair(upstream: SocketAddr) -> Pair {
    let ca = Ca::new();
    let far = Harness::with(ca.options(SERVER));
    let mut manager_in = manager("routes");
    manager_in.client_cert = ForwardClientCert {
        mode: ForwardClientCertMode::AppendForward,
        subject: false,
        uri: true,
        dns: false,
        cert: true,
        chain: true,
        issuer: false,
        json: false,
    };
    let mut inbound = listener("in", inbound_chain(http_chain(manager_in), HTTP_IN));
    inbound.direction = Direction::Inbound;
    inbound.filters.tls_inspector = true;
    let middle = far.serve(inbound, &[upstream]);
    far.update(|updater| {
        let mut cluster = cluster("c", &[upstream]);
        cluster.protocol = UpstreamProtocol::Downstream;
        updater.upsert_cluster(cluster).unwrap();
    });
    let near = Harness::with(ca.options(CLIENT));
    let address = near.serve(listener("out", http_chain(manager("routes"))), &[middle]);
    near.update(|updater| {
        updater
            .upsert_cluster(outbound(middle, UPGRADED, SERVER))
            .unwrap()
    });
    Pair { near, far, address }
}

#[tokio::test]
async fn both_ends_know_each_other_and_the_version_is_restored() {
    let upstream = http1_server(|request, connection| {
        assert_eq!(request.header("x-leno-orig-proto"), None);
        let line = request.head.lines().next().unwrap();
        ok(&format!(
            "{connection} {line} {}",
            request.header("x-forwarded-client-cert").unwrap()
        ))
    })
    .await;
    let pair = pair(upstream);
    for _ in 0..3 {
        let answer = Client::connect(pair.address).await.get("/x").await;
        assert_eq!(answer.status(), 200, "{:?}", pair.near.records.requests());
        // HTTP/1.1 to the application, on one connection.
        assert!(
            answer.body().starts_with("0 GET /x HTTP/1.1 "),
            "{}",
            answer.body()
        );
        assert!(
            answer.body().contains(&format!("By={SERVER};")),
            "{}",
            answer.body()
        );
        assert!(
            answer.body().contains(&format!("URI={CLIENT}")),
            "{}",
            answer.body()
        );
        let certificate = "-----BEGIN%20CERTIFICATE-----%0AMII";
        for shown in [format!("Cert=\"{certificate}"), format!("Chain=\"{certificate}")] {
            assert!(answer.body().contains(&shown), "{}", answer.body());
        }
        assert_eq!(answer.header("x-leno-orig-proto"), None);
    }
    assert_eq!(
        pair.near.records.request(0).await.upstream_peer.as_deref(),
        Some(SERVER)
    );
    assert_eq!(pair.far.records.request(2).await.peer.as_deref(), Some(CLIENT));
    // One HTTP/2 connection carries what three clients asked.
    assert_eq!(pair.far.proxy.connections(), 1);
}

/// `h2UpgradePolicy: DO_NOT_UPGRADE`, or an Envoy at the far end.
#[tokio::test]
async fn the_version_is_kept_where_it_is_not_to_be_upgraded() {
    let upstream = http1_server(|_, connection| ok(&connection.to_string())).await;
    let pair = pair(upstream);
    let middle = pair.far.proxy.updater().addresses("in")[0];
    pair.near
        .update(|updater| updater.upsert_cluster(outbound(middle, KEPT, SERVER)).unwrap());
    let (mut one, mut two) = (
        Client::connect(pair.address).await,
        Client::connect(pair.address).await,
    );
    one.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    two.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(
        (one.receive().await.status(), two.receive().await.status()),
        (200, 200)
    );
    assert_eq!(pair.far.records.request(1).await.peer.as_deref(), Some(CLIENT));
}

#[tokio::test]
async fn a_websocket_goes_through_the_pair() {
    let upstream = tcp_server(|mut stream, _| async move {
        let request = read_message(&mut stream).await.unwrap();
        assert_eq!(request.header("upgrade"), Some("websocket"));
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        stream.write_all(&echo).await.unwrap();
    })
    .await;
    let pair = pair(upstream);
    let mut client = Client::connect(pair.address).await;
    client
        .send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.receive().await.status(), 101);
    client.send("ping").await;
    let mut echo = String::new();
    client.0.read_to_string(&mut echo).await.unwrap();
    assert_eq!(echo, "ping");
}

/// The header that restores a version is believed of mesh peers only.
#[tokio::test]
async fn a_client_cannot_forge_the_restored_version() {
    let upstream = http1_server(|request, _| {
        assert_eq!(request.header("x-leno-orig-proto"), None);
        ok("")
    })
    .await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nx-leno-orig-proto: HTTP/2\r\n\r\n")
        .await;
    assert_eq!(client.receive().await.status(), 200);
}

#[tokio::test]
async fn a_peer_of_another_identity_is_refused() {
    let upstream = http1_server(|_, _| ok("")).await;
    let pair = pair(upstream);
    let middle = pair.far.proxy.updater().addresses("in")[0];
    let other = "spiffe://cluster.local/ns/default/sa/other";
    pair.near
        .update(|updater| updater.upsert_cluster(outbound(middle, UPGRADED, other)).unwrap());
    assert_eq!(Client::connect(pair.address).await.get("/").await.status(), 503);
    let record = pair.near.records.request(0).await;
    assert!(
        record
            .flags
            .contains(leno_engine::flags::Flag::UpstreamConnectionFailure),
        "{record:?}"
    );
}

#[tokio::test]
async fn plaintext_to_a_strict_port_is_refused() {
    let ca = Ca::new();
    let far = Harness::with(ca.options(SERVER));
    let mut chain = inbound_chain(http_chain(manager("routes")), HTTP_IN);
    chain.matches.transport_protocol = Some(leno_engine::compile::listener::TransportProtocol::Tls);
    let mut inbound = listener("in", chain);
    inbound.filters.tls_inspector = true;
    let address = far.serve(inbound, &[]);
    far.update(|updater| {
        let mut strict = updater.config().listeners().next().unwrap().clone();
        strict.strict = BTreeMap::from([(address.port(), "PeerAuthentication/default/default".to_owned())]);
        updater.upsert_listener(strict).unwrap();
    });
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.is_closed().await);
    assert_eq!(far.records.connection(0).await.details, "strict_mtls");
}

/// A port in PERMISSIVE mode: what comes by TLS and what does not.
fn permissive(port: u16, plain: &FilterChain) -> Listener {
    let mut inbound = strict(port, plain);
    inbound.strict = BTreeMap::new();
    let mut plain = plain.clone();
    plain.matches.destination_port = Some(port);
    plain.matches.transport_protocol = Some(TransportProtocol::RawBuffer);
    inbound.chains.push(Arc::new(plain));
    inbound
}

fn strict(port: u16, plain: &FilterChain) -> Listener {
    let mut tls = inbound_chain(plain.clone(), &["http/1.1", "istio"]);
    tls.matches.destination_port = Some(port);
    tls.matches.transport_protocol = Some(TransportProtocol::Tls);
    let mut inbound = listener("in", tls);
    inbound.filters.tls_inspector = true;
    inbound.strict = BTreeMap::from([(port, "PeerAuthentication/default/default".to_owned())]);
    inbound
}

/// What a port does not take any more is closed on the connections that are open, whatever they carry.
struct Tightened {
    far: Harness,
    /// The client's proxy, which speaks mutual TLS with `far`.
    _near: Harness,
    plain: SocketAddr,
    mutual: SocketAddr,
    chain: FilterChain,
}

impl Tightened {
    fn new(chain: FilterChain, upstream: SocketAddr) -> Self {
        let ca = Ca::new();
        let far = Harness::with(ca.options(SERVER));
        let plain = far.serve(strict(0, &chain), &[upstream]);
        far.update(|updater| updater.upsert_listener(permissive(plain.port(), &chain)).unwrap());
        let near = Harness::with(ca.options(CLIENT));
        let mutual = near.serve(listener("out", chain.clone()), &[plain]);
        near.update(|updater| updater.upsert_cluster(outbound(plain, KEPT, SERVER)).unwrap());
        Self {
            far,
            _near: near,
            plain,
            mutual,
            chain,
        }
    }

    fn tighten(&self) {
        let strict = strict(self.plain.port(), &self.chain);
        self.far
            .update(|updater| updater.upsert_listener(strict).unwrap());
    }
}

#[tokio::test]
async fn strict_closes_open_plaintext_tcp_and_leaves_mutual_tls() {
    let upstream = tcp_server(|mut stream, _| async move {
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.ok();
    })
    .await;
    let port = Tightened::new(tcp_chain("c"), upstream);
    let (mut plain, mut mutual) = (
        Client::connect(port.plain).await,
        Client::connect(port.mutual).await,
    );
    for client in [&mut plain, &mut mutual] {
        client.send("ping").await;
        client.0.read_exact(&mut [0; 4]).await.unwrap();
    }
    port.tighten();
    assert!(plain.is_closed().await);
    let record = port.far.records.connection(0).await;
    assert_eq!(
        (record.details.as_str(), record.received, record.sent),
        ("strict_mtls", 4, 4)
    );
    mutual.send("ping").await;
    mutual.0.read_exact(&mut [0; 4]).await.unwrap();
}

async fn answer_all_but_slow(mut stream: TcpStream, slow: UnboundedSender<()>) {
    while let Some(request) = read_message(&mut stream).await {
        let answer = match request.header("upgrade") {
            Some(_) => b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_vec(),
            None if request.head.starts_with("GET /slow") => {
                slow.send(()).unwrap();
                continue;
            }
            None => ok(""),
        };
        stream.write_all(&answer).await.unwrap();
    }
}

#[tokio::test]
async fn strict_closes_open_plaintext_http_and_leaves_mutual_tls() {
    let (came, mut comes) = tokio::sync::mpsc::unbounded_channel();
    let upstream = tcp_server(move |stream, _| answer_all_but_slow(stream, came.clone())).await;
    let port = Tightened::new(http_chain(manager("routes")), upstream);
    let mut idle = Client::connect(port.plain).await;
    let mut busy = Client::connect(port.plain).await;
    let mut tunnel = Client::connect(port.plain).await;
    let mut mutual = Client::connect(port.mutual).await;
    for client in [&mut idle, &mut busy, &mut mutual] {
        assert_eq!(client.get("/").await.status(), 200);
    }
    tunnel
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(tunnel.receive().await.status(), 101);
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    comes.recv().await.unwrap();
    port.tighten();
    for mut client in [idle, busy, tunnel] {
        assert!(client.is_closed().await);
    }
    for n in [3, 4] {
        let record = port.far.records.request(n).await;
        assert_eq!(record.details, "strict_mtls", "{record:?}");
        assert!(record.flags.contains(leno_engine::flags::Flag::LocalReset));
    }
    assert_eq!(mutual.get("/").await.status(), 200);
}

#[tokio::test]
async fn tcp_goes_through_a_pair() {
    let upstream = tcp_server(|mut stream, _| async move {
        stream.write_all(b"hello ").await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let ca = Ca::new();
    let far = Harness::with(ca.options(SERVER));
    let middle = far.serve(
        listener("in", inbound_chain(tcp_chain("c"), &["istio"])),
        &[upstream],
    );
    let near = Harness::with(ca.options(CLIENT));
    let address = near.serve(listener("out", tcp_chain("c")), &[middle]);
    near.update(|updater| {
        updater
            .upsert_cluster(outbound(middle, &["istio"], SERVER))
            .unwrap()
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"world").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "hello world");
    assert_eq!(far.records.connection(0).await.peer.as_deref(), Some(CLIENT));
    assert_eq!(
        near.records.connection(0).await.upstream_peer.as_deref(),
        Some(SERVER)
    );
}

/// DestinationRule's `SIMPLE`: a server of the outside, by the machine's roots and its host name.
#[tokio::test]
async fn a_server_outside_of_the_mesh_is_known_by_the_machines_roots() {
    let (trusted, other) = (Ca::new(), Ca::new());
    for (ca, status) in [(&trusted, 200), (&other, 503)] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["api.example.com".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca.0).unwrap();
        let far = Harness::start();
        let upstream = http1_server(|_, _| ok("outside")).await;
        let mut tls = common(&[], None);
        tls.validation = None;
        tls.certificates = vec![SecretSource::Inline(Certificate {
            chain: certificate.pem().into_bytes(),
            private_key: key.serialize_pem().into_bytes(),
            password: None,
            ocsp_staple: None,
        })];
        let mut chain = http_chain(manager("routes"));
        chain.tls = Some(Arc::new(DownstreamTls {
            common: tls,
            require_client_certificate: false,
            tickets: None,
            staples: StaplePolicy::Lenient,
            scans_all: false,
        }));
        let server = far.serve(listener("server", chain), &[upstream]);

        let near = Harness::with(trusted.options(CLIENT));
        let address = near.serve(listener("out", http_chain(manager("routes"))), &[server]);
        near.update(|updater| {
            let mut cluster = cluster("c", &[server]);
            let mut tls = common(&[], None);
            tls.certificates = Vec::new();
            tls.validation = Some(Validation {
                sans: vec![SanMatcher {
                    kind: SanKind::Dns,
                    matcher: StringMatcher {
                        pattern: Pattern::Exact("api.example.com".to_owned()),
                        ignore_case: false,
                    },
                }],
                ..Validation::of(TrustSource::System)
            });
            cluster.transport.default = Transport::Tls(Arc::new(UpstreamTls {
                common: tls,
                sni: Some("api.example.com".to_owned()),
                auto_host_sni: false,
                auto_san_validation: false,
                sessions: 0,
            }));
            updater.upsert_cluster(cluster).unwrap();
        });
        let answer = Client::connect(address).await.get("/").await;
        assert_eq!(answer.status(), status, "{:?}", near.records.requests());
    }
}
