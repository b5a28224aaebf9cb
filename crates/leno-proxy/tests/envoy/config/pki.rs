//! Certificates of one run. `{pem: NAME}` in a case stands for one of them as a data source.
//!
//! `ca.crt`; signed by it `server.crt` (`a.example`, `*.wild.example`), `other.crt` (`b.example`) and `client.crt`
//! (`spiffe://cluster.local/ns/x/sa/client`), each with its `.key`; `expired.crt`, `revoked.crt`, which is in `ca.crl`,
//! and `deep.crt`, by way of an authority between. `stranger.crt` is signed by itself. `{sha256: NAME}` and `{spki: NAME}`
//! are a certificate's and its key's hash.

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
            ("client", vec![uri.clone()]),
            ("expired", vec![uri.clone()]),
            ("revoked", vec![uri.clone()]),
            ("deep", vec![uri]),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = leaf(name, sans);
            match name {
                "expired" => params.not_after = date_time_ymd(2020, 1, 1),
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
