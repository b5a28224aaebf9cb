//! PeerAuthentication: what each workload accepts.
//!
//! The narrowest policy decides: of a workload (it has a selector), of its namespace, of the mesh (in the root
//! namespace, without selector). `UNSET` takes over what the next wider one says; ports differ only with a selector.

use std::sync::Arc;

use leno_api::kinds::peer_authentication::{MtlsMode as ApiMode, PeerAuthenticationSpec};
use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use super::{of_kind, origin};
use crate::name::{Labels, Origin};
use crate::policy::{MtlsMode, PeerMtls};
use crate::workload::Workload;

/// All policies, ready to be asked for a workload.
#[derive(Debug, Default)]
pub(crate) struct PeerPolicies {
    root: String,
    policies: Vec<Policy>,
}

#[derive(Debug)]
struct Policy {
    namespace: Arc<str>,
    /// Empty: the whole namespace.
    selector: Labels,
    mode: Option<MtlsMode>,
    ports: Vec<(u16, Option<MtlsMode>)>,
    origin: Origin,
}

impl PeerPolicies {
    pub(crate) fn new(objects: &[&Arc<Object>], root: String, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let specs = of_kind(objects, |spec| match spec {
            Spec::PeerAuthentication(spec) => Some(spec.as_ref()),
            _ => None,
        });
        let mut policies: Vec<Policy> = Vec::new();
        for (object, spec) in specs {
            let policy = policy(object, spec);
            let same =
                |other: &&Policy| other.namespace == policy.namespace && other.selector == policy.selector;
            match policies.iter().find(same) {
                None => policies.push(policy),
                Some(holds) => {
                    let message = format!("{} says the same target's mode already and holds", holds.origin);
                    let found = object.report(Code::PolicyConflict, Severity::Warning, "", message);
                    diagnostics.push(found.hint("keep one of them"));
                }
            }
        }
        Self { root, policies }
    }

    pub(crate) fn effective(&self, workload: &Workload) -> PeerMtls {
        self.of(&workload.namespace, &workload.labels)
    }

    /// What a workload of this namespace with these labels accepts.
    pub(crate) fn of(&self, of_namespace: &str, labels: &Labels) -> PeerMtls {
        let mut result = PeerMtls {
            mode: MtlsMode::Permissive,
            ports: Vec::new(),
            origin: None,
        };
        let wide = |namespace: &str| {
            self.policies
                .iter()
                .find(|policy| &*policy.namespace == namespace && policy.selector.is_empty())
        };
        let narrow = self.policies.iter().find(|policy| {
            let selects = policy
                .selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value));
            *policy.namespace == *of_namespace && !policy.selector.is_empty() && selects
        });
        let namespace = wide(of_namespace).filter(|_| of_namespace != self.root);
        for policy in [wide(&self.root), namespace, narrow].into_iter().flatten() {
            if let Some(mode) = policy.mode {
                result.mode = mode;
                result.origin = Some(policy.origin.clone());
            }
        }
        if let Some(policy) = narrow {
            let ports = policy
                .ports
                .iter()
                .filter_map(|(port, mode)| Some((*port, (*mode)?)));
            result.ports = ports.filter(|(_, mode)| *mode != result.mode).collect();
            if !result.ports.is_empty() {
                result.origin = Some(policy.origin.clone());
            }
        }
        result
    }
}

fn policy(object: &Object, spec: &PeerAuthenticationSpec) -> Policy {
    let ports = spec.port_level_mtls.iter().flatten();
    Policy {
        namespace: object.key.namespace.clone(),
        selector: spec
            .selector
            .as_ref()
            .map(|selector| selector.match_labels.clone())
            .unwrap_or_default(),
        mode: spec.mtls.and_then(|mtls| mode(mtls.mode)),
        ports: ports
            .filter_map(|(key, mtls)| Some((u16::try_from(key.0).ok()?, mode(mtls.mode))))
            .collect(),
        origin: origin(object),
    }
}

fn mode(mode: ApiMode) -> Option<MtlsMode> {
    match mode {
        ApiMode::Unset => None,
        ApiMode::Disable => Some(MtlsMode::Disable),
        ApiMode::Permissive => Some(MtlsMode::Permissive),
        ApiMode::Strict => Some(MtlsMode::Strict),
    }
}
