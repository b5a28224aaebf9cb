//! Whom the mesh trusts, as its control plane says over xDS: the secret `ROOTCA`.

use leno_engine::compile::Files;
use leno_proto::envoy::config::core::v3::data_source::Specifier;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret as Message, secret as content,
};
use leno_tls::pem::encode_certificate;
use leno_tls::{ROOT_CA, SecretSet, TrustBundle, WORKLOAD_CERTIFICATE};
use prost::Message as _;

use crate::secret::{self, Secret};

/// Roots, that of the authority that signs first, and what was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    bundle: TrustBundle,
    revocations: Option<Revocations>,
}

/// Lists of what authorities have taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    /// PEM.
    pub lists: String,
    /// Authorities above those that issue have none.
    pub leaf_only: bool,
}

/// A control plane names no files.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Err("over xDS whom to trust is said, and no file named".to_owned())
    }
}

// === impl Trust ===

impl Trust {
    /// # Errors
    ///
    /// What is wrong with the encoded secret.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let message = Message::decode(body).map_err(|error| error.to_string())?;
        let Secret::Trust(bundle) = secret::compile(&message, &NoFiles)? else {
            return Err(format!(
                "the secret {ROOT_CA} says whom to trust: validation_context"
            ));
        };
        if bundle.certificates().is_empty() {
            return Err("validation_context.trusted_ca: there is none".to_owned());
        }
        let revocations = match &message.r#type {
            Some(content::Type::ValidationContext(context)) => revocations(context),
            _ => None,
        };
        Ok(Self { bundle, revocations })
    }

    pub(crate) fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// PEM.
    pub fn roots(&self) -> String {
        self.bundle
            .certificates()
            .iter()
            .map(|c| encode_certificate(c))
            .collect()
    }

    pub fn revocations(&self) -> Option<&Revocations> {
        self.revocations.as_ref()
    }

    /// Whether these secrets follow it: it is in force, and the workload's certificate is of the root that signs.
    pub fn is_followed(&self, secrets: &SecretSet) -> bool {
        secrets.bundle(ROOT_CA) == Some(&self.bundle)
            && secrets
                .identity(WORKLOAD_CERTIFICATE)
                .is_some_and(|identity| identity.is_of_first(&self.bundle))
    }
}

fn revocations(context: &CertificateValidationContext) -> Option<Revocations> {
    let lists = match context.crl.as_ref()?.specifier.as_ref()? {
        Specifier::InlineString(text) => text.clone(),
        Specifier::InlineBytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => return None,
    };
    Some(Revocations {
        lists,
        leaf_only: context.only_verify_leaf_cert_crl,
    })
}
