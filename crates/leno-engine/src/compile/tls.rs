//! TLS contexts: which secrets, which peers. The handshake itself is `leno-tls`.

use super::Rejection;
use super::at::{At, no_effect, refuse, silent};
use super::config_source::{Source, config_source};
use super::matcher::{self, StringMatcher};
use super::pb::{core, raw_buffer, tls as pb};

#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    pub common: CommonTls,
    pub require_client_certificate: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    pub common: CommonTls,
    pub sni: Option<String>,
    pub auto_host_sni: bool,
    pub auto_san_validation: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CommonTls {
    /// The first is shown where no other fits the server name that a client asks for.
    pub certificates: Vec<SecretSource>,
    pub validation: Option<Validation>,
    pub alpn: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// By SDS name: `default`, `ROOTCA`, or another. Without a source it is one of the bootstrap's own.
    Sds(String, Option<Source>),
    /// PEM, read at compile time by the caller's loader.
    Inline {
        certificate_chain: Vec<u8>,
        private_key: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    pub trust: TrustSource,
    /// Any of them; empty: every certificate that chains to the trust.
    pub sans: Vec<SanMatcher>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TrustSource {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    Any,
    Dns,
    Uri,
    Email,
    Ip,
}

/// A transport socket; None: plaintext.
pub(crate) fn downstream(
    at: &At<'_>,
    message: &core::TransportSocket,
) -> Result<Option<DownstreamTls>, Rejection> {
    let any = typed_config(at, message)?;
    let at = at.field("typed_config");
    if let Ok(raw_buffer::RawBuffer {}) = leno_proto::FromAny::unpack(any) {
        return Ok(None);
    }
    let pb::DownstreamTlsContext {
        common_tls_context,
        require_client_certificate,
        require_sni,
        disable_stateful_session_resumption,
        session_timeout,
        ocsp_staple_policy,
        full_scan_certs_on_sni_mismatch,
        prefer_client_ciphers,
        session_ticket_keys_type,
    } = &at.unpack::<pb::DownstreamTlsContext>(any)?;
    refuse!(at; require_sni, ocsp_staple_policy);
    no_effect!(at, "sessions are not resumed"; disable_stateful_session_resumption, session_timeout, session_ticket_keys_type);
    no_effect!(at, "all certificates are looked at"; full_scan_certs_on_sni_mismatch);
    no_effect!(at, "the client's order is taken"; prefer_client_ciphers);
    let common = common(
        &at.field("common_tls_context"),
        at.required("common_tls_context", common_tls_context)?,
    )?;
    if common.certificates.is_empty() {
        return Err(at
            .field("common_tls_context")
            .reject("a server needs a certificate"));
    }
    let required = require_client_certificate.is_some_and(|r| r.value);
    if required
        && common
            .validation
            .as_ref()
            .is_none_or(|v| v.trust == TrustSource::None)
    {
        let reason = "without a validation context any certificate would do";
        return Err(at.field("require_client_certificate").reject(reason));
    }
    Ok(Some(DownstreamTls {
        common,
        require_client_certificate: required,
    }))
}

pub(crate) fn upstream(
    at: &At<'_>,
    message: &core::TransportSocket,
) -> Result<Option<UpstreamTls>, Rejection> {
    let any = typed_config(at, message)?;
    let at = at.field("typed_config");
    if let Ok(raw_buffer::RawBuffer {}) = leno_proto::FromAny::unpack(any) {
        return Ok(None);
    }
    let pb::UpstreamTlsContext {
        common_tls_context,
        sni,
        auto_host_sni,
        auto_sni_san_validation,
        allow_renegotiation,
        max_session_keys,
        enforce_rsa_key_usage,
    } = &at.unpack::<pb::UpstreamTlsContext>(any)?;
    no_effect!(at, "TLS is never renegotiated"; allow_renegotiation);
    no_effect!(at, "sessions are not resumed"; max_session_keys);
    no_effect!(at, "key usage is always enforced"; enforce_rsa_key_usage);
    Ok(Some(UpstreamTls {
        common: common(
            &at.field("common_tls_context"),
            at.required("common_tls_context", common_tls_context)?,
        )?,
        sni: Some(sni.clone()).filter(|sni| !sni.is_empty()),
        auto_host_sni: *auto_host_sni,
        auto_san_validation: *auto_sni_san_validation,
    }))
}

fn typed_config<'m>(
    at: &At<'_>,
    message: &'m core::TransportSocket,
) -> Result<&'m leno_proto::google::protobuf::Any, Rejection> {
    use core::transport_socket::ConfigType;
    let core::TransportSocket { name, config_type } = message;
    silent!("names are for people"; name);
    let ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    Ok(any)
}

fn common(at: &At<'_>, message: &pb::CommonTlsContext) -> Result<CommonTls, Rejection> {
    use pb::common_tls_context::ValidationContextType as V;
    let pb::CommonTlsContext {
        tls_params,
        tls_certificates,
        tls_certificate_sds_secret_configs,
        tls_certificate_provider_instance,
        custom_tls_certificate_selector,
        tls_certificate_certificate_provider,
        tls_certificate_certificate_provider_instance,
        alpn_protocols,
        custom_handshaker,
        key_log,
        validation_context_type,
    } = message;
    refuse!(at; tls_certificate_provider_instance, custom_tls_certificate_selector,
        tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance,
        custom_handshaker, key_log);
    if !tls_certificates.is_empty() && !tls_certificate_sds_secret_configs.is_empty() {
        return Err(at
            .field("tls_certificates")
            .reject("there is another source of certificates beside it"));
    }
    let mut certificates = at.each("tls_certificates", tls_certificates, certificate)?;
    certificates.extend(at.each(
        "tls_certificate_sds_secret_configs",
        tls_certificate_sds_secret_configs,
        |at, secret| sds(at, secret).map(|(name, source)| SecretSource::Sds(name, source)),
    )?);
    let validation = match validation_context_type {
        None => None,
        Some(V::ValidationContext(context)) => {
            Some(validation(&at.field("validation_context"), context, None)?)
        }
        Some(V::ValidationContextSdsSecretConfig(secret)) => {
            let (name, source) = sds(&at.field("validation_context_sds_secret_config"), secret)?;
            Some(Validation {
                trust: TrustSource::Sds(name, source),
                sans: Vec::new(),
            })
        }
        Some(V::CombinedValidationContext(both)) => {
            Some(combined(&at.field("combined_validation_context"), both)?)
        }
        Some(
            V::ValidationContextCertificateProvider(_) | V::ValidationContextCertificateProviderInstance(_),
        ) => {
            return Err(at
                .field("validation_context_certificate_provider")
                .reject("not supported"));
        }
    };
    let (min_version, max_version) = match tls_params {
        None => (TlsVersion::Tls12, TlsVersion::Tls13),
        Some(params) => versions(&at.field("tls_params"), params)?,
    };
    if let Some(i) = alpn_protocols
        .iter()
        .position(|name| name.is_empty() || name.len() > 255)
    {
        return Err(at.item("alpn_protocols", i).reject("1 to 255 bytes"));
    }
    Ok(CommonTls {
        certificates,
        validation,
        alpn: alpn_protocols.clone(),
        min_version,
        max_version,
    })
}

fn certificate(at: &At<'_>, message: &pb::TlsCertificate) -> Result<SecretSource, Rejection> {
    let (certificate_chain, private_key) = key_pair(at, message)?;
    Ok(SecretSource::Inline {
        certificate_chain,
        private_key,
    })
}

/// A certificate's chain and its key, as PEM.
pub(crate) fn key_pair(at: &At<'_>, message: &pb::TlsCertificate) -> Result<(Vec<u8>, Vec<u8>), Rejection> {
    let pb::TlsCertificate {
        certificate_chain,
        private_key,
        pkcs12,
        watched_directory,
        private_key_provider,
        password,
        ocsp_staple,
        signed_certificate_timestamp,
        tls_params,
    } = message;
    refuse!(at; pkcs12, private_key_provider, password, tls_params);
    no_effect!(at, "not sent"; ocsp_staple, signed_certificate_timestamp);
    no_effect!(at, "files are read once"; watched_directory);
    let read =
        |field, source: &Option<core::DataSource>| at.field(field).data_source(at.required(field, source)?);
    Ok((
        read("certificate_chain", certificate_chain)?,
        read("private_key", private_key)?,
    ))
}

/// The roots of a validation context that is a secret by itself, as PEM.
pub(crate) fn roots(at: &At<'_>, message: &pb::CertificateValidationContext) -> Result<Vec<u8>, Rejection> {
    let Validation { trust, sans } = validation(at, message, None)?;
    if !sans.is_empty() {
        return Err(at
            .field("match_typed_subject_alt_names")
            .reject("names are supported where the secret is used, not in it"));
    }
    match trust {
        TrustSource::InlinePem(roots) => Ok(roots),
        TrustSource::Sds(..) | TrustSource::System | TrustSource::None => {
            Err(at.field("trusted_ca").reject("required"))
        }
    }
}

/// A secret's name and where it comes from; without a source it is one of the bootstrap's own.
fn sds(at: &At<'_>, message: &pb::SdsSecretConfig) -> Result<(String, Option<Source>), Rejection> {
    let pb::SdsSecretConfig { name, sds_config } = message;
    at.not_empty("name", name)?;
    let source = match sds_config {
        None => None,
        Some(_) => Some(config_source(&at.field("sds_config"), sds_config)?),
    };
    Ok((name.clone(), source))
}

fn combined(
    at: &At<'_>,
    message: &pb::common_tls_context::CombinedCertificateValidationContext,
) -> Result<Validation, Rejection> {
    let pb::common_tls_context::CombinedCertificateValidationContext {
        default_validation_context,
        validation_context_sds_secret_config,
        validation_context_certificate_provider,
        validation_context_certificate_provider_instance,
    } = message;
    refuse!(at; validation_context_certificate_provider, validation_context_certificate_provider_instance);
    let field = "validation_context_sds_secret_config";
    let (name, source) = sds(
        &at.field(field),
        at.required(field, validation_context_sds_secret_config)?,
    )?;
    let field = "default_validation_context";
    let context = at.required(field, default_validation_context)?;
    validation(&at.field(field), context, Some(TrustSource::Sds(name, source)))
}

/// `named`: the trust that a secret brings.
fn validation(
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
    refuse!(at; ca_certificate_provider_instance, verify_certificate_spki, verify_certificate_hash,
        require_signed_certificate_timestamp, crl, allow_expired_certificate, custom_validator_config,
        only_verify_leaf_cert_crl, max_verify_depth);
    no_effect!(at, "files are read once"; watched_directory);
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
    // Names that nobody vouches for prove nothing; Envoy says the same.
    if trust == TrustSource::None && !sans.is_empty() {
        let at = at.field("match_typed_subject_alt_names");
        return Err(
            at.reject("names are only checked on certificates that are verified: trusted_ca is missing")
        );
    }
    Ok(Validation { trust, sans })
}

fn san(at: &At<'_>, message: &pb::SubjectAltNameMatcher) -> Result<SanMatcher, Rejection> {
    use pb::subject_alt_name_matcher::SanType;
    let pb::SubjectAltNameMatcher {
        san_type,
        matcher,
        oid,
    } = message;
    refuse!(at; oid);
    let kind = match at.choice("san_type", *san_type)? {
        SanType::Email => SanKind::Email,
        SanType::Dns => SanKind::Dns,
        SanType::Uri => SanKind::Uri,
        SanType::IpAddress => SanKind::Ip,
        SanType::Unspecified | SanType::OtherName => {
            return Err(at.field("san_type").reject("not supported"));
        }
    };
    let matcher = matcher::string(&at.field("matcher"), at.required("matcher", matcher)?)?;
    Ok(SanMatcher { kind, matcher })
}

fn versions(at: &At<'_>, message: &pb::TlsParameters) -> Result<(TlsVersion, TlsVersion), Rejection> {
    use pb::tls_parameters::TlsProtocol as P;
    let pb::TlsParameters {
        tls_minimum_protocol_version,
        tls_maximum_protocol_version,
        cipher_suites,
        ecdh_curves,
        signature_algorithms,
        compliance_policies,
    } = message;
    refuse!(at; signature_algorithms, compliance_policies);
    no_effect!(at, "leno's own suites and curves are used, all of them strong"; cipher_suites, ecdh_curves);
    let min = match at.choice("tls_minimum_protocol_version", *tls_minimum_protocol_version)? {
        P::TlsAuto | P::TlSv12 => TlsVersion::Tls12,
        P::TlSv13 => TlsVersion::Tls13,
        P::TlSv10 | P::TlSv11 => {
            at.field("tls_minimum_protocol_version")
                .warn("TLS before 1.2 is not spoken");
            TlsVersion::Tls12
        }
    };
    let max = match at.choice("tls_maximum_protocol_version", *tls_maximum_protocol_version)? {
        P::TlsAuto | P::TlSv13 => TlsVersion::Tls13,
        P::TlSv12 => TlsVersion::Tls12,
        P::TlSv10 | P::TlSv11 => {
            return Err(at
                .field("tls_maximum_protocol_version")
                .reject("TLS before 1.2 is not spoken"));
        }
    };
    if min > max {
        return Err(at
            .field("tls_maximum_protocol_version")
            .reject("less than the minimum"));
    }
    Ok((min, max))
}
