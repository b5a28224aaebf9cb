//! Whom the mesh trusts: told to everybody, and changed when everybody follows.

use leno_proto::control::{RootRequest, RootResponse};
use leno_proto::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use leno_proto::{FromAny, type_url};
use tonic::{Code, Status};

use crate::certificates::identity;
use crate::dashboard::get;
use crate::rig::{Proxy, Rig, node};

const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";
const ROOTCA: (&str, &str) = (type_url::SECRET, "ROOTCA");

async fn step(rig: &Rig, step: &str) -> Result<RootResponse, Status> {
    let request = RootRequest {
        step: step.to_owned(),
    };
    rig.mesh()
        .await
        .root(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn web(rig: &Rig, subscriptions: &[(&str, &str)]) -> Proxy {
    let web = identity(rig, WEB).await;
    Proxy::connect(
        rig.secure(Some(web)).await,
        node("web-1", "web", None),
        subscriptions,
    )
    .await
}

/// Roots that the proxy was told to trust.
fn trusted(proxy: &Proxy) -> usize {
    let Some(body) = proxy.body(ROOTCA.0, ROOTCA.1) else {
        return 0;
    };
    let secret: Secret = body.unpack().unwrap();
    let Some(secret::Type::ValidationContext(context)) = secret.r#type else {
        panic!("{}", secret.name)
    };
    format!("{context:?}").matches("BEGIN CERTIFICATE").count()
}

/// Asks until it is not refused any more: an acknowledgement is on its way.
async fn taken(rig: &Rig, name: &str) -> RootResponse {
    let taken = async {
        loop {
            match step(rig, name).await {
                Ok(taken) => return taken,
                Err(refused) => assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}"),
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), taken)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_step_is_refused_while_a_proxy_does_not_follow_and_names_it() {
    let rig = Rig::start(&[]).await;
    let mut web = web(&rig, &[ROOTCA]).await;
    web.until("the root", |web| trusted(web) == 1).await;
    assert_eq!(step(&rig, "stage").await.unwrap().stage, "staged");
    let refused = step(&rig, "switch").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for part in [
        "1 of the mesh do not follow",
        "web-1.default",
        "has not taken it yet",
    ] {
        assert!(refused.message().contains(part), "{}", refused.message());
    }
    assert_eq!(step(&rig, "").await.unwrap().lagging[0].workload, "web-1.default");

    web.until("both roots", |web| trusted(web) == 2).await;
    assert_eq!(taken(&rig, "switch").await.stage, "switched");
    let refused = step(&rig, "retire").await.unwrap_err();
    assert!(
        refused.message().contains("web-1.default"),
        "{}",
        refused.message()
    );
    let order = web.pushed.len();
    web.until("the other order", |web| web.pushed.len() > order).await;
    let done = taken(&rig, "retire").await;
    assert_eq!((done.stage.as_str(), done.certificates.len()), ("settled", 1));
    web.until("the new root alone", |web| trusted(web) == 1).await;

    let told = rig.audited(4).await;
    let events = told.iter().filter_map(|line| line["event"].as_str());
    let events: Vec<&str> = events.filter(|event| event.starts_with("root.")).collect();
    assert_eq!(events, ["root.staged", "root.switched", "root.retired"]);
}

#[tokio::test]
async fn who_does_not_ask_whom_to_trust_or_is_away_lags() {
    let rig = Rig::start(&[]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let who = identity(&rig, WEB).await;
    let channel = rig.secure(Some(who)).await;
    let mut old = Proxy::connect(
        channel,
        node("web-1", "web", Some(port)),
        &[(type_url::LISTENER, "x")],
    )
    .await;
    old.next().await.unwrap();
    let lagging = async || step(&rig, "").await.unwrap().lagging;
    let told = lagging().await;
    assert!(
        told.len() == 1 && told[0].why.contains("does not ask whom to trust"),
        "{told:?}"
    );
    assert!(step(&rig, "stage").await.is_ok());
    assert!(step(&rig, "switch").await.is_err());

    // Its address answers, so that it is in the mesh; what it trusts nobody knows.
    drop(old);
    let away = async {
        loop {
            let told = lagging().await;
            if told.iter().any(|one| one.why.contains("is not connected")) {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), away)
        .await
        .unwrap();
    drop(listener);
}

#[tokio::test]
async fn the_root_is_the_operators_alone() {
    let rig = Rig::start(&[]).await;
    let who = identity(&rig, WEB).await;
    let channel = rig.secure(Some(who)).await;
    let mut client = leno_proto::control::mesh_client::MeshClient::new(channel);
    let request = RootRequest { step: "stage".into() };
    let refused = client.root(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert_eq!(step(&rig, "").await.unwrap().stage, "settled");
    let none = step(&rig, "turn").await.unwrap_err();
    assert!(
        none.message().contains("use stage, switch, retire or abort"),
        "{none}"
    );
}

#[tokio::test]
async fn a_workload_gets_no_secret_but_whom_to_trust() {
    let gateway = "apiVersion: v1
kind: Secret
metadata: {name: shop-tls}
type: kubernetes.io/tls
data: {tls.crt: '', tls.key: ''}
";
    let rig = Rig::start(&[("secret.yaml", gateway)]).await;
    let names = [
        "default",
        "kubernetes://shop-tls",
        "kubernetes://default/shop-tls",
        "spiffe://cluster.local/ns/default/sa/bank",
        "file-cert:/etc/passwd~/etc/shadow",
    ];
    let mut subscriptions: Vec<(&str, &str)> = names.map(|name| (type_url::SECRET, name)).to_vec();
    subscriptions.push(ROOTCA);
    let mut web = web(&rig, &subscriptions).await;
    web.until("an answer for each", |web| {
        names
            .iter()
            .all(|name| web.client.lookup(type_url::SECRET, name) == leno_xds::Lookup::Absent)
    })
    .await;
    web.until("whom to trust", |web| web.has(ROOTCA.0, ROOTCA.1))
        .await;
    let secrets: Vec<_> = web
        .kept
        .keys()
        .filter(|(kind, _)| kind == type_url::SECRET)
        .collect();
    assert_eq!(secrets.len(), 1, "{secrets:?}");
    let body = format!("{:?}", web.body(ROOTCA.0, ROOTCA.1).unwrap().value);
    assert!(!body.contains("PRIVATE KEY"));
}

#[tokio::test]
async fn metrics_say_when_the_root_ends() {
    let rig = Rig::start(&[]).await;
    let (_, _, text) = get(rig.control.admin, "/metrics").await;
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("{name}: {text}"))
    };
    let years = value("citadel_server_root_cert_expiry_seconds") / (365.0 * 86_400.0);
    assert!((9.9..10.1).contains(&years), "{years}");
    assert!(value("citadel_server_root_cert_expiry_timestamp") > 1_767_225_600.0);
}
