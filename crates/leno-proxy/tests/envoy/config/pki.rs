//! Certificates of one run. `{pem: NAME}` in a case stands for one of them as a data source.
//!
//! `ca.crt`; signed by it `server.crt` (`a.example`, `*.wild.example`), `other.crt` (`b.example`) and `client.crt`
//! (`spiffe://cluster.local/ns/x/sa/client` and the principal `knitter@x`), each with its `.key`; `expired.crt`, `revoked.crt`, which is in `ca.crl`,
//! and `deep.crt`, by way of an authority between. `stranger.crt` is signed by itself. `{sha256: NAME}` and `{spki: NAME}`
//! are a certificate's and its key's hash. `{ocsp: holds}` and `{ocsp: expired}` are OCSP responses for `server.crt`, `{ocsp:
//! other}` is one for nobody here; nobody has signed them.

use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, PublicKeyData, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is revoked.
const SERIAL: u64 = 4711;
/// Of `server.crt`, in one byte.
const SERVER: u8 = 100;

pub(crate) struct Pki {
    pem: BTreeMap<String, String>,
    /// SHA-256 of certificates in hexadecimal, of their keys in Base64.
    hashes: BTreeMap<String, (String, String)>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut all = BTreeMap::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("authority");
        let ca = params.self_signed(&key).unwrap();
        all.insert("ca.crt".into(), ca.pem());
        let issuer = Issuer::new(params, key);
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let principal = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "knitter@x".into()));
        let uri = SanType::URI("spiffe://cluster.local/ns/x/sa/client".try_into().unwrap());
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("between");
        let between = params.signed_by(&key, &issuer).unwrap().pem();
        let between_issuer = Issuer::new(params, key);
        let mut hashes = BTreeMap::new();
        for (name, sans) in [
            ("server", vec![dns("a.example"), dns("*.wild.example")]),
            ("other", vec![dns("b.example")]),
            ("client", vec![uri.clone(), principal]),
            ("expired", vec![uri.clone()]),
            ("revoked", vec![uri.clone()]),
            ("deep", vec![uri]),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = leaf(name, sans);
            match name {
                "expired" => params.not_after = date_time_ymd(2020, 1, 1),
                "server" => params.serial_number = Some(SerialNumber::from(u64::from(SERVER))),
                "revoked" => params.serial_number = Some(SerialNumber::from(SERIAL)),
                _ => {}
            }
            let (issuer, rest) = match name {
                "deep" => (&between_issuer, between.as_str()),
                _ => (&issuer, ""),
            };
            let certificate = params.signed_by(&key, issuer).unwrap();
            let spki = key.subject_public_key_info();
            hashes.insert(
                name.into(),
                (hexadecimal(&sha256(certificate.der())), base64(&sha256(&spki))),
            );
            all.insert(format!("{name}.crt"), certificate.pem() + rest);
            all.insert(format!("{name}.key"), key.serialize_pem());
        }
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4096, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(SERIAL),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        all.insert("ca.crl".into(), list.signed_by(&issuer).unwrap().pem().unwrap());
        let key = KeyPair::generate().unwrap();
        let stranger = leaf("stranger", vec![dns("stranger.example")])
            .self_signed(&key)
            .unwrap();
        all.insert("stranger.crt".into(), stranger.pem());
        all.insert("stranger.key".into(), key.serialize_pem());
        Self { pem: all, hashes }
    }

    /// Of a certificate, and of its key.
    pub(crate) fn hashes(&self, name: &str) -> &(String, String) {
        &self.hashes[name]
    }

    pub(crate) fn pem(&self, name: &str) -> &str {
        let known = self.pem.get(name);
        known.unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// `NAME.crt` and `NAME.key`.
    pub(crate) fn pair(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.pem(&format!("{name}.crt")).as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.pem(&format!("{name}.key")).as_bytes());
        (chain.map(Result::unwrap).collect(), key.unwrap())
    }
}

/// An OCSP response, in base64. Neither proxy looks at its signature: that is the client's business.
pub(crate) fn ocsp(name: &str) -> String {
    let (serial, until) = match name {
        "holds" => (SERVER, "40960101000000Z"),
        "expired" => (SERVER, "20200201000000Z"),
        "other" => (SERVER + 1, "40960101000000Z"),
        other => panic!("there is no {other}"),
    };
    let time = |text: &str| element(0x18, &[text.as_bytes()]);
    let hash = element(0x04, &[&[0; 20]]);
    let sha1 = element(0x30, &[&[0x06, 5, 0x2b, 0x0e, 3, 2, 0x1a], &[5, 0]]);
    let ecdsa = element(0x30, &[&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let id = element(0x30, &[&sha1, &hash, &hash, &[0x02, 1, serial]]);
    let since = time("20200101000000Z");
    let one = element(0x30, &[&id, &[0x80, 0], &since, &element(0xa0, &[&time(until)])]);
    let data = element(0x30, &[&element(0xa2, &[&hash]), &since, &element(0x30, &[&one])]);
    let basic = element(0x30, &[&data, &ecdsa, &[0x03, 2, 0, 0]]);
    let kind = [0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
    let bytes = element(0x30, &[&kind, &element(0x04, &[&basic])]);
    base64(&element(0x30, &[&[0x0a, 1, 0], &element(0xa0, &[&bytes])]))
}

/// Of DER.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let length = match content.len() {
        0..=127 => vec![length[7]],
        128..=255 => vec![0x81, length[7]],
        _ => vec![0x82, length[6], length[7]],
    };
    [&[tag][..], &length, &content].concat()
}

fn leaf(name: &str, sans: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = named(name);
    params.subject_alt_names = sans;
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    suite.common.hash_provider.hash(bytes).as_ref().to_vec()
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0, |group, at| {
            group << 8 | usize::from(*chunk.get(at).unwrap_or(&0))
        });
        for place in 0..4 {
            text.push(match place > chunk.len() {
                true => '=',
                false => ALPHABET[group >> (18 - 6 * place) & 63].into(),
            });
        }
    }
    text
}
