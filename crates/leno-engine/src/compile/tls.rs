//! TLS contexts: which secrets, which peers. The handshake itself is `leno-tls`.

mod parameters;
mod validation;

use std::time::Duration;

use super::Rejection;
use super::at::{At, no_effect, refuse, silent};
use super::config_source::{Source, config_source};
use super::pb::{core, raw_buffer, tls as pb};

pub use parameters::{Parameters, TlsVersion};
pub use validation::{Pin, Revocation, SanKind, SanMatcher, TrustSource, Validation};

use validation::validation;

#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    pub common: CommonTls,
    pub require_client_certificate: bool,
    pub staples: StaplePolicy,
    /// Where no certificate has the name that is asked for, one is shown that the client takes; else it is the first.
    pub scans_all: bool,
    /// None: no session is resumed.
    pub tickets: Option<Tickets>,
}

/// Whether a certificate is shown whose OCSP response is missing or has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaplePolicy {
    /// Without it.
    #[default]
    Lenient,
    /// Without it where there never was one; not with one that has expired.
    Strict,
    /// Not at all.
    Must,
}

/// By what sessions are resumed.
#[derive(Clone, Debug, PartialEq)]
pub struct Tickets {
    pub keys: TicketSource,
    /// How long a ticket is good for.
    pub lifetime: Duration,
}

/// Where the keys of tickets come from.
#[derive(Clone, PartialEq)]
pub enum TicketSource {
    /// By SDS name; without a source it is one of the bootstrap's own.
    Sds(String, Option<Source>),
    /// The first makes tickets, all of them read.
    Inline(Vec<Vec<u8>>),
    /// The process has made one for itself.
    Own,
}

/// Keys are never shown.
impl std::fmt::Debug for TicketSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sds(name, source) => write!(f, "Sds({name:?}, {source:?})"),
            Self::Inline(keys) => write!(f, "Inline({})", keys.len()),
            Self::Own => f.write_str("Own"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    pub common: CommonTls,
    pub sni: Option<String>,
    pub auto_host_sni: bool,
    pub auto_san_validation: bool,
    /// So many sessions are kept, to be resumed. Zero: none is.
    pub sessions: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CommonTls {
    /// The first is shown where no other fits the server name that a client asks for.
    pub certificates: Vec<SecretSource>,
    pub validation: Option<Validation>,
    pub alpn: Vec<String>,
    pub parameters: Parameters,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// By SDS name: `default`, `ROOTCA`, or another. Without a source it is one of the bootstrap's own.
    Sds(String, Option<Source>),
    /// Read at compile time by the caller's loader.
    Inline(Certificate),
}

/// A certificate and what belongs to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// PEM.
    pub chain: Vec<u8>,
    /// PEM.
    pub private_key: Vec<u8>,
    /// What opens the key.
    pub password: Option<Vec<u8>>,
    /// An OCSP response in DER.
    pub ocsp_staple: Option<Vec<u8>>,
}

/// Keys are never shown.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({})", self.chain.escape_ascii())
    }
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
    use pb::downstream_tls_context::OcspStaplePolicy;
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
    refuse!(at; require_sni);
    silent!("only tickets are there"; disable_stateful_session_resumption);
    let tickets = tickets(&at, session_ticket_keys_type.as_ref(), session_timeout)?;
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
            .is_none_or(|validation| !validation.verifies())
    {
        let reason = "without a validation context any certificate would do";
        return Err(at.field("require_client_certificate").reject(reason));
    }
    Ok(Some(DownstreamTls {
        common,
        require_client_certificate: required,
        staples: match at.choice("ocsp_staple_policy", *ocsp_staple_policy)? {
            OcspStaplePolicy::LenientStapling => StaplePolicy::Lenient,
            OcspStaplePolicy::StrictStapling => StaplePolicy::Strict,
            OcspStaplePolicy::MustStaple => StaplePolicy::Must,
        },
        scans_all: full_scan_certs_on_sni_mismatch.is_some_and(|scans| scans.value),
        tickets,
    }))
}

/// Where nothing is said of it.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Sessions that a client keeps at most.
const MOST_SESSIONS: u32 = 65_536;

fn tickets(
    at: &At<'_>,
    message: Option<&pb::downstream_tls_context::SessionTicketKeysType>,
    session_timeout: &Option<leno_proto::google::protobuf::Duration>,
) -> Result<Option<Tickets>, Rejection> {
    use pb::downstream_tls_context::SessionTicketKeysType as T;
    let keys = match message {
        None | Some(T::DisableStatelessSessionResumption(true)) => {
            no_effect!(at, "without session_ticket_keys, and where disable_stateless_session_resumption is not said to be false, no session is resumed"; session_timeout);
            return Ok(None);
        }
        Some(T::DisableStatelessSessionResumption(false)) => TicketSource::Own,
        Some(T::SessionTicketKeys(keys)) => {
            TicketSource::Inline(ticket_keys(&at.field("session_ticket_keys"), keys)?)
        }
        Some(T::SessionTicketKeysSdsSecretConfig(secret)) => {
            let (name, source) = sds(&at.field("session_ticket_keys_sds_secret_config"), secret)?;
            TicketSource::Sds(name, source)
        }
    };
    let lifetime = at
        .duration("session_timeout", session_timeout)?
        .unwrap_or(LIFETIME);
    Ok(Some(Tickets { keys, lifetime }))
}

/// Each has 80 bytes, as in Envoy.
pub(crate) fn ticket_keys(
    at: &At<'_>,
    message: &pb::TlsSessionTicketKeys,
) -> Result<Vec<Vec<u8>>, Rejection> {
    let pb::TlsSessionTicketKeys { keys } = message;
    if keys.is_empty() {
        return Err(at.field("keys").reject("required"));
    }
    at.each("keys", keys, |at, key| {
        let bytes = at.data_source(key)?;
        match bytes.len() {
            80 => Ok(bytes),
            other => Err(at.reject(format!("80 bytes are needed, not {other}"))),
        }
    })
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
    no_effect!(at, "key usage is always enforced"; enforce_rsa_key_usage);
    // Without it: no certificate, and none is verified.
    let common_tls_context = common_tls_context.clone().unwrap_or_default();
    Ok(Some(UpstreamTls {
        common: common(&at.field("common_tls_context"), &common_tls_context)?,
        sni: Some(sni.clone()).filter(|sni| !sni.is_empty()),
        auto_host_sni: *auto_host_sni,
        auto_san_validation: *auto_sni_san_validation,
        sessions: max_session_keys.map_or(0, |most| most.value.min(MOST_SESSIONS)),
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
    let mut certificates = at.each("tls_certificates", tls_certificates, |at, message| {
        certificate(at, message).map(SecretSource::Inline)
    })?;
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
            Some(Validation::of(TrustSource::Sds(name, source)))
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
    let parameters = match tls_params {
        None => Parameters::default(),
        Some(params) => parameters::parameters(&at.field("tls_params"), params)?,
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
        parameters,
    })
}

/// A certificate's chain, its key, and what belongs to them.
pub(crate) fn certificate(at: &At<'_>, message: &pb::TlsCertificate) -> Result<Certificate, Rejection> {
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
    refuse!(at; pkcs12, private_key_provider, tls_params);
    no_effect!(at, "not sent, nor by Envoy"; signed_certificate_timestamp);
    silent!("files of secrets that come by SDS are followed, others are read once, as in Envoy"; watched_directory);
    let read =
        |field, source: &Option<core::DataSource>| at.field(field).data_source(at.required(field, source)?);
    let may = |field, source: &Option<core::DataSource>| {
        let source = source.as_ref().map(|source| at.field(field).data_source(source));
        source.transpose()
    };
    if let Some(core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(_)),
        ..
    }) = ocsp_staple
    {
        return Err(at
            .field("ocsp_staple")
            .reject("DER is no text: use inline_bytes or filename"));
    }
    Ok(Certificate {
        chain: read("certificate_chain", certificate_chain)?,
        private_key: read("private_key", private_key)?,
        password: may("password", password)?.filter(|password| !password.is_empty()),
        ocsp_staple: may("ocsp_staple", ocsp_staple)?.filter(|staple| !staple.is_empty()),
    })
}

/// A validation context that is a secret by itself.
pub(crate) fn peers(
    at: &At<'_>,
    message: &pb::CertificateValidationContext,
) -> Result<Validation, Rejection> {
    let validation = validation(at, message, None)?;
    match validation.verifies() {
        true => Ok(validation),
        false => Err(at.field("trusted_ca").reject("required")),
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
