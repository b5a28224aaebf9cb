//! A real client and real servers, over a relay that cuts: TCP in pieces of any size, connections that end at any
//! byte, and the next one to another control plane with the same files. In the end the client has what a new one gets,
//! and nothing that it came with or acknowledged was sent again unasked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use leno_proto::FromAny;
use leno_proto::envoy::config::route::v3::{RouteConfiguration, route::Action};
use leno_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use leno_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use leno_proto::google::protobuf::Any;
use leno_proto::google::protobuf::value::Kind;
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, NAME_TABLE, ROUTE_CONFIGURATION};
use leno_xds::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::rig::{PATIENCE, Rig, node};

const SERVICES: usize = 12;
const ROUNDS: usize = 40;

/// Numbers from a seed (SplitMix64), for whoever asks next.
#[derive(Clone)]
struct Random(Arc<AtomicU64>);

impl Random {
    fn below(&self, bound: usize) -> usize {
        let state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Listens in front of two servers, and serves whichever is meant.
struct Relay {
    address: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
    /// How many bytes the next connection lives, both ways together.
    lives: Arc<AtomicUsize>,
}

impl Relay {
    async fn start(to: SocketAddr, random: Random) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            to: Arc::new(Mutex::new(to)),
            lives: Arc::default(),
        };
        let (to, lives) = (relay.to.clone(), relay.lives.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = *to.lock().unwrap();
                let left = Arc::new(AtomicUsize::new(lives.load(Ordering::Relaxed)));
                let Ok(server) = TcpStream::connect(to).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let up = pass(from_client, to_server, left.clone(), random.clone());
                let down = pass(from_server, to_client, left, random.clone());
                // The end of either is the end of both.
                tokio::spawn(async move {
                    tokio::select! {
                        () = up => {}
                        () = down => {}
                    }
                });
            }
        });
        relay
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, left: Arc<AtomicUsize>, random: Random) {
    let mut piece = [0; 700];
    loop {
        let most = 1 + random.below(piece.len());
        let Ok(count @ 1..) = from.read(&mut piece[..most]).await else {
            return;
        };
        let before = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(count))
            })
            .unwrap_or_default();
        if to.write_all(&piece[..count.min(before)]).await.is_err() || before <= count {
            return;
        }
    }
}

/// A client that outlives its connections.
struct Lasting {
    client: Client,
    kept: BTreeMap<(String, String), Any>,
    streams: usize,
}

fn cluster(number: usize) -> String {
    format!("outbound|9080||s{number}.default.svc.cluster.local")
}

fn route_name(number: usize) -> String {
    format!("s{number}.default.svc.cluster.local:9080")
}

impl Lasting {
    fn new() -> Self {
        // Of no service: who has just left or come would be a name more or less in the table.
        let mut node = node("client-1", "client", None);
        let leno = node.metadata.as_mut().and_then(|m| m.fields.get_mut("LENO"));
        if let Some(Kind::StructValue(leno)) = leno.and_then(|leno| leno.kind.as_mut()) {
            leno.fields.remove("service");
        }
        let mut client = Client::new(node);
        client.set_health(None);
        client.subscribe_wildcard(NAME_TABLE);
        client.subscribe(LISTENER, "virtualInbound");
        client.subscribe(LISTENER, "virtualOutbound");
        for number in 0..SERVICES {
            client.subscribe(CLUSTER, &cluster(number));
            client.subscribe(CLUSTER_LOAD_ASSIGNMENT, &cluster(number));
            client.subscribe(ROUTE_CONFIGURATION, &route_name(number));
        }
        Self {
            client,
            kept: BTreeMap::new(),
            streams: 0,
        }
    }

    /// One connection, until it ends or enough is there.
    async fn connection(&mut self, address: SocketAddr, enough: impl Fn(&Self) -> bool) {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let Ok(channel) = endpoint.connect().await else {
            return;
        };
        let mut came_with: BTreeMap<(String, String), String> = BTreeMap::new();
        for type_url in [CLUSTER, LISTENER, ROUTE_CONFIGURATION, NAME_TABLE] {
            let resources = self.client.resources(type_url);
            came_with.extend(resources.map(|(n, v)| ((type_url.to_owned(), n.to_owned()), v.to_owned())));
        }
        let (requests, outgoing) = mpsc::channel(64);
        for request in self.client.on_connected() {
            requests.send(request).await.unwrap();
        }
        let opened = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(ReceiverStream::new(outgoing))
            .await;
        if let Ok(opened) = opened {
            self.streams += 1;
            let mut responses = opened.into_inner();
            while let Ok(Some(response)) = responses.message().await {
                check_new(&response, &mut came_with);
                let received = self.client.on_response(response);
                for (name, _, body) in received.updates {
                    self.kept.insert((received.type_url.clone(), name), body);
                }
                for name in received.removed {
                    self.kept.remove(&(received.type_url.clone(), name));
                }
                if let Some(answer) = self.client.finish(received.ticket, &[]) {
                    let _ = requests.send(answer).await;
                }
                if enough(self) {
                    break;
                }
            }
        }
        self.client.on_disconnected(0);
    }

    fn is_answered(&self) -> bool {
        let names = (0..SERVICES).flat_map(|number| {
            let cluster = cluster(number);
            [
                (CLUSTER, cluster.clone()),
                (CLUSTER_LOAD_ASSIGNMENT, cluster),
                (ROUTE_CONFIGURATION, route_name(number)),
            ]
        });
        let mut pending = names.filter(|(type_url, name)| self.client.pending(type_url, name));
        pending.next().is_none() && self.client.resources(NAME_TABLE).next().is_some()
    }

    fn body(&self, type_url: &str, name: &str) -> Option<&Any> {
        self.kept.get(&(type_url.to_owned(), name.to_owned()))
    }

    fn versions(&self) -> BTreeMap<(String, String), String> {
        let types = [
            CLUSTER,
            CLUSTER_LOAD_ASSIGNMENT,
            LISTENER,
            ROUTE_CONFIGURATION,
            NAME_TABLE,
        ];
        let of = |t: &'static str| {
            let resources = self.client.resources(t);
            resources.map(move |(n, v)| ((t.to_owned(), n.to_owned()), v.to_owned()))
        };
        types.into_iter().flat_map(of).collect()
    }
}

/// Endpoints are told on every stream and after their cluster; of everything else only what is other than before.
fn check_new(response: &DeltaDiscoveryResponse, told: &mut BTreeMap<(String, String), String>) {
    if response.type_url == CLUSTER_LOAD_ASSIGNMENT {
        return;
    }
    for resource in &response.resources {
        let key = (response.type_url.clone(), resource.name.clone());
        let before = told.insert(key, resource.version.clone());
        assert_ne!(
            before.as_ref(),
            Some(&resource.version),
            "{} again",
            resource.name
        );
    }
    for name in &response.removed_resources {
        told.remove(&(response.type_url.clone(), name.clone()));
    }
}

fn file(number: usize, timeout: usize) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{number}, namespace: default}}
spec:
  hosts: [s{number}.default.svc.cluster.local]
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{{address: 198.18.0.{}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{number}, namespace: default}}
spec:
  hosts: [s{number}.default.svc.cluster.local]
  http:
  - timeout: {}s
    route: [{{destination: {{host: s{number}.default.svc.cluster.local}}}}]
",
        1 + timeout % 200,
        1 + timeout
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_converges_over_connections_that_are_cut_anywhere_and_servers_that_take_turns() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let chosen = std::env::var("LENO_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = chosen.unwrap_or(now.as_nanos() as u64 & 0xFFFF_FFFF);
    println!("LENO_SEED={seed}");
    let random = Random(Arc::new(AtomicU64::new(seed)));
    let replicas = [Rig::start(&[]).await, Rig::start(&[]).await];
    let address = |replica: usize| replicas[replica].control.plaintext.unwrap();
    let relay = Relay::start(address(0), random.clone()).await;
    let mut lasting = Lasting::new();
    let mut files = BTreeSet::new();
    for round in 0..ROUNDS {
        for _ in 0..=random.below(2) {
            let number = random.below(SERVICES);
            let name = format!("s{number}.yaml");
            let gone = files.contains(&number) && random.below(5) == 0;
            for replica in &replicas {
                match gone {
                    true => replica.remove(&name),
                    false => replica.write(&name, &file(number, round)),
                }
            }
            match gone {
                true => files.remove(&number),
                false => files.insert(number),
            };
        }
        if random.below(8) == 0 {
            // The next process comes with nothing.
            lasting = Lasting::new();
        }
        *relay.to.lock().unwrap() = address(random.below(2));
        relay.lives.store(random.below(20_000), Ordering::Relaxed);
        let answered = |lasting: &Lasting| lasting.is_answered();
        let connection = lasting.connection(relay.address, answered);
        let ended = tokio::time::timeout(PATIENCE, connection).await;
        assert!(ended.is_ok(), "round {round}: neither answered nor cut");
    }
    // All is still: both have the same files, and the last connection lives.
    for number in 0..SERVICES {
        for replica in &replicas {
            replica.write(&format!("s{number}.yaml"), &file(number, ROUNDS + number));
        }
    }
    relay.lives.store(usize::MAX, Ordering::Relaxed);
    for to in [0, 1] {
        let mut expected = BTreeMap::new();
        // What comes in parts to one who waits for it comes at once to the next.
        for enough in [has_newest, Lasting::is_answered] {
            let mut fresh = Lasting::new();
            let ended = tokio::time::timeout(PATIENCE, fresh.connection(address(to), enough)).await;
            assert!(ended.is_ok(), "a new client gets the newest from {to}");
            expected = fresh.versions();
        }
        *relay.to.lock().unwrap() = address(to);
        let has_all = |lasting: &Lasting| lasting.versions() == expected;
        let ended = tokio::time::timeout(PATIENCE, lasting.connection(relay.address, has_all)).await;
        let has = lasting.versions();
        let differing: Vec<_> = expected
            .iter()
            .filter(|(key, v)| has.get(key) != Some(v))
            .collect();
        assert!(
            ended.is_ok() && has_all(&lasting),
            "from {to}: {differing:?} of {has:?}"
        );
    }
    assert!(lasting.streams > 1, "{} streams were opened", lasting.streams);
}

/// The timeouts of all routes are those of the last files.
fn has_newest(lasting: &Lasting) -> bool {
    let newest = |number: usize| {
        let any = lasting.body(ROUTE_CONFIGURATION, &route_name(number))?;
        let configuration: RouteConfiguration = any.unpack().ok()?;
        let route = configuration.virtual_hosts.first()?.routes.first()?.clone();
        let Some(Action::Route(action)) = route.action else {
            return None;
        };
        Some(action.timeout?.seconds == (1 + ROUNDS + number) as i64)
    };
    lasting.is_answered() && (0..SERVICES).all(|number| newest(number) == Some(true))
}
