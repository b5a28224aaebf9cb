//! `envoy.extensions.transport_sockets.tls.v3.Secret`: certificates as PEM, and whose are accepted.

use prost::Message;

use super::at::{At, compiling};
use super::config_source::WatchedDirectory;
use super::pb::{core, tls as pb};
use super::tls::{self, Certificate, Validation};
use super::{Files, Rejection, Warnings};

/// Envoy's word for what is not shown.
const REDACTED: &str = "[redacted]";

#[derive(Clone, PartialEq)]
pub enum Secret {
    Identity(Certificate),
    /// Whom to trust, and what is asked of peers besides.
    Validation(Box<Validation>),
    /// Of session tickets, each of 80 bytes.
    Tickets(Vec<Vec<u8>>),
}

/// Keys are never shown.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity(certificate) => write!(f, "{certificate:?}"),
            Self::Validation(validation) => write!(f, "{validation:?}"),
            Self::Tickets(keys) => write!(f, "Tickets({})", keys.len()),
        }
    }
}

/// A secret and its name.
pub fn compile(
    message: &pb::Secret,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<(String, Secret), Rejection> {
    compiling(files, warnings, |at| secret(at, message))
}

/// The directory of an encoded secret's files, if it says one.
pub fn watched_directory(encoded: &[u8]) -> Option<WatchedDirectory> {
    use pb::secret::Type;
    let secret = pb::Secret::decode(encoded).ok()?;
    let directory = match secret.r#type? {
        Type::TlsCertificate(certificate) => certificate.watched_directory?,
        Type::ValidationContext(context) => context.watched_directory?,
        Type::SessionTicketKeys(_) | Type::GenericSecret(_) => return None,
    };
    Some(WatchedDirectory {
        path: directory.path,
        writes: directory.watch_modify,
    })
}

/// The encoded secret without what nobody is to see: of a certificate its key and whatever opens it, of the others all but
/// the name, unless it says whom to trust. What cannot be read is nothing.
pub fn redacted(encoded: &[u8]) -> Vec<u8> {
    use pb::secret::Type;
    let Ok(mut secret) = pb::Secret::decode(encoded) else {
        return Vec::new();
    };
    match &mut secret.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            let hidden = |source: &mut Option<core::DataSource>| {
                if let Some(source) = source {
                    source.specifier = Some(core::data_source::Specifier::InlineString(REDACTED.to_owned()));
                }
            };
            hidden(&mut certificate.private_key);
            hidden(&mut certificate.pkcs12);
            hidden(&mut certificate.password);
            certificate.private_key_provider = None;
        }
        Some(Type::ValidationContext(_)) | None => {}
        Some(Type::SessionTicketKeys(_) | Type::GenericSecret(_)) => secret.r#type = None,
    }
    secret.encode_to_vec()
}

pub(crate) fn secret(at: &At<'_>, message: &pb::Secret) -> Result<(String, Secret), Rejection> {
    use pb::secret::Type;
    let pb::Secret { name, r#type } = message;
    let secret = match at.required("type", r#type)? {
        Type::TlsCertificate(certificate) => {
            Secret::Identity(tls::certificate(&at.field("tls_certificate"), certificate)?)
        }
        Type::ValidationContext(context) => {
            Secret::Validation(Box::new(tls::peers(&at.field("validation_context"), context)?))
        }
        Type::SessionTicketKeys(keys) => {
            Secret::Tickets(tls::ticket_keys(&at.field("session_ticket_keys"), keys)?)
        }
        Type::GenericSecret(_) => return Err(at.field("generic_secret").reject("not supported")),
    };
    Ok((name.clone(), secret))
}
