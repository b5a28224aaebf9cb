//! The secret `ROOTCA`: whom the mesh trusts, for all of its members alike.

use leno_model::{Revoked, Trust};

use crate::pb::core::data_source::Specifier;
use crate::pb::{core, tls};
use crate::reader::Reader;

/// What it is called, as in Istio.
pub(crate) const ROOT_CA: &str = "ROOTCA";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TrustInput(pub(crate) Trust);

/// None where nobody has said whom to trust.
pub(crate) fn input(reader: &mut Reader<'_>, name: &str) -> Option<TrustInput> {
    if name != ROOT_CA {
        return None;
    }
    let trust = reader.trust();
    (!trust.roots.is_empty()).then(|| TrustInput(trust.clone()))
}

pub(crate) fn secret(TrustInput(trust): &TrustInput) -> tls::Secret {
    let inline = |text: &str| {
        Some(core::DataSource {
            specifier: Some(Specifier::InlineString(text.to_owned())),
            ..Default::default()
        })
    };
    let Trust { roots, revocations } = trust;
    let mut context = tls::CertificateValidationContext {
        trusted_ca: inline(roots),
        ..Default::default()
    };
    if let Some(Revoked { lists, leaf_only }) = revocations {
        context.crl = inline(lists);
        context.only_verify_leaf_cert_crl = *leaf_only;
    }
    tls::Secret {
        name: ROOT_CA.into(),
        r#type: Some(tls::secret::Type::ValidationContext(context)),
    }
}
