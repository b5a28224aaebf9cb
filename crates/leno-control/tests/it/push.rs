//! One configuration change reaches those it concerns, with what it concerns.

use leno_proto::FromAny;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_proto::type_url::{CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};

use crate::rig::{Proxy, Rig, node};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: default}
spec:
  selector: {app: ratings}
  ports: [{name: http, port: 9080}]
";
const REVIEWS: &str = "reviews.default.svc.cluster.local:9080";
const RATINGS: &str = "ratings.default.svc.cluster.local:9080";

fn route(timeout: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews]
  http:
  - timeout: {timeout}
    route: [{{destination: {{host: reviews}}}}]
"
    )
}

fn timeout(proxy: &Proxy) -> Option<i64> {
    let body = proxy.body(ROUTE_CONFIGURATION, REVIEWS)?;
    let configuration: RouteConfiguration = body.unpack().unwrap();
    let route = configuration.virtual_hosts.first()?.routes.first()?.clone();
    let Some(leno_proto::envoy::config::route::v3::route::Action::Route(action)) = route.action else {
        return None;
    };
    Some(action.timeout?.seconds)
}

#[tokio::test]
async fn a_changed_route_is_pushed_alone_and_to_whom_it_concerns() {
    let rig = Rig::start(&[("services.yaml", SERVICES), ("route.yaml", &route("7s"))]).await;
    let names = [(ROUTE_CONFIGURATION, REVIEWS), (ROUTE_CONFIGURATION, RATINGS)];
    let mut both = Proxy::connect(rig.plaintext().await, node("a-1", "a", None), &names).await;
    both.until("both routes", |p| p.pushed.len() == 2).await;
    assert_eq!(timeout(&both), Some(7));
    let only = [(ROUTE_CONFIGURATION, RATINGS)];
    let mut other = Proxy::connect(rig.plaintext().await, node("b-1", "b", None), &only).await;
    other.until("its route", |p| p.pushed.len() == 1).await;

    rig.write("route.yaml", &route("9s"));
    both.until("the new timeout", |p| timeout(p) == Some(9)).await;
    assert_eq!(both.pushed.len(), 3, "{:?}", both.pushed);

    // What comes next to the other proxy is what it asks for next: nothing else was on its way.
    other.subscribe(ROUTE_CONFIGURATION, REVIEWS).await;
    other.until("what it asked for", |p| p.pushed.len() == 2).await;
    assert_eq!(other.pushed[1].1, REVIEWS);
}

#[tokio::test]
async fn a_broken_file_leaves_the_last_good_route_and_is_told() {
    let rig = Rig::start(&[("services.yaml", SERVICES), ("route.yaml", &route("7s"))]).await;
    let names = [(ROUTE_CONFIGURATION, REVIEWS)];
    let mut proxy = Proxy::connect(rig.plaintext().await, node("a-1", "a", None), &names).await;
    proxy.until("the route", |p| timeout(p) == Some(7)).await;
    rig.write("route.yaml", "spec: [");
    let mut mesh = rig.mesh().await;
    let told = tokio::time::timeout(crate::rig::PATIENCE, async {
        loop {
            let request = leno_proto::control::StatusRequest {};
            let status = mesh.status(request).await.unwrap().into_inner();
            if let Some(found) = status
                .diagnostics
                .into_iter()
                .find(|d| d.place.contains("route.yaml"))
            {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    assert!(told.await.unwrap().code.starts_with("LN0"));
    // A good change of another file comes through, and the route is still the old one.
    proxy.subscribe(ROUTE_CONFIGURATION, RATINGS).await;
    proxy
        .until("another route", |p| p.has(ROUTE_CONFIGURATION, RATINGS))
        .await;
    assert_eq!(timeout(&proxy), Some(7));
}

#[tokio::test]
async fn a_workloads_health_does_not_send_its_own_listener_again() {
    let rig = Rig::start(&[("services.yaml", SERVICES)]).await;
    let cluster = "outbound|9080||reviews.default.svc.cluster.local";
    let names = [
        (LISTENER, "virtualInbound"),
        (CLUSTER_LOAD_ASSIGNMENT, cluster),
        (ROUTE_CONFIGURATION, REVIEWS),
    ];
    let node = node("reviews-1", "reviews", Some(9080));
    let mut proxy = Proxy::connect(rig.plaintext().await, node, &names).await;
    proxy
        .until("everything", |p| p.pushed.len() >= 3 && p.endpoints(cluster) == 1)
        .await;
    let listeners = |p: &Proxy| p.pushed.iter().filter(|(t, _)| t == LISTENER).count();
    // After the first round all that its arrival made has been sent.
    let mut after_round = Vec::new();
    for _ in 0..3 {
        for (problem, endpoints) in [(Some("it does not listen"), 0), (None, 1)] {
            proxy.set_health(problem).await;
            proxy
                .until("its endpoint's new health", |p| p.endpoints(cluster) == endpoints)
                .await;
        }
        after_round.push(listeners(&proxy));
    }
    assert_eq!(after_round[0], after_round[2], "{:?}", proxy.pushed);
}
