//! Secrets that hold a certificate and its key, or roots.

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

/// One that has roots alone has neither chain nor key.
pub(crate) fn secrets(objects: &[&Arc<Object>]) -> BTreeMap<SecretName, Arc<GatewaySecret>> {
    let specs = of_kind(objects, |spec| match spec {
        Spec::Secret(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut secrets: BTreeMap<SecretName, GatewaySecret> = BTreeMap::new();
    for (object, spec) in &specs {
        let (chain, key, roots) = (spec.value(CERTIFICATE), spec.value(KEY), spec.value(ROOTS));
        let (chain, key) = match chain.zip(key) {
            Some(both) => both,
            None if roots.is_some() => Default::default(),
            None => continue,
        };
        let name = (object.key.namespace.to_string(), object.key.name.to_string());
        let secret = GatewaySecret {
            origin: origin(object),
            chain,
            key,
            roots,
        };
        secrets.insert(name, secret);
    }
    let beside: Vec<(SecretName, GatewaySecret)> = secrets
        .iter()
        .filter_map(|((namespace, name), secret)| {
            let of = name.strip_suffix(ROOTS_SUFFIX)?;
            Some(((namespace.clone(), of.to_owned()), secret.clone()))
        })
        .collect();
    for (name, beside) in beside {
        match secrets.get_mut(&name) {
            Some(secret) if secret.roots.is_none() => secret.roots = beside.roots,
            Some(_) => {}
            None => {
                let only_roots = GatewaySecret {
                    chain: Vec::new(),
                    key: Vec::new(),
                    ..beside
                };
                secrets.insert(name, only_roots);
            }
        }
    }
    secrets
        .into_iter()
        .map(|(name, secret)| (name, Arc::new(secret)))
        .collect()
}
