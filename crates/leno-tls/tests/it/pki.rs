//! A small certificate authority, a clock that is set by hand, and a handshake
//! without sockets.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use leno_tls::{
    ClientAuth, ClientTls, Crypto, HandshakeFailure, Identity, PeerCheck, PeerInfo, PendingIdentity, ROOT_CA,
    Resumption, Revocation, SanMatcher, Secrets, ServerCheck, ServerTls, TlsClient, TlsConfigs, TlsServer,
    TrustBundle, Versions, WORKLOAD_CERTIFICATE,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConnection, ServerConnection};

/// 2026-01-01T00:00:00Z, when these tests take place.
pub(crate) const NOW: u64 = 1_767_225_600;
pub(crate) const DAY: u64 = 86_400;

#[derive(Debug, Clone)]
pub(crate) struct Clock(pub(crate) Arc<AtomicU64>);

impl Clock {
    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            self.0.load(Ordering::Relaxed),
        )))
    }
}

pub(crate) struct TestCa(CertifiedIssuer<'static, KeyPair>);

impl TestCa {
    pub(crate) fn new(name: &str) -> TestCa {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        TestCa(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::from_pem(self.0.pem().as_bytes(), "test root").unwrap()
    }

    /// It has taken the certificates with these serial numbers (hexadecimal) back.
    pub(crate) fn revoking(&self, serials: &[&str]) -> TrustBundle {
        let at = |seconds: u64| (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into();
        let number = |hex: &str| {
            let bytes = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            SerialNumber::from(bytes.collect::<Vec<_>>())
        };
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: number(serial),
            revocation_time: at(NOW - 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: at(NOW - DAY),
            next_update: at(NOW + 30 * DAY),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(&self.0).unwrap().pem().unwrap();
        self.bundle().with(PeerCheck {
            revocation: Some(Revocation::from_pem(pem.as_bytes(), false).unwrap()),
            ..PeerCheck::any(ROOT_CA)
        })
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn leaf(
        &self,
        sans: Vec<SanType>,
        not_before: u64,
        not_after: u64,
        key: &impl rcgen::PublicKeyData,
    ) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = sans;
        params.not_before = (SystemTime::UNIX_EPOCH + Duration::from_secs(not_before)).into();
        params.not_after = (SystemTime::UNIX_EPOCH + Duration::from_secs(not_after)).into();
        params.signed_by(key, &self.0).unwrap().pem()
    }

    /// A workload's identity, by the way a workload gets it, valid for a day around [`NOW`].
    pub(crate) fn identity(&self, uri: &str, crypto: &Crypto) -> Identity {
        self.identity_between(uri, NOW - DAY / 2, NOW + DAY / 2, crypto)
    }

    pub(crate) fn identity_between(&self, uri: &str, from: u64, to: u64, crypto: &Crypto) -> Identity {
        let pending = PendingIdentity::generate(uri.parse().unwrap()).unwrap();
        pending
            .complete(&[self.answer(pending.csr_pem(), from, to)], crypto)
            .unwrap()
    }

    /// The chain for a signing request, with the root at its end.
    pub(crate) fn answer(&self, csr_pem: &str, from: u64, to: u64) -> String {
        let csr = rcgen::CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        self.leaf(csr.params.subject_alt_names.clone(), from, to, &csr.public_key) + &self.pem()
    }

    pub(crate) fn web_server(&self, host: &str, crypto: &Crypto) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names = vec![SanType::DnsName(host.try_into().unwrap())];
        let chain = self.leaf(names, NOW - DAY, NOW + DAY, &key);
        Identity::from_pem(
            chain.as_bytes(),
            "chain",
            key.serialize_pem().as_bytes(),
            "key",
            crypto,
        )
        .unwrap()
    }
}

pub(crate) fn spiffe(account: &str) -> String {
    format!("spiffe://cluster.local/ns/default/sa/{account}")
}

/// One end of a mesh connection with its own secrets.
pub(crate) struct End {
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) configs: TlsConfigs,
    pub(crate) clock: Clock,
    pub(crate) crypto: Crypto,
}

impl End {
    pub(crate) fn new() -> End {
        let clock = Clock(Arc::new(AtomicU64::new(NOW)));
        let crypto = Crypto::with_clock(Arc::new(clock.clone()));
        let secrets = Arc::new(Secrets::new());
        let configs = TlsConfigs::new(crypto.clone(), secrets.clone(), 8);
        End {
            secrets,
            configs,
            clock,
            crypto,
        }
    }

    pub(crate) fn in_mesh(ca: &TestCa, account: &str) -> End {
        let end = End::new();
        end.secrets
            .set_identity(WORKLOAD_CERTIFICATE, ca.identity(&spiffe(account), &end.crypto));
        end.secrets.set_bundle(ROOT_CA, ca.bundle());
        end
    }

    pub(crate) fn server(&mut self, tls: ServerTls) -> TlsServer {
        self.configs.server(&Arc::new(tls)).unwrap()
    }

    pub(crate) fn client(&mut self, tls: ClientTls) -> TlsClient {
        self.configs.client(&Arc::new(tls)).unwrap()
    }
}

pub(crate) fn mesh_server() -> ServerTls {
    ServerTls {
        identity: WORKLOAD_CERTIFICATE.into(),
        further: Vec::new(),
        client_auth: ClientAuth::Require(PeerCheck::any(ROOT_CA)),
        alpn: vec!["istio-h2".into(), "istio".into()],
        versions: Versions::default(),
        cipher_suites: vec![],
        groups: vec![],
        resumption: Resumption::Off,
        staples: Default::default(),
        scans_all: false,
    }
}

pub(crate) fn mesh_client(expected: &str) -> ClientTls {
    let check = PeerCheck {
        sans: vec![SanMatcher::spiffe(&spiffe(expected).parse().unwrap())],
        ..PeerCheck::any(ROOT_CA)
    };
    ClientTls {
        identity: Some(WORKLOAD_CERTIFICATE.into()),
        server: ServerCheck::Peer(check),
        sni: Some("outbound_.9080_._.reviews.default.svc.cluster.local".into()),
        alpn: vec!["istio-h2".into()],
        versions: Versions::default(),
        cipher_suites: vec![],
        groups: vec![],
        resumption: Resumption::Off,
    }
}

/// What each side says at the end.
pub(crate) struct Outcome {
    pub(crate) client: Result<PeerInfo, HandshakeFailure>,
    pub(crate) server: Result<PeerInfo, HandshakeFailure>,
    pub(crate) connections: (ClientConnection, ServerConnection),
}

impl Outcome {
    pub(crate) fn both(self) -> (PeerInfo, PeerInfo) {
        (self.client.unwrap(), self.server.unwrap())
    }
}

pub(crate) fn handshake(client: &TlsClient, server: &TlsServer, now: SystemTime) -> Outcome {
    let name = client.server_name(None, [127, 0, 0, 1].into());
    let mut c = ClientConnection::new(client.config().clone(), name).unwrap();
    let mut s = ServerConnection::new(server.config().clone()).unwrap();
    let (mut client_error, mut server_error) = (None, None);
    loop {
        let to_server = drain(|out| c.write_tls(out).unwrap());
        feed(&to_server, &mut server_error, |wire| {
            s.read_tls(wire).unwrap();
            s.process_new_packets().map(|_| ())
        });
        let to_client = drain(|out| s.write_tls(out).unwrap());
        feed(&to_client, &mut client_error, |wire| {
            c.read_tls(wire).unwrap();
            c.process_new_packets().map(|_| ())
        });
        if to_server.is_empty() && to_client.is_empty() {
            break;
        }
    }
    Outcome {
        client: client_error.map_or_else(|| client.peer(&c, now), Err),
        server: server_error.map_or_else(|| server.peer(&s, now), Err),
        connections: (c, s),
    }
}

fn drain(mut write: impl FnMut(&mut Vec<u8>) -> usize) -> Vec<u8> {
    let mut out = Vec::new();
    while write(&mut out) > 0 {}
    out
}

/// Keeps the first error: what follows it is its echo.
fn feed(
    bytes: &[u8],
    error: &mut Option<HandshakeFailure>,
    mut read: impl FnMut(&mut Cursor<&[u8]>) -> Result<(), rustls::Error>,
) {
    let mut wire = Cursor::new(bytes);
    while (wire.position() as usize) < bytes.len() && error.is_none() {
        if let Err(failure) = read(&mut wire) {
            *error = Some(HandshakeFailure::from_rustls(&failure));
        }
    }
}
