//! Certificates of one run. `{pem: NAME}` in a case stands for one of them as a data source.
//!
//! `ca.crt`; signed by it `server.crt` (`a.example`, `*.wild.example`), `other.crt` (`b.example`) and `client.crt`
//! (`spiffe://cluster.local/ns/x/sa/client`), each with its `.key`. `stranger.crt` is signed by itself.

use std::collections::BTreeMap;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) struct Pki(BTreeMap<String, String>);

impl Pki {
    pub(crate) fn new() -> Self {
        let mut all = BTreeMap::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        all.insert("ca.crt".into(), ca.pem());
        let issuer = Issuer::new(params, key);
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let uri = SanType::URI("spiffe://cluster.local/ns/x/sa/client".try_into().unwrap());
        for (name, sans) in [
            ("server", vec![dns("a.example"), dns("*.wild.example")]),
            ("other", vec![dns("b.example")]),
            ("client", vec![uri]),
        ] {
            let key = KeyPair::generate().unwrap();
            let certificate = leaf(name, sans).signed_by(&key, &issuer).unwrap();
            all.insert(format!("{name}.crt"), certificate.pem());
            all.insert(format!("{name}.key"), key.serialize_pem());
        }
        let key = KeyPair::generate().unwrap();
        let stranger = leaf("stranger", vec![dns("stranger.example")])
            .self_signed(&key)
            .unwrap();
        all.insert("stranger.crt".into(), stranger.pem());
        all.insert("stranger.key".into(), key.serialize_pem());
        Self(all)
    }

    pub(crate) fn pem(&self, name: &str) -> &str {
        let known = self.0.get(name);
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
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = sans;
    params
}
