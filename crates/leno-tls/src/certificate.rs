//! What leno reads from an X.509 certificate: names, lifetime, hash.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::spiffe::SpiffeId;

/// One certificate's names and lifetime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    pub sans: SubjectAltNames,
    /// The subject as RFC 2253 writes it (`CN=a,O=b`), empty for mesh certificates.
    pub subject: String,
    /// The issuer as RFC 2253 writes it.
    pub issuer: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// The subject alternative names, by kind, in the certificate's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub emails: Vec<String>,
    pub ips: Vec<IpAddr>,
    /// Names of kinds that an authority has defined itself, those that are texts.
    pub others: Vec<OtherName>,
}

/// RFC 5280's `OtherName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherName {
    /// What kind of name it is: `1.3.6.1.4.1.311.20.2.3`.
    pub oid: String,
    pub text: String,
}

/// Why a certificate cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate is not valid DER X.509: {detail}")]
    Encoding { detail: String },
    #[error("the certificate's subject alternative names are malformed")]
    SubjectAltNames,
}

// === impl CertificateInfo ===

impl CertificateInfo {
    pub fn parse(der: &[u8]) -> Result<CertificateInfo, CertificateError> {
        let encoding = |detail: String| CertificateError::Encoding { detail };
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|e| encoding(e.to_string()))?;
        if !rest.is_empty() {
            return Err(encoding(format!("{} bytes follow it", rest.len())));
        }
        let validity = certificate.validity();
        Ok(CertificateInfo {
            sans: SubjectAltNames::of(&certificate)?,
            subject: rfc2253(certificate.subject()),
            issuer: rfc2253(certificate.issuer()),
            serial: hex(certificate.raw_serial()),
            not_before: system_time(validity.not_before),
            not_after: system_time(validity.not_after),
        })
    }

    /// The SPIFFE identity. An X.509-SVID has exactly one URI name (SPIFFE
    /// X509-SVID §2); a certificate with several has no identity, rather than
    /// one that depends on their order.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        self.sans.spiffe_id()
    }
}

/// SHA-256 of a certificate's DER in lower-case hex.
pub fn fingerprint_sha256(certificate: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, certificate).as_ref())
}

/// The same by SHA-1, for whoever still knows certificates by it.
pub fn fingerprint_sha1(certificate: &[u8]) -> String {
    hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref())
}

/// SHA-256 of a certificate and of its public key (SubjectPublicKeyInfo), as pins have them.
pub(crate) fn fingerprints(certificate: &[u8]) -> Result<([u8; 32], [u8; 32]), CertificateError> {
    let encoding = |detail: String| CertificateError::Encoding { detail };
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| encoding(e.to_string()))?;
    Ok((sha256(certificate), sha256(parsed.public_key().raw)))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest::digest(&digest::SHA256, bytes);
    hash.copy_from_slice(digest.as_ref());
    hash
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl SubjectAltNames ===

impl SubjectAltNames {
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        match self.uris.as_slice() {
            [uri] => uri.parse().ok(),
            _ => None,
        }
    }

    /// Every name as text, URIs first.
    pub fn all(&self) -> Vec<String> {
        let names = self.uris.iter().chain(&self.dns).chain(&self.emails).cloned();
        names.chain(self.ips.iter().map(IpAddr::to_string)).collect()
    }

    fn of(certificate: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let mut sans = SubjectAltNames::default();
        let extension = certificate
            .subject_alternative_name()
            .map_err(|_| CertificateError::SubjectAltNames)?;
        for name in extension
            .iter()
            .flat_map(|extension| &extension.value.general_names)
        {
            match name {
                GeneralName::URI(uri) => sans.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => sans.dns.push((*dns).to_owned()),
                GeneralName::RFC822Name(email) => sans.emails.push((*email).to_owned()),
                GeneralName::IPAddress(octets) => {
                    sans.ips
                        .push(ip(octets).ok_or(CertificateError::SubjectAltNames)?);
                }
                GeneralName::Invalid(..) => return Err(CertificateError::SubjectAltNames),
                GeneralName::OtherName(oid, value) => {
                    sans.others.extend(other_text(value).map(|text| OtherName {
                        oid: oid.to_id_string(),
                        text,
                    }))
                }
                // Kinds that no rule can name.
                GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        Ok(sans)
    }
}

/// `[0] EXPLICIT` one of the kinds of text.
fn other_text(value: &[u8]) -> Option<String> {
    let (_, explicit) = Any::from_der(value).ok()?;
    let (_, inner) = Any::from_der(explicit.data).ok()?;
    let is_text = matches!(
        inner.tag(),
        Tag::Utf8String | Tag::Ia5String | Tag::PrintableString | Tag::VisibleString | Tag::OctetString
    );
    let text = std::str::from_utf8(inner.data).ok().filter(|_| is_text);
    text.map(str::to_owned)
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(octets)
        .ok()
        .map(|v6| Ipv6Addr::from(v6).into())
}

pub(crate) fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let since_epoch = Duration::from_secs(seconds.unsigned_abs());
    let moment = match seconds >= 0 {
        true => SystemTime::UNIX_EPOCH.checked_add(since_epoch),
        false => SystemTime::UNIX_EPOCH.checked_sub(since_epoch),
    };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// RFC 2253: last name first, joined by commas, special characters escaped.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let attributes = rdn.iter().map(|attribute| {
                let key = x509_parser::objects::oid2abbrev(
                    attribute.attr_type(),
                    x509_parser::objects::oid_registry(),
                )
                .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
                format!("{key}={}", escape(attribute.as_str().unwrap_or_default()))
            });
            attributes.collect::<Vec<_>>().join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    value
        .chars()
        .enumerate()
        .fold(String::with_capacity(value.len()), |mut out, (i, c)| {
            let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
            if special || (i == 0 && matches!(c, ' ' | '#')) || (i == last && c == ' ') {
                out.push('\\');
            }
            out.push(c);
            out
        })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_and_subject_are_read_by_kind() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned(), "fd00::7".to_owned()]).unwrap();
        params
            .subject_alt_names
            .push(SanType::URI("spiffe://a/ns/b/sa/c".try_into().unwrap()));
        let principal = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "knitter@a".into()));
        params.subject_alt_names.push(principal);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Knitters, Inc.");
        params.distinguished_name.push(DnType::CommonName, "leno");
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let info = CertificateInfo::parse(der.der()).unwrap();
        assert_eq!(info.sans.dns, ["a.example"]);
        assert_eq!(info.sans.ips, ["fd00::7".parse::<IpAddr>().unwrap()]);
        assert_eq!(info.spiffe_id().unwrap().as_str(), "spiffe://a/ns/b/sa/c");
        let principal = OtherName {
            oid: "1.3.6.1.4.1.311.20.2.3".into(),
            text: "knitter@a".into(),
        };
        assert_eq!(info.sans.others, [principal]);
        assert_eq!(info.subject, "CN=leno,O=Knitters\\, Inc.");
    }

    #[test]
    fn two_uris_are_no_identity() {
        let uris = ["spiffe://a/ns/b/sa/c", "spiffe://a/ns/b/sa/admin"]
            .map(str::to_owned)
            .to_vec();
        let sans = SubjectAltNames {
            uris,
            ..Default::default()
        };
        assert_eq!(sans.spiffe_id(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(der in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = CertificateInfo::parse(&der);
        }
    }
}
