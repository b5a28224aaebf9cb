//! Two hundred workloads on the page: still readable, searchable, and on the keyboard.

use std::time::Duration;

use leno_proto::control::{Edge, Peer};
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::google::protobuf::value::Kind;
use leno_testkit::{Browser, OrdinaryUser, Scheme};

use crate::dashboard::{ask_until, attach, connect, tell};
use crate::rig::{Rig, node, structure, text};

const NAMESPACES: [&str; 5] = ["catalog", "checkout", "identity", "payments", "shipping"];
const ROLES: [&str; 20] = [
    "gateway", "web", "api", "worker", "search", "index", "pricing", "stock", "cart", "session", "users",
    "tokens", "ledger", "fraud", "notify", "mail", "events", "audit", "cache", "store",
];
const VERSIONS: [&str; 2] = ["v1", "v2"];

/// A service, by its number: the first ones call, the last ones are called.
fn service(number: usize) -> (String, &'static str) {
    let namespace = NAMESPACES[number % NAMESPACES.len()];
    (
        format!("{namespace}-{}", ROLES[number / NAMESPACES.len()]),
        namespace,
    )
}

fn workload(number: usize, version: &str) -> Node {
    let (app, namespace) = service(number);
    let name = format!("{app}-{version}");
    let mut node = node(&name, &app, Some(1));
    node.id = format!("sidecar~127.0.0.1~{name}-0.{namespace}~{namespace}.svc.cluster.local");
    let fields = &mut node.metadata.as_mut().unwrap().fields;
    fields.insert("NAMESPACE".to_owned(), text(namespace));
    let labels = structure(vec![("app", text(&app)), ("version", text(version))]);
    assert!(matches!(labels.kind, Some(Kind::StructValue(_))));
    fields.insert("LABELS".to_owned(), labels);
    node
}

fn peer(number: usize, version: &str) -> Option<Peer> {
    let (app, namespace) = service(number);
    Some(Peer {
        workload: format!("{app}-{version}"),
        principal: format!("spiffe://cluster.local/ns/{namespace}/sa/{app}"),
        app,
        version: version.to_owned(),
        namespace: namespace.to_owned(),
    })
}

/// Whom a service calls: some of the next tier of its own namespace, now and then one of a neighbour's.
fn callees(number: usize) -> Vec<usize> {
    let namespaces = NAMESPACES.len();
    let (role, namespace) = (number / namespaces, number % namespaces);
    // Four roles a tier.
    let next = (role / 4 + 1) * 4;
    let own = (0..2 + role % 2).map(|call| (next + (role * 3 + call * 5 + namespace) % 4, namespace));
    let other = number
        .is_multiple_of(6)
        .then_some((next + number % 4, (namespace + 1) % namespaces));
    let called = own.chain(other).filter(|(role, _)| *role < ROLES.len());
    called
        .map(|(role, namespace)| role * namespaces + namespace)
        .collect()
}

/// What a workload's proxy tells after this many rounds.
fn edges(number: usize, version: &str, round: u64) -> Vec<Edge> {
    let mut edges = Vec::new();
    for callee in callees(number) {
        for called in VERSIONS {
            let requests = round * (1 + (callee as u64 * 7) % 23);
            // One service fails, one is called in plaintext.
            let failures = if callee == 52 { requests / 4 } else { 0 };
            let (to, namespace) = service(callee);
            edges.push(Edge {
                id: edges.len() as u32 + 1,
                source: peer(number, version),
                destination: peer(callee, called),
                destination_service: format!("{to}.{namespace}.svc.cluster.local"),
                reporter: "source".to_owned(),
                protocol: "http".to_owned(),
                mtls: callee != 64,
                requests,
                failures,
                latency: vec![0, 0, requests / 2, requests / 3, requests / 9],
                ..Default::default()
            });
        }
    }
    edges
}

async fn mesh() -> Rig {
    let rig = Rig::start(&[]).await;
    for number in 0..NAMESPACES.len() * ROLES.len() {
        for version in VERSIONS {
            // A server allows so many streams on a connection and no more.
            let channel = rig.plaintext().await;
            let node = workload(number, version);
            connect(channel.clone(), node.clone()).await;
            let reports = attach(channel, &node).await;
            tokio::spawn(async move {
                for round in 1.. {
                    tell(&reports, edges(number, version, round)).await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
    }
    rig
}

/// No card lies over another, and all are within the picture.
const NOTHING_OVERLAPS: &str = "(() => {
    const rects = [...document.querySelectorAll('[data-node] .card')].map((card) => card.getBoundingClientRect());
    const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
    return rects.every((a, at) => rects.slice(at + 1).every((b) => apart(a, b)));
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_workloads_stay_readable() {
    let rig = mesh().await;
    let admin = rig.control.admin;
    let all = |answer: &serde_json::Value| {
        answer["overview"]["ready"] == 200
            && answer["data"]["edges"].as_array().is_some_and(|e| e.len() > 140)
    };
    let seen = ask_until(admin, "topology", all).await;
    assert_eq!(
        (&seen["data"]["level"], &seen["data"]["automatic"]),
        (&"services".into(), &true.into())
    );
    let looked = tokio::task::spawn_blocking(move || look(&format!("http://{admin}/dashboard/")));
    looked.await.unwrap();
}

fn look(url: &str) {
    let user = OrdinaryUser::new();
    let profile = user.home().join("chromium");
    let Some(mut browser) = Browser::start("two_hundred_workloads_stay_readable", &profile, |p| {
        user.command(p)
    }) else {
        return;
    };
    browser.size(1440, 900);
    browser.open(url);
    browser.wait_until("document.querySelectorAll('[data-node]').length == 100");
    browser.wait_until("document.querySelectorAll('.group').length == 5");
    assert_eq!(browser.value(NOTHING_OVERLAPS), true);
    browser.wait_until("document.querySelectorAll('.edge.error').length > 0 && document.querySelectorAll('.edge.plaintext').length > 0");
    browser.keep("dashboard-200");
    browser.scheme(Scheme::Dark);
    browser.keep("dashboard-200-dark");
    browser.scheme(Scheme::Light);

    // By keyboard alone: search, go there, on to a neighbour.
    browser.press("/");
    assert_eq!(browser.value("document.activeElement.type"), "search");
    for letter in "ments-fraud".chars() {
        browser.press(&letter.to_string());
    }
    browser.wait_until("document.querySelectorAll('[data-node]:not(.dim)').length == 1");
    browser.press("Enter");
    browser.wait_until("document.querySelector('.details h2')?.textContent == 'payments-fraud'");
    browser.wait_until("document.querySelector('.node.chosen .name').getBoundingClientRect().height > 10");
    browser.keep("dashboard-200-chosen");
    browser.value("document.querySelector('.search input').value = ''; document.querySelector('.search input').dispatchEvent(new Event('input'))");
    browser.value("document.querySelector('.node.chosen').focus()");
    browser.press("ArrowLeft");
    browser.wait_until("document.activeElement.dataset.node && document.activeElement.dataset.node != 'payments/payments-fraud'");
    browser.press("Escape");
    browser.wait_until("document.querySelector('.details') === null");

    // Around one service only, then every version, then whole namespaces.
    browser.value("document.querySelector('[data-node=\"payments/payments-store\"]').dispatchEvent(new MouseEvent('click', {bubbles: true}))");
    browser.value("document.querySelector('.details .wide').click()");
    browser.wait_until("document.querySelectorAll('[data-node]').length < 12 && document.querySelector('.toolbar .chip') !== null");
    browser.keep("dashboard-200-focus");
    browser.value("document.querySelector('.toolbar .chip').click()");
    level(&mut browser, "Versions");
    browser.wait_until("document.querySelectorAll('[data-row]').length == 200");
    assert_eq!(browser.value(NOTHING_OVERLAPS), true);
    level(&mut browser, "Namespaces");
    browser.wait_until("document.querySelectorAll('[data-node]').length == 5");
    browser.keep("dashboard-200-namespaces");

    browser.open(&format!("{url}#/workloads"));
    browser.wait_until("document.querySelectorAll('tbody tr').length == 200");
    browser.keep("dashboard-200-workloads");
}

fn level(browser: &mut Browser, name: &str) {
    browser.value(&format!(
        "[...document.querySelectorAll('.segments button')].find((b) => b.textContent.startsWith('{name}')).click()"
    ));
}
