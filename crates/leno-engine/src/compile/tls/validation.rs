//! `CertificateValidationContext`: whose certificates are accepted.

use super::pb;
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::config_source::Source;
use crate::compile::matcher::{self, StringMatcher};
use crate::message::base64;

#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    pub trust: TrustSource,
    /// Any of them; empty: every certificate that chains to the trust.
    pub sans: Vec<SanMatcher>,
    /// Any of them; empty: no certificate is known beforehand. They hold without trust as well.
    pub pins: Vec<Pin>,
    /// Certificates are accepted before and after their time.
    pub allow_expired: bool,
    /// Most authorities in a chain, with the one that is trusted.
    pub max_depth: Option<u32>,
    pub revocation: Option<Revocation>,
}

/// SHA-256 of a certificate that is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pin {
    Certificate([u8; 32]),
    /// Of its public key (SubjectPublicKeyInfo).
    Key([u8; 32]),
}

/// Certificates that their authorities have taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// PEM.
    pub lists: Vec<u8>,
    /// Of the peer's own certificate only, not of the authorities above it.
    pub leaf_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TrustSource {
    /// Without a source it is one of the bootstrap's own.
    Sds(String, Option<Source>),
    InlinePem(Vec<u8>),
    /// The machine's trust store.
    System,
    /// No verification (`trust_chain_verification: ACCEPT_UNTRUSTED`, or no trusted_ca).
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SanMatcher {
    pub kind: SanKind,
    pub matcher: StringMatcher,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanKind {
    Any,
    Dns,
    Uri,
    Email,
    Ip,
    /// A kind of its authority's own, by its OID.
    Other(String),
}

// === impl Validation ===

impl Validation {
    /// Everything that chains to it.
    pub fn of(trust: TrustSource) -> Self {
        Self {
            trust,
            sans: Vec::new(),
            pins: Vec::new(),
            allow_expired: false,
            max_depth: None,
            revocation: None,
        }
    }

    /// Whether there are certificates that it does not accept.
    pub fn verifies(&self) -> bool {
        self.trust != TrustSource::None || !self.pins.is_empty()
    }
}

/// `named`: the trust that a secret brings.
pub(super) fn validation(
    at: &At<'_>,
    message: &pb::CertificateValidationContext,
    named: Option<TrustSource>,
) -> Result<Validation, Rejection> {
    use pb::certificate_validation_context::TrustChainVerification;
    let pb::CertificateValidationContext {
        trusted_ca,
        ca_certificate_provider_instance,
        system_root_certs,
        watched_directory,
        verify_certificate_spki,
        verify_certificate_hash,
        match_typed_subject_alt_names,
        match_subject_alt_names,
        require_signed_certificate_timestamp,
        crl,
        allow_expired_certificate,
        trust_chain_verification,
        custom_validator_config,
        only_verify_leaf_cert_crl,
        max_verify_depth,
        suppress_client_ca_list,
    } = message;
    refuse!(at; ca_certificate_provider_instance, require_signed_certificate_timestamp, custom_validator_config);
    silent!("files of secrets that come by SDS are followed, others are read once, as in Envoy"; watched_directory);
    no_effect!(at, "the list is sent"; suppress_client_ca_list);
    let verify =
        at.choice::<TrustChainVerification>("trust_chain_verification", *trust_chain_verification)?;
    let trust = match (named, trusted_ca, system_root_certs, verify) {
        (_, _, _, TrustChainVerification::AcceptUntrusted) => TrustSource::None,
        (Some(named), None, None, _) => named,
        (None, Some(ca), None, _) => TrustSource::InlinePem(at.field("trusted_ca").data_source(ca)?),
        (None, None, Some(pb::certificate_validation_context::SystemRootCerts {}), _) => TrustSource::System,
        (None, None, None, _) => TrustSource::None,
        _ => {
            return Err(at
                .field("trusted_ca")
                .reject("there is another source of trust beside it"));
        }
    };
    let mut sans = at.each(
        "match_typed_subject_alt_names",
        match_typed_subject_alt_names,
        san,
    )?;
    sans.extend(at.each(
        "match_subject_alt_names",
        match_subject_alt_names,
        |at, message| {
            let matcher = matcher::string(at, message)?;
            Ok(SanMatcher {
                kind: SanKind::Any,
                matcher,
            })
        },
    )?);
    let mut pins = at.each("verify_certificate_hash", verify_certificate_hash, |at, text| {
        let hash = hexadecimal(text).ok_or_else(|| at.reject("not a SHA-256 in hexadecimal"))?;
        Ok(Pin::Certificate(hash))
    })?;
    pins.extend(
        at.each("verify_certificate_spki", verify_certificate_spki, |at, text| {
            let hash = base64::decode(text.as_bytes()).and_then(|hash| hash.try_into().ok());
            hash.map(Pin::Key)
                .ok_or_else(|| at.reject("not a SHA-256 in Base64"))
        })?,
    );
    let max_depth = max_verify_depth.as_ref().map(|depth| depth.value);
    if max_depth.is_some_and(|depth| depth > 100) {
        return Err(at.field("max_verify_depth").reject("0 to 100"));
    }
    let revocation = match crl {
        Some(crl) => Some(Revocation {
            lists: at.field("crl").data_source(crl)?,
            leaf_only: *only_verify_leaf_cert_crl,
        }),
        None => {
            no_effect!(at, "there is no list"; only_verify_leaf_cert_crl);
            None
        }
    };
    let validation = Validation {
        trust,
        sans,
        pins,
        allow_expired: *allow_expired_certificate,
        max_depth,
        revocation,
    };
    if validation.trust == TrustSource::None {
        untrusted(at, &validation, verify)?;
    }
    Ok(validation)
}

/// What cannot be asked where no authority is trusted; Envoy says the same.
fn untrusted(
    at: &At<'_>,
    validation: &Validation,
    verify: pb::certificate_validation_context::TrustChainVerification,
) -> Result<(), Rejection> {
    let accepts_all = verify == pb::certificate_validation_context::TrustChainVerification::AcceptUntrusted;
    // Names that nobody vouches for prove nothing.
    for (is_asked, field) in [
        (!validation.sans.is_empty(), "match_typed_subject_alt_names"),
        (validation.allow_expired, "allow_expired_certificate"),
        (validation.max_depth.is_some(), "max_verify_depth"),
        (validation.revocation.is_some(), "crl"),
        (
            accepts_all && !validation.pins.is_empty(),
            "trust_chain_verification",
        ),
    ] {
        if is_asked {
            return Err(at
                .field(field)
                .reject("only for certificates that are verified: trusted_ca is missing"));
        }
    }
    Ok(())
}

/// 32 bytes, with colons between them or without.
fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    let byte = |pair: &[u8]| {
        let all_digits = pair.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(pair).ok().filter(|_| all_digits)?;
        u8::from_str_radix(text, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes?.try_into().ok()
}

/// `1.3.6.1.4.1.311.20.2.3`
fn is_oid(text: &str) -> bool {
    let number = |part: &str| {
        let canonical = part == "0" || !part.starts_with('0');
        canonical && part.len() <= 20 && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
    };
    text.contains('.') && text.split('.').all(number)
}

fn san(at: &At<'_>, message: &pb::SubjectAltNameMatcher) -> Result<SanMatcher, Rejection> {
    use pb::subject_alt_name_matcher::SanType;
    let pb::SubjectAltNameMatcher {
        san_type,
        matcher,
        oid,
    } = message;
    let san_type = at.choice("san_type", *san_type)?;
    if san_type != SanType::OtherName {
        no_effect!(at, "only for OTHER_NAME"; oid);
    }
    let kind = match san_type {
        SanType::Email => SanKind::Email,
        SanType::Dns => SanKind::Dns,
        SanType::Uri => SanKind::Uri,
        SanType::IpAddress => SanKind::Ip,
        SanType::OtherName if is_oid(oid) => SanKind::Other(oid.clone()),
        SanType::OtherName => return Err(at.field("oid").reject(format!("not numbers with dots: {oid:?}"))),
        SanType::Unspecified => return Err(at.field("san_type").reject("required")),
    };
    let matcher = matcher::string(&at.field("matcher"), at.required("matcher", matcher)?)?;
    Ok(SanMatcher { kind, matcher })
}
