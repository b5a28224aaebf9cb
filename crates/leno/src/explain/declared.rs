//! Pods that the files declare: what would run there, for a mesh that does not run. Of a Deployment only its pod template
//! counts: labels, service account, ports.

use std::collections::BTreeMap;

use leno_api::node::{Node, Value, documents};

/// A pod, or the pods of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub service_account: String,
    /// Port and name.
    pub ports: Vec<(u16, String)>,
    /// A sidecar stands beside it.
    pub injected: bool,
    /// `Deployment/default/reviews-v1`
    pub object: String,
    /// `file:line`
    pub place: String,
}

/// Everything that the text declares; what cannot be read declares nothing.
pub fn declared(file: &str, content: &[u8]) -> Vec<Declared> {
    let Ok(text) = std::str::from_utf8(content) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for document in documents(text).into_iter().flatten() {
        let items = match document.get("items").map(|items| &items.value) {
            Some(Value::List(items)) => items.as_slice(),
            _ => std::slice::from_ref(&document),
        };
        found.extend(items.iter().filter_map(|item| one(file, item)));
    }
    found
}

fn one(file: &str, document: &Node) -> Option<Declared> {
    let (api, kind) = (text(document, "apiVersion")?, text(document, "kind")?);
    let template = match (api, kind) {
        ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            document.get("spec")?.get("template")?
        }
        ("v1", "Pod") => document,
        _ => return None,
    };
    let metadata = document.get("metadata")?;
    let name = text(metadata, "name")?.to_owned();
    let namespace = text(metadata, "namespace").unwrap_or("default").to_owned();
    let labels = template
        .get("metadata")
        .map(|m| strings(m, "labels"))
        .unwrap_or_default();
    let annotations = template
        .get("metadata")
        .map(|m| strings(m, "annotations"))
        .unwrap_or_default();
    const INJECT: &str = "sidecar.istio.io/inject";
    let injected = labels
        .get(INJECT)
        .or(annotations.get(INJECT))
        .is_none_or(|said| said != "false");
    let pod = template.get("spec");
    let account = pod.and_then(|pod| text(pod, "serviceAccountName"));
    Some(Declared {
        object: format!("{kind}/{namespace}/{name}"),
        place: format!("{file}:{}", document.pos.line),
        service_account: account.unwrap_or("default").to_owned(),
        ports: pod.map(ports).unwrap_or_default(),
        name,
        namespace,
        labels,
        injected,
    })
}

fn ports(pod: &Node) -> Vec<(u16, String)> {
    let containers = list(pod, "containers").iter();
    let ports = containers.flat_map(|container| list(container, "ports"));
    ports
        .filter_map(|port| {
            let number = port.get("containerPort")?;
            let number = match &number.value {
                Value::Int(number) => u16::try_from(*number).ok()?,
                _ => return None,
            };
            Some((number, text(port, "name").unwrap_or_default().to_owned()))
        })
        .collect()
}

fn list<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    match node.get(key).map(|list| &list.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key)?.text()
}

fn strings(node: &Node, key: &str) -> BTreeMap<String, String> {
    let Some(Value::Map(entries)) = node.get(key).map(|map| &map.value) else {
        return BTreeMap::new();
    };
    let pairs = entries
        .iter()
        .filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned())));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_declares_its_pods_and_a_service_none() {
        let text = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1, namespace: shop}
spec:
  template:
    metadata: {labels: {app: reviews, version: v1}}
    spec:
      serviceAccountName: bookinfo-reviews
      containers:
      - ports: [{containerPort: 9080, name: http}]
      - image: without-ports
---
apiVersion: v1
kind: Pod
metadata:
  name: bare
  annotations: {sidecar.istio.io/inject: 'false'}
spec: {containers: []}
";
        let found = declared("a.yaml", text.as_bytes());
        let [reviews, bare] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(reviews.object, "Deployment/shop/reviews-v1");
        assert_eq!(reviews.place, "a.yaml:6");
        assert_eq!(reviews.labels["version"], "v1");
        assert_eq!(reviews.service_account, "bookinfo-reviews");
        assert_eq!(reviews.ports, [(9080, "http".to_owned())]);
        assert!(reviews.injected && !bare.injected);
        assert_eq!(
            (bare.namespace.as_str(), bare.service_account.as_str()),
            ("default", "default")
        );
    }

    #[test]
    fn what_cannot_be_read_declares_nothing() {
        assert_eq!(declared("a.yaml", b"\xff"), []);
        assert_eq!(declared("a.yaml", b"a: [\n---\nkind: Pod\n"), []);
        assert_eq!(
            declared("a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: [1]\n"),
            []
        );
    }
}
