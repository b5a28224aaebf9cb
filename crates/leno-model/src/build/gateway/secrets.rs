//! Secrets that hold a certificate and its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::validate::secret::{CERTIFICATE, KEY, ROOTS};
use leno_api::{Object, Spec};

use crate::build::{of_kind, origin};
use crate::gateway::GatewaySecret;

/// Namespace and name.
pub(crate) type SecretName = (String, String);

/// The suffix of a Secret of its own for the roots, as Istio allows.
const ROOTS_SUFFIX: &str = "-cacert";

pub(crate) fn secrets(objects: &[&Arc<Object>]) -> BTreeMap<SecretName, Arc<GatewaySecret>> {
    let specs = of_kind(objects, |spec| match spec {
        Spec::Secret(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let named = |object: &Object| (object.key.namespace.to_string(), object.key.name.to_string());
    let roots: BTreeMap<SecretName, Vec<u8>> = specs
        .iter()
        .filter_map(|(object, spec)| Some((named(object), spec.value(ROOTS)?)))
        .collect();
    let with_key = specs.iter().filter_map(|(object, spec)| {
        let name = named(object);
        let beside = (name.0.clone(), format!("{}{ROOTS_SUFFIX}", name.1));
        let secret = GatewaySecret {
            origin: origin(object),
            chain: spec.value(CERTIFICATE)?,
            key: spec.value(KEY)?,
            roots: roots.get(&name).or_else(|| roots.get(&beside)).cloned(),
        };
        Some((name, Arc::new(secret)))
    });
    with_key.collect()
}
