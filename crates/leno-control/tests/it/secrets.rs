//! Keys of gateways: told to the gateway that serves what names them, and to nobody else who asks.

use std::process::Command;

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::type_url;
use leno_xds::Lookup;
use tonic::transport::Channel;

use crate::certificates::identity;
use crate::rig::{Proxy, Rig, node, structure, text};

const SHOP: &str = "kubernetes://default/shop-tls";
const INNER: &str = "kubernetes://default/inner-tls";
const ELSEWHERE: &str = "kubernetes://elsewhere/shop-tls";

const GATEWAYS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: shop-tls}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: inner}
spec:
  selector: {istio: innergateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: inner-tls}}]
";

/// With a certificate of its own.
fn secret(namespace: &str, name: &str) -> String {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$0 -keyout /dev/stdout -out /dev/stdout 2>/dev/null";
    let output = Command::new("sh").args(["-c", script, name]).output().unwrap();
    let pem = String::from_utf8(output.stdout).unwrap();
    let at = pem.find("-----BEGIN CERTIFICATE").unwrap();
    let indented = |pem: &str| {
        pem.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let (key, certificate) = (indented(&pem[..at]), indented(&pem[at..]));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{certificate}  tls.key: |\n{key}"
    )
}

/// A gateway that carries this label.
fn gateway(name: &str, namespace: &str, label: &str) -> Node {
    let mut node = node(name, "edge", None);
    node.id = format!("router~127.0.0.1~{name}.{namespace}~{namespace}.svc.cluster.local");
    let fields = &mut node.metadata.as_mut().unwrap().fields;
    fields.insert("NAMESPACE".into(), text(namespace));
    fields.insert("LABELS".into(), structure(vec![("istio", text(label))]));
    node
}

/// Which of these it is told, with a key, once all are answered.
async fn told(channel: Channel, node: Node) -> Vec<&'static str> {
    let names = [SHOP, INNER, ELSEWHERE];
    let subscriptions = names.map(|name| (type_url::SECRET, name));
    let mut proxy = Proxy::connect(channel, node, &subscriptions).await;
    proxy
        .until("an answer for each", |proxy| {
            let asked = |name: &&str| proxy.client.lookup(type_url::SECRET, name);
            names
                .iter()
                .all(|name| proxy.has(type_url::SECRET, name) || asked(name) == Lookup::Absent)
        })
        .await;
    let has_key = |name: &&str| {
        let body = proxy.body(type_url::SECRET, name);
        body.is_some_and(|body| String::from_utf8_lossy(&body.value).contains("PRIVATE KEY"))
    };
    names.into_iter().filter(has_key).collect()
}

#[tokio::test]
async fn a_gateway_is_told_its_own_keys_and_nobody_those_of_another() {
    let secrets = [
        ("default", "shop-tls"),
        ("default", "inner-tls"),
        ("elsewhere", "shop-tls"),
    ];
    let secrets = secrets
        .map(|(namespace, name)| secret(namespace, name))
        .join("---\n");
    let rig = Rig::start(&[("gateways.yaml", GATEWAYS), ("secrets.yaml", &secrets)]).await;
    let edge = async |namespace: &str| {
        let id = format!("spiffe://cluster.local/ns/{namespace}/sa/edge");
        rig.secure(Some(identity(&rig, &id).await)).await
    };
    let own = told(
        edge("default").await,
        gateway("gate-1", "default", "ingressgateway"),
    )
    .await;
    assert_eq!(own, [SHOP]);
    let another = told(
        edge("default").await,
        gateway("gate-2", "default", "innergateway"),
    )
    .await;
    assert_eq!(another, [INNER]);
    let elsewhere = told(
        edge("elsewhere").await,
        gateway("gate-3", "elsewhere", "ingressgateway"),
    )
    .await;
    assert_eq!(elsewhere, [ELSEWHERE]);
    // Who has not proved who it is, a sidecar, and a gateway of nothing.
    let unproven = told(
        rig.plaintext().await,
        gateway("gate-4", "default", "ingressgateway"),
    )
    .await;
    assert_eq!(unproven, [""; 0]);
    let sidecar = told(edge("default").await, node("edge-1", "edge", None)).await;
    assert_eq!(sidecar, [""; 0]);
    let idle = told(edge("default").await, gateway("gate-5", "default", "somebody")).await;
    assert_eq!(idle, [""; 0]);
}

#[tokio::test]
async fn a_gateway_of_another_namespace_is_no_gateway_of_this_one() {
    let rig = Rig::start(&[
        ("gateways.yaml", GATEWAYS),
        ("secrets.yaml", &secret("default", "shop-tls")),
    ])
    .await;
    let elsewhere = identity(&rig, "spiffe://cluster.local/ns/elsewhere/sa/edge").await;
    // It says that it is one of the namespace whose key it wants.
    let mut client = leno_xds::Client::new(gateway("gate-1", "default", "ingressgateway"));
    client.subscribe(type_url::SECRET, SHOP);
    let mut proxy = Proxy::open(rig.secure(Some(elsewhere)).await, client)
        .await
        .unwrap();
    let refused = proxy.next().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(
        refused.message().contains("ns/default/sa/edge")
            && refused.message().contains("ns/elsewhere/sa/edge"),
        "{refused}"
    );
}
