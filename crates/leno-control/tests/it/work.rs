//! What a change costs, as counts: the proxies that hear of it, the resources that are made, the bytes that are sent.
//! A hundred proxies in two namespaces, each with twenty of a hundred services.

use std::collections::{BTreeMap, BTreeSet};

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use leno_xds::Lookup;

use crate::dashboard::get;
use crate::rig::{Proxy, Rig, node, text};

const PROXIES: usize = 100;
const SERVICES: usize = 100;
/// The services that each proxy has asked for.
const USED: usize = 20;

struct Mesh {
    rig: Rig,
    proxies: Vec<Proxy>,
    /// A workload of the first service.
    workload: Proxy,
    barriers: usize,
}

/// What happened between two looks.
struct Cost {
    /// By proxy, what it was sent.
    sent: BTreeMap<usize, Vec<(String, String)>>,
    /// By type, what was made.
    made: BTreeMap<String, u64>,
    bytes: u64,
}

fn host(service: usize) -> String {
    format!("s{service}.default.svc.cluster.local")
}

fn cluster(service: usize) -> String {
    format!("outbound|80||{}", host(service))
}

fn route_name(service: usize) -> String {
    format!("{}:80", host(service))
}

fn namespace(proxy: usize) -> &'static str {
    if proxy < 70 { "default" } else { "other" }
}

fn uses(proxy: usize, service: usize) -> bool {
    (service + SERVICES - proxy) % SERVICES < USED
}

fn users(service: usize) -> BTreeSet<usize> {
    (0..PROXIES).filter(|proxy| uses(*proxy, service)).collect()
}

fn services(number: usize) -> String {
    // The second one is described by itself.
    let each = (0..number).filter(|service| *service != 1).map(|service| {
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: s{service}, namespace: default}}
spec:
  selector: {{app: s{service}}}
  ports: [{{name: http, port: 80}}]
"
        )
    });
    each.collect()
}

fn entry(address: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s1, namespace: default}}
spec:
  hosts: [s1.default.svc.cluster.local]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{{address: {address}}}]
"
    )
}

fn route(timeout: u32) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s3, namespace: default}}
spec:
  hosts: [s3.default.svc.cluster.local]
  http:
  - timeout: {timeout}s
    route: [{{destination: {{host: s3.default.svc.cluster.local}}}}]
"
    )
}

fn destination_rule(most: u32) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s3, namespace: default}}
spec:
  host: s3.default.svc.cluster.local
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {most}}}}}}}
"
    )
}

fn policy(path: &str) -> String {
    format!(
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: paths, namespace: other}}
spec:
  action: ALLOW
  rules: [{{to: [{{operation: {{paths: [{path:?}]}}}}]}}]
"
    )
}

fn proxy_node(number: usize) -> Node {
    let namespace = namespace(number);
    let mut node = node(&format!("p{number}"), &format!("p{number}"), Some(8080));
    node.id = format!("sidecar~127.0.0.1~p{number}.{namespace}~{namespace}.svc.cluster.local");
    let fields = &mut node.metadata.as_mut().unwrap().fields;
    fields.insert("NAMESPACE".to_owned(), text(namespace));
    node
}

impl Mesh {
    async fn start() -> Self {
        let files = [
            ("services.yaml", services(SERVICES)),
            ("entry.yaml", entry("198.18.0.1")),
            ("route.yaml", route(1)),
            ("rule.yaml", destination_rule(1)),
            ("policy.yaml", policy("/a")),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let rig = Rig::start(&files).await;
        let first = cluster(0);
        let names = [(CLUSTER_LOAD_ASSIGNMENT, first.as_str())];
        let mut workload = Proxy::connect(rig.plaintext().await, node("s0-1", "s0", Some(80)), &names).await;
        workload
            .until("its own endpoint", |p| p.endpoints(&first) == 1)
            .await;
        let mut proxies = Vec::new();
        for number in 0..PROXIES {
            let mut names = vec![(LISTENER, "virtualInbound".to_owned())];
            for service in (0..SERVICES).filter(|service| uses(number, *service)) {
                names.push((CLUSTER, cluster(service)));
                names.push((CLUSTER_LOAD_ASSIGNMENT, cluster(service)));
                names.push((ROUTE_CONFIGURATION, route_name(service)));
            }
            let names: Vec<(&str, &str)> = names.iter().map(|(t, n)| (*t, n.as_str())).collect();
            let mut proxy = Proxy::connect(rig.plaintext().await, proxy_node(number), &names).await;
            proxy
                .until("everything", |p| {
                    names
                        .iter()
                        .all(|(t, n)| p.client.lookup(t, n) == Lookup::Present)
                })
                .await;
            proxies.push(proxy);
        }
        let mut mesh = Self {
            rig,
            proxies,
            workload,
            barriers: 0,
        };
        // Everybody's arrival has been heard of by everybody.
        mesh.settle().await;
        mesh
    }

    /// Each proxy asks for something that does not exist: what it is told before is all that it is told.
    async fn settle(&mut self) -> BTreeMap<usize, Vec<(String, String)>> {
        self.barriers += 1;
        let barrier = format!("barrier-{}", self.barriers);
        for proxy in &mut self.proxies {
            proxy.subscribe(CLUSTER, &barrier).await;
            proxy
                .until("the barrier", |p| {
                    p.client.lookup(CLUSTER, &barrier) == Lookup::Absent
                })
                .await;
        }
        let taken = self
            .proxies
            .iter_mut()
            .map(|proxy| std::mem::take(&mut proxy.pushed));
        taken
            .enumerate()
            .filter(|(_, pushed)| !pushed.is_empty())
            .collect()
    }

    async fn counters(&self) -> (BTreeMap<String, u64>, u64) {
        let (_, _, page) = get(self.rig.control.admin, "/metrics").await;
        let number = |line: &str| line.rsplit_once(' ').and_then(|(_, n)| n.parse().ok());
        let made = page.lines().filter_map(|line| {
            let rest = line.strip_prefix("leno_control_resources_made_total{type=\"")?;
            Some((rest.split_once('"')?.0.to_owned(), number(line)?))
        });
        let bytes = page
            .lines()
            .find(|line| line.starts_with("leno_control_response_bytes_total "))
            .and_then(number);
        (made.collect(), bytes.unwrap())
    }

    /// What it costs until the one who is to hear of it has.
    async fn cost(&mut self, heard: (usize, &str, &str), change: impl AsyncFnOnce(&mut Self)) -> Cost {
        let (made_before, bytes_before) = self.counters().await;
        change(self).await;
        let (proxy, type_url, name) = heard;
        let key = (type_url.to_owned(), name.to_owned());
        self.proxies[proxy]
            .until("the change", |p| p.pushed.contains(&key))
            .await;
        let sent = self.settle().await;
        let (made_after, bytes_after) = self.counters().await;
        let made = made_after.into_iter().filter_map(|(kind, after)| {
            let more = after - made_before.get(&kind).copied().unwrap_or_default();
            (more > 0).then_some((kind, more))
        });
        Cost {
            sent,
            made: made.collect(),
            bytes: bytes_after - bytes_before,
        }
    }
}

impl Cost {
    /// Exactly these proxies were told, and exactly this.
    fn told(&self, proxies: &BTreeSet<usize>, type_url: &str, name: &str) {
        let told: BTreeSet<usize> = self.sent.keys().copied().collect();
        assert_eq!(told, *proxies);
        for (proxy, sent) in &self.sent {
            assert_eq!(*sent, [(type_url.to_owned(), name.to_owned())], "proxy {proxy}");
        }
    }

    fn made(&self, kind: &str, count: u64) {
        assert_eq!(self.made, BTreeMap::from([(kind.to_owned(), count)]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_costs_what_it_affects() {
    let mut mesh = Mesh::start().await;

    // An endpoint of one service: its users, one assignment, made once.
    let second = cluster(1);
    let moved = mesh
        .cost((0, CLUSTER_LOAD_ASSIGNMENT, &second), async |mesh: &mut Mesh| {
            mesh.rig.write("entry.yaml", &entry("198.18.0.2"));
        })
        .await;
    moved.told(&users(1), CLUSTER_LOAD_ASSIGNMENT, &second);
    assert_eq!(users(1).len(), USED);
    moved.made("EDS", 1);
    // The answers to what a hundred proxies asked for are among these.
    assert!(
        moved.bytes < 40_000,
        "{} bytes for {USED} assignments",
        moved.bytes
    );

    // A workload's health: the same, and as it was before it was ready, so that nothing is made at all.
    let first = cluster(0);
    for problem in [Some("it is tired"), None] {
        let flipped = mesh
            .cost((0, CLUSTER_LOAD_ASSIGNMENT, &first), async |mesh: &mut Mesh| {
                mesh.workload.set_health(problem).await;
            })
            .await;
        flipped.told(&users(0), CLUSTER_LOAD_ASSIGNMENT, &first);
        assert_eq!(flipped.made, BTreeMap::new());
    }

    // A route: the routes of its host. Two namespaces need not be told the same.
    let name = route_name(3);
    let routed = mesh
        .cost((0, ROUTE_CONFIGURATION, &name), async |mesh: &mut Mesh| {
            mesh.rig.write("route.yaml", &route(2));
        })
        .await;
    routed.told(&users(3), ROUTE_CONFIGURATION, &name);
    assert_eq!(routed.made.keys().collect::<Vec<_>>(), ["RDS"]);
    assert!(routed.made["RDS"] <= 2, "{:?}", routed.made);

    // A policy of one namespace: the inbound listeners there.
    let of_other: BTreeSet<usize> = (0..PROXIES).filter(|p| namespace(*p) == "other").collect();
    let guarded = mesh
        .cost((99, LISTENER, "virtualInbound"), async |mesh: &mut Mesh| {
            mesh.rig.write("policy.yaml", &policy("/b"));
        })
        .await;
    guarded.told(&of_other, LISTENER, "virtualInbound");
    guarded.made("LDS", of_other.len() as u64);

    // A rule for one destination: its cluster, and the endpoints that Envoy waits for after that.
    let third = cluster(3);
    let pooled = mesh
        .cost((0, CLUSTER, &third), async |mesh: &mut Mesh| {
            mesh.rig.write("rule.yaml", &destination_rule(2));
        })
        .await;
    let expected = [CLUSTER, CLUSTER_LOAD_ASSIGNMENT].map(|t| (t.to_owned(), third.clone()));
    assert_eq!(pooled.sent.keys().copied().collect::<BTreeSet<_>>(), users(3));
    assert!(
        pooled.sent.values().all(|sent| *sent == expected),
        "{:?}",
        pooled.sent
    );
    assert_eq!(pooled.made.get("CDS"), Some(&1));
    assert!(
        !pooled.made.contains_key("LDS") && !pooled.made.contains_key("RDS"),
        "{:?}",
        pooled.made
    );

    // A service that nobody uses, together with a route that is waited for: nobody hears of the service.
    let unused = mesh
        .cost((0, ROUTE_CONFIGURATION, &name), async |mesh: &mut Mesh| {
            mesh.rig.write("services.yaml", &services(SERVICES + 1));
            mesh.rig.write("route.yaml", &route(3));
        })
        .await;
    unused.told(&users(3), ROUTE_CONFIGURATION, &name);
    assert!(
        unused.made["RDS"] <= 2 && unused.made.len() == 1,
        "{:?}",
        unused.made
    );
}
