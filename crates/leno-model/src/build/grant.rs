//! ReferenceGrant: who may refer to what in another namespace.

use std::sync::Arc;

use leno_api::kinds::gateway_api::ReferenceGrantSpec;
use leno_api::{Object, Spec};

use super::of_kind;

#[derive(Default)]
pub(crate) struct Grants {
    /// Namespace of the grant.
    grants: Vec<(String, ReferenceGrantSpec)>,
}

impl Grants {
    pub(crate) fn new(objects: &[&Arc<Object>]) -> Self {
        let specs = of_kind(objects, |spec| match spec {
            Spec::ReferenceGrant(spec) => Some(spec.as_ref()),
            _ => None,
        });
        let grants = specs.into_iter();
        Self {
            grants: grants
                .map(|(object, spec)| (object.key.namespace.to_string(), spec.clone()))
                .collect(),
        }
    }

    /// `from`: group, kind and namespace; `to`: group, kind, namespace and name.
    pub(crate) fn allows(&self, from: (&str, &str, &str), to: (&str, &str, &str, &str)) -> bool {
        let (group, kind, namespace, name) = to;
        let mut there = self.grants.iter().filter(|(of, _)| of == namespace);
        there.any(|(_, grant)| {
            let mut froms = grant.from.iter();
            let mut tos = grant.to.iter();
            froms.any(|one| (one.group.as_str(), one.kind.as_str(), one.namespace.as_str()) == from)
                && tos.any(|one| {
                    (one.group.as_str(), one.kind.as_str()) == (group, kind)
                        && one.name.as_ref().is_none_or(|wanted| wanted == name)
                })
        })
    }
}
