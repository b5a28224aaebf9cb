//! The objects of the configuration with what became of them, for `leno get`.

use std::collections::{BTreeMap, HashSet};

use leno_api::{Code, Diagnostic, Kind, Object, ObjectKey, Severity};
use leno_proto::control;

/// Every kind, with the names that people type for it beside its own, its plural first.
const KINDS: [(Kind, &[&str]); 26] = [
    (Kind::Service, &["services", "svc"]),
    (Kind::ServiceEntry, &["serviceentries", "se"]),
    (Kind::Sidecar, &["sidecars"]),
    (Kind::VirtualService, &["virtualservices", "vs"]),
    (Kind::DestinationRule, &["destinationrules", "dr"]),
    (Kind::HttpRoute, &["httproutes", "route", "routes"]),
    (Kind::Gateway, &["gateways", "gw"]),
    (Kind::KubernetesGateway, &["gateways", "gw", "gtw"]),
    (Kind::GatewayClass, &["gatewayclasses", "gc"]),
    (Kind::ReferenceGrant, &["referencegrants", "refgrant"]),
    (Kind::PeerAuthentication, &["peerauthentications", "pa"]),
    (
        Kind::AuthorizationPolicy,
        &["authorizationpolicies", "ap", "authz"],
    ),
    (Kind::RequestAuthentication, &["requestauthentications", "ra"]),
    (Kind::Secret, &["secrets"]),
    (Kind::Namespace, &["namespaces", "ns"]),
    (Kind::MeshConfig, &["meshconfigs", "mesh"]),
    (Kind::WorkloadEntry, &["workloadentries", "we"]),
    (Kind::WorkloadGroup, &["workloadgroups", "wg"]),
    (Kind::EndpointSlice, &["endpointslices", "eps"]),
    (Kind::Node, &["nodes", "no"]),
    (Kind::EnvoyFilter, &["envoyfilters", "ef"]),
    (Kind::Ingress, &["ingresses", "ing"]),
    (Kind::IngressClass, &["ingressclasses"]),
    (Kind::ProxyConfig, &["proxyconfigs"]),
    (Kind::Telemetry, &["telemetries", "telemetry"]),
    (Kind::WasmPlugin, &["wasmplugins"]),
];

/// Of which kinds, with which name and in which namespace; empty: any.
#[derive(Debug)]
pub(crate) struct Asked {
    kinds: Vec<Kind>,
    name: String,
    namespace: String,
}

/// What is asked for that cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("\"{kind}\" is no kind — KIND — {near}it is one of {}, or all", names())]
    Kind { kind: String, near: String },
    #[error("there is no {kind} {name} — NAME — {near}`leno get {kind}` lists what there is")]
    Name {
        kind: String,
        name: String,
        near: String,
    },
}

// === impl Asked ===

impl Asked {
    pub(crate) fn parse(request: &control::ObjectsRequest) -> Result<Self, Unknown> {
        let kind = request.kind.to_ascii_lowercase();
        let is_meant = |(known, names): &&(Kind, &[&str])| {
            kind == "all" || known.as_str().to_ascii_lowercase() == kind || names.contains(&kind.as_str())
        };
        let kinds: Vec<Kind> = KINDS.iter().filter(is_meant).map(|(known, _)| *known).collect();
        if kinds.is_empty() {
            return Err(Unknown::Kind {
                near: near(&kind, KINDS.iter().flat_map(|(_, names)| names.iter().copied())),
                kind,
            });
        }
        let (name, namespace) = match request.name.split_once('.') {
            Some((name, namespace)) if request.namespace.is_empty() => (name, namespace),
            _ => (request.name.as_str(), request.namespace.as_str()),
        };
        Ok(Self {
            kinds,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
    }

    fn is_of(&self, key: &ObjectKey) -> bool {
        self.kinds.contains(&key.kind)
            && (self.name.is_empty() || *self.name == *key.name)
            && (self.namespace.is_empty() || *self.namespace == *key.namespace)
    }
}

/// What there is of it, in force or refused; a name that nothing has is an error.
pub(crate) fn objects<'o>(
    asked: &Asked,
    request: &control::ObjectsRequest,
    in_force: impl Iterator<Item = &'o Object>,
    diagnostics: Vec<Diagnostic>,
) -> Result<control::ObjectsResponse, Unknown> {
    let mut said: BTreeMap<ObjectKey, Vec<Diagnostic>> = BTreeMap::new();
    let mut others = Vec::new();
    for diagnostic in diagnostics {
        match diagnostic.object.clone() {
            Some(key) => said.entry(key).or_default().push(diagnostic),
            None => others.push(diagnostic),
        }
    }
    let mut names = Vec::new();
    let mut found: BTreeMap<ObjectKey, control::Object> = BTreeMap::new();
    let mut known = HashSet::new();
    for object in in_force {
        known.insert(object.key.clone());
        names.push(object.key.name.to_string());
        if asked.is_of(&object.key) {
            let of_object = said.get(&object.key).map_or(&[][..], Vec::as_slice);
            let told = told(&object.key, status(of_object), of_object);
            let told = control::Object {
                place: object.place().to_string(),
                yaml: object.yaml(),
                ..told
            };
            found.insert(object.key.clone(), told);
        }
    }
    for (key, of_object) in said.iter().filter(|(key, _)| !known.contains(key)) {
        names.push(key.name.to_string());
        let refused = of_object.iter().any(Diagnostic::is_error);
        if refused && asked.is_of(key) {
            found.insert(key.clone(), told(key, "rejected", of_object));
        }
    }
    if found.is_empty() && !asked.name.is_empty() {
        return Err(Unknown::Name {
            kind: request.kind.clone(),
            name: request.name.clone(),
            near: near(&asked.name, names.iter().map(String::as_str)),
        });
    }
    Ok(control::ObjectsResponse {
        objects: found.into_values().collect(),
        others: others.iter().map(diagnostic).collect(),
    })
}

fn status(said: &[Diagnostic]) -> &'static str {
    if said.iter().any(|found| found.code == Code::LastGoodKept) {
        return "stale";
    }
    match said.iter().map(|found| found.severity).max() {
        Some(Severity::Error) => "error",
        Some(Severity::Warning) => "warning",
        Some(Severity::Info) | None => "accepted",
    }
}

fn told(key: &ObjectKey, status: &str, said: &[Diagnostic]) -> control::Object {
    control::Object {
        kind: key.kind.to_string(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        place: said
            .first()
            .map(|found| found.place.to_string())
            .unwrap_or_default(),
        status: status.to_owned(),
        diagnostics: said.iter().map(diagnostic).collect(),
        yaml: String::new(),
    }
}

fn diagnostic(found: &Diagnostic) -> control::Diagnostic {
    control::Diagnostic {
        code: found.code.to_string(),
        severity: found.severity.to_string(),
        place: found.place.to_string(),
        object: found.object.as_ref().map(ToString::to_string).unwrap_or_default(),
        message: found.message.clone(),
        hint: found.hint.clone(),
    }
}

fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = leno_api::nearest(name, known);
    near.map(|near| format!("did you mean {near}? "))
        .unwrap_or_default()
}

/// The plural of each.
fn names() -> String {
    let mut names: Vec<&str> = KINDS
        .iter()
        .filter_map(|(_, names)| names.first().copied())
        .collect();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: &str, name: &str, namespace: &str) -> control::ObjectsRequest {
        control::ObjectsRequest {
            kind: kind.into(),
            name: name.into(),
            namespace: namespace.into(),
        }
    }

    #[test]
    fn kinds_have_short_names_and_near_ones_are_told() {
        for (kind, meant) in [
            ("vs", Kind::VirtualService),
            ("VirtualService", Kind::VirtualService),
            ("svc", Kind::Service),
            ("httproute", Kind::HttpRoute),
            ("dr", Kind::DestinationRule),
        ] {
            assert_eq!(
                Asked::parse(&asked(kind, "", "")).unwrap().kinds,
                [meant],
                "{kind}"
            );
        }
        let gateways = Asked::parse(&asked("gw", "", "")).unwrap().kinds;
        assert_eq!(gateways, [Kind::Gateway, Kind::KubernetesGateway]);
        assert_eq!(
            Asked::parse(&asked("all", "", "")).unwrap().kinds.len(),
            KINDS.len()
        );
        let unknown = Asked::parse(&asked("virtualservics", "", ""))
            .unwrap_err()
            .to_string();
        assert!(unknown.contains("did you mean virtualservices?"), "{unknown}");
    }

    #[test]
    fn an_object_is_accepted_warned_of_kept_or_rejected() {
        let file = "a.yaml";
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {ports: [{port: 80}]}\n";
        let read = leno_api::parse(file, text.as_bytes());
        let object = &read.objects[0];
        let found = |code, severity| object.report(code, severity, "spec", "bad");
        let status = |found: Vec<Diagnostic>| {
            let request = asked("svc", "reviews", "");
            let parsed = Asked::parse(&request).unwrap();
            let answer = objects(&parsed, &request, [object].into_iter(), found).unwrap();
            answer.objects[0].status.clone()
        };
        assert_eq!(status(vec![]), "accepted");
        assert_eq!(
            status(vec![found(Code::NotSelected, Severity::Warning)]),
            "warning"
        );
        assert_eq!(
            status(vec![found(Code::AddressesExhausted, Severity::Error)]),
            "error"
        );
        assert_eq!(status(vec![found(Code::LastGoodKept, Severity::Info)]), "stale");

        let request = asked("svc", "reviews", "");
        let parsed = Asked::parse(&request).unwrap();
        let broken = vec![found(Code::AddressesExhausted, Severity::Error)];
        let refused = objects(&parsed, &request, std::iter::empty(), broken).unwrap();
        assert_eq!(refused.objects[0].status, "rejected");
        let request = asked("svc", "reviewz", "");
        let parsed = Asked::parse(&request).unwrap();
        let nothing = objects(&parsed, &request, [object].into_iter(), vec![]).unwrap_err();
        assert!(nothing.to_string().contains("did you mean reviews?"), "{nothing}");
    }
}
