//! OCSP responses (RFC 6960) that a server staples to its certificate (RFC 6066 §8), and when it must (RFC 7633).
//!
//! Nothing is verified but whose response it is and how long it holds: who believes it is the client.

use std::time::SystemTime;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::certificate::system_time;
use crate::der::{Der, ENUMERATED, INTEGER, OBJECT, OCTETS, SEQUENCE, explicit};

/// Whether a certificate is shown whose response is missing or has expired (Envoy: `OcspStaplePolicy`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StaplePolicy {
    /// Without it.
    #[default]
    Lenient,
    /// Without it where there never was one; not with one that has expired.
    Strict,
    /// Not at all.
    Must,
}

/// A response for one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staple {
    pub(crate) der: Vec<u8>,
    /// None: it holds no longer than it takes to read it, so it is never sent.
    pub(crate) until: Option<SystemTime>,
}

/// Why a response cannot be stapled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StapleError {
    #[error("it is no OCSP response in DER")]
    Encoding,
    #[error("the responder has not answered, but refused")]
    Unsuccessful,
    #[error("it is for more than one certificate")]
    Several,
    #[error("it is not for this certificate")]
    OtherCertificate,
    #[error("the certificate must be stapled, and there is no response")]
    Missing,
}

/// `id-pkix-ocsp-basic`, 1.3.6.1.5.5.7.48.1.1
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// The TLS feature extension, 1.3.6.1.5.5.7.1.24, with `status_request`.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
const STATUS_REQUEST: &[u8] = &[5];

impl Staple {
    /// `certificate`: the leaf in DER.
    pub(crate) fn new(der: Vec<u8>, certificate: &[u8]) -> Result<Self, StapleError> {
        let (serial, until) = read(&der)?;
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| StapleError::Encoding)?;
        if serial != certificate.raw_serial() {
            return Err(StapleError::OtherCertificate);
        }
        Ok(Self { der, until })
    }

    pub(crate) fn holds(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| now <= until)
    }
}

/// Whether the certificate, in DER, says that it is not to be shown without a response.
pub(crate) fn is_demanded(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let mut extensions = certificate.extensions().iter();
    let feature = extensions.find(|extension| extension.oid.to_id_string() == TLS_FEATURE);
    let Some(mut features) = feature.and_then(|feature| Der::new(feature.value).within(SEQUENCE)) else {
        return false;
    };
    while let Some((_, feature, _)) = features.next() {
        if feature == STATUS_REQUEST {
            return true;
        }
    }
    false
}

/// The serial number, and until when it holds.
fn read(der: &[u8]) -> Result<(&[u8], Option<SystemTime>), StapleError> {
    let mut response = Der::new(der).within(SEQUENCE).ok_or(StapleError::Encoding)?;
    let status = response.take(ENUMERATED).ok_or(StapleError::Encoding)?;
    if status != [0] {
        return Err(StapleError::Unsuccessful);
    }
    let mut responses = responses(response).ok_or(StapleError::Encoding)?;
    let one = responses.within(SEQUENCE).ok_or(StapleError::Encoding)?;
    if !responses.is_empty() {
        return Err(StapleError::Several);
    }
    single(one).ok_or(StapleError::Encoding)
}

fn responses(mut response: Der<'_>) -> Option<Der<'_>> {
    let mut bytes = response.within(explicit(0))?.within(SEQUENCE)?;
    if bytes.take(OBJECT)? != BASIC {
        return None;
    }
    let mut basic = Der::new(bytes.take(OCTETS)?).within(SEQUENCE)?;
    let mut data = basic.within(SEQUENCE)?;
    let _version = data.take(explicit(0));
    let _responder = data.next()?;
    let _produced = data.next()?;
    data.within(SEQUENCE)
}

fn single(mut response: Der<'_>) -> Option<(&[u8], Option<SystemTime>)> {
    let mut id = response.within(SEQUENCE)?;
    let _algorithm = id.take(SEQUENCE)?;
    let _names = (id.take(OCTETS)?, id.take(OCTETS)?);
    let serial = id.take(INTEGER)?;
    let _status = response.next()?;
    let _this_update = response.next()?;
    let until = match response.within(explicit(0)) {
        None => None,
        Some(mut next) => {
            let (_, _, time) = next.next()?;
            let (_, time) = ASN1Time::from_der(time).ok()?;
            Some(system_time(time))
        }
    };
    Some((serial, until))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, CustomExtension, KeyPair, SerialNumber};

    use super::*;
    use crate::crypto::Crypto;
    use crate::identity::{CertificatePem, Identity, IdentityError};

    const HOLDS: &[u8] = include_bytes!("ocsp/until-2030.der");
    const WITHOUT_END: &[u8] = include_bytes!("ocsp/without-end.der");
    const OTHER: &[u8] = include_bytes!("ocsp/other.der");
    const TWO: &[u8] = include_bytes!("ocsp/two.der");

    fn identity(demands: bool, staple: Option<&[u8]>) -> Result<Identity, IdentityError> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(100));
        if demands {
            let feature =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
            params.custom_extensions = vec![feature];
        }
        let (chain, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let pem = CertificatePem {
            chain: chain.as_bytes(),
            private_key: key.as_bytes(),
            password: None,
            ocsp_staple: staple,
        };
        Identity::read(&pem, "chain", "key", &Crypto::system())
    }

    /// What is shown in a year: nothing, the certificate alone, or with its response.
    fn shown(identity: &Identity, policy: StaplePolicy, year: u64) -> Option<bool> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 365 * 24 * 60 * 60);
        identity.shown(policy, now).map(|key| key.ocsp.is_some())
    }

    #[test]
    fn the_policy_says_what_is_shown_without_a_response_that_holds() {
        use StaplePolicy::{Lenient, Must, Strict};
        let (without, with) = (
            identity(false, None).unwrap(),
            identity(false, Some(HOLDS)).unwrap(),
        );
        let endless = identity(false, Some(WITHOUT_END)).unwrap();
        for policy in [Lenient, Strict, Must] {
            assert_eq!(shown(&with, policy, 2025), Some(true));
        }
        for (policy, expired, missing) in [
            (Lenient, Some(false), Some(false)),
            (Strict, None, Some(false)),
            (Must, None, None),
        ] {
            assert_eq!(shown(&with, policy, 2035), expired, "{policy:?}");
            assert_eq!(shown(&endless, policy, 2025), expired, "{policy:?}");
            assert_eq!(shown(&without, policy, 2025), missing, "{policy:?}");
        }
        assert_eq!(without.satisfies(Must), Err(StapleError::Missing));
        assert_eq!(with.satisfies(Must), Ok(()));
    }

    #[test]
    fn a_certificate_may_demand_it_whatever_the_policy() {
        let without = identity(true, None).unwrap();
        assert_eq!(
            without.satisfies(StaplePolicy::Lenient),
            Err(StapleError::Missing)
        );
        let with = identity(true, Some(HOLDS)).unwrap();
        assert_eq!(shown(&with, StaplePolicy::Lenient, 2035), None);
    }

    #[test]
    fn a_response_is_for_its_certificate() {
        let refused = |staple: &[u8]| match identity(false, Some(staple)) {
            Err(IdentityError::Staple { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(OTHER), StapleError::OtherCertificate);
        assert_eq!(refused(TWO), StapleError::Several);
        assert_eq!(refused(&[0x30, 3, 0x0a, 1, 6]), StapleError::Unsuccessful);
        for length in 0..HOLDS.len() - 40 {
            assert_eq!(refused(&HOLDS[..length]), StapleError::Encoding, "{length}");
        }
    }

    #[test]
    fn another_response_is_another_identity() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(100));
        let (chain, key_pem) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let with = |staple| {
            let pem = CertificatePem {
                chain: chain.as_bytes(),
                private_key: key_pem.as_bytes(),
                password: None,
                ocsp_staple: staple,
            };
            Identity::read(&pem, "chain", "key", &Crypto::system()).unwrap()
        };
        assert_eq!(with(Some(HOLDS)), with(Some(HOLDS)));
        assert_ne!(with(Some(HOLDS)), with(Some(WITHOUT_END)));
        assert_ne!(with(Some(HOLDS)), with(None));
    }
}
