//! `envoy.extensions.transport_sockets.tls.v3.Secret`: certificates as PEM, and whose are accepted.

use prost::Message;

use super::at::{At, compiling};
use super::config_source::WatchedDirectory;
use super::pb::tls as pb;
use super::tls::{self, Validation};
use super::{Files, Rejection, Warnings};

#[derive(Clone, PartialEq)]
pub enum Secret {
    Identity {
        certificate_chain: Vec<u8>,
        private_key: Vec<u8>,
    },
    /// Whom to trust, and what is asked of peers besides.
    Validation(Box<Validation>),
    /// Of session tickets, each of 80 bytes.
    Tickets(Vec<Vec<u8>>),
}

/// Keys are never shown.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity {
                certificate_chain, ..
            } => write!(f, "Identity({})", certificate_chain.escape_ascii()),
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

pub(crate) fn secret(at: &At<'_>, message: &pb::Secret) -> Result<(String, Secret), Rejection> {
    use pb::secret::Type;
    let pb::Secret { name, r#type } = message;
    let secret = match at.required("type", r#type)? {
        Type::TlsCertificate(certificate) => {
            let (certificate_chain, private_key) = tls::key_pair(&at.field("tls_certificate"), certificate)?;
            Secret::Identity {
                certificate_chain,
                private_key,
            }
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
