//! Configuration that changes under traffic.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use leno_engine::compile::config_source::Source;
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::listener::{Listener, TerminalFilter, compile};
use leno_engine::compile::{NoFiles, Warnings};
use leno_engine::flags::Flag;
use leno_proxy::{Answer, Demand, Options, Origin, PassedSocket, Question, Want};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::{
    Client, Harness, assignment, cluster, http_chain, http1_server, listener, manager, ok, table, tcp_chain,
};

/// Route changes are visible to the next request of a connection that is open, and fail none.
#[tokio::test]
async fn routes_flip_on_open_connections_without_a_failed_request() {
    let blue = http1_server(|_, _| ok("blue")).await;
    let green = http1_server(|_, _| ok("green")).await;
    let harness = Harness::with(Options {
        concurrency: 2,
        ..Options::default()
    });
    let address = harness.serve(listener("http", http_chain(manager("routes"))), &[blue]);
    harness.update(|updater| updater.upsert_cluster(cluster("green", &[green])).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut requests = 0;
                while !stop.load(Relaxed) {
                    assert_eq!(client.get("/").await.status(), 200);
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    let mut probe = Client::connect(address).await;
    for flip in 0..100 {
        let (target, colour) = if flip % 2 == 0 {
            ("green", "green")
        } else {
            ("c", "blue")
        };
        harness.update(|updater| updater.upsert_route(table("routes", target, |_| {})));
        assert_eq!(probe.get("/").await.body(), colour, "flip {flip}");
    }
    stop.store(true, Relaxed);
    for load in load {
        assert!(load.await.unwrap() > 0);
    }
    assert!(harness.records.requests().iter().all(|r| r.flags.is_empty()));
}

#[tokio::test]
async fn endpoints_change_under_an_open_connection() {
    let old = http1_server(|_, _| ok("old")).await;
    let new = http1_server(|_, _| ok("new")).await;
    let (harness, address) = Harness::http(&[]);
    harness.update(|updater| {
        let mut cluster = cluster("c", &[]);
        cluster.discovery = leno_engine::compile::cluster::Discovery::Eds("eds".to_owned(), Source::ads());
        updater.upsert_endpoints("eds", assignment(&[old]));
        updater.upsert_cluster(cluster).unwrap();
    });
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.body(), "old");
    harness.update(|updater| updater.upsert_endpoints("eds", assignment(&[new])));
    assert_eq!(client.get("/").await.body(), "new");
    harness.update(|updater| updater.upsert_endpoints("eds", assignment(&[])));
    assert_eq!(client.get("/").await.status(), 503);
    assert!(
        harness
            .records
            .request(2)
            .await
            .flags
            .contains(Flag::NoHealthyUpstream)
    );
}

/// Only the chain that has changed drains: the client is told with its next response.
#[tokio::test]
async fn a_changed_chain_drains_and_an_unchanged_one_does_not() {
    let upstream = http1_server(|_, _| ok("")).await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.header("connection"), None);
    let same = listener("http", http_chain(manager("routes")));
    harness.update(|updater| updater.upsert_listener(same).unwrap());
    assert_eq!(client.get("/").await.header("connection"), None);
    let mut changed = manager("routes");
    changed.merge_slashes = true;
    harness.update(|updater| {
        updater
            .upsert_listener(listener("http", http_chain(changed)))
            .unwrap()
    });
    let answer = client.get("/").await;
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (200, Some("close"))
    );
    assert!(client.is_closed().await);
    assert_eq!(Client::connect(address).await.get("/").await.status(), 200);
}

/// A manager with filters that are written like this.
fn with_filters(filters: &str) -> HttpConnectionManager {
    let text = format!(
        r#"{{"address": {{"socket_address": {{"address": "127.0.0.1", "port_value": 1}}}}, "filter_chains": [{{"filters": [{{
            "name": "manager",
            "typed_config": {{
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "http", "route_config": {{}}, "http_filters": [{filters}, {{"name": "router", "typed_config":
                    {{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}]
            }}
        }}]}}]}}"#
    );
    let message = leno_proto_text::Schema::load().from_text(&text).unwrap();
    let compiled = compile(&message, &NoFiles, &mut Warnings::default()).unwrap();
    let TerminalFilter::Http(made) = &compiled.chains[0].terminal else {
        panic!("{compiled:?}");
    };
    HttpConnectionManager {
        filters: made.filters.clone(),
        ..manager("routes")
    }
}

/// Not only a new connection: the next request of one that is there.
#[tokio::test]
async fn an_open_connections_next_request_is_held_to_the_policies_of_now() {
    let upstream = http1_server(|_, _| ok("")).await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.status(), 200);
    let denies_all = with_filters(
        r#"{"name": "rbac", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", "rules": {}}}"#,
    );
    harness.update(|updater| {
        updater
            .upsert_listener(listener("http", http_chain(denies_all)))
            .unwrap()
    });
    let answer = client.get("/").await;
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (403, Some("close"))
    );
}

#[tokio::test]
async fn a_drained_proxy_finishes_what_it_has_and_takes_no_more() {
    let upstream = http1_server(|_, _| ok("done")).await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.status(), 200);
    let drained = harness.proxy.drain(Duration::from_secs(5));
    let talk = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = client.get("/").await;
        assert_eq!(
            (answer.body(), answer.header("connection")),
            ("done", Some("close"))
        );
    };
    tokio::join!(drained, talk);
    assert_eq!(harness.proxy.connections(), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    harness.proxy.shutdown();
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_by_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut wanted: Listener = listener("web", tcp_chain("c"));
    let address = taken.local_addr().unwrap();
    wanted.addresses = vec![leno_engine::compile::listener::Address::Socket(address)];
    let harness = Harness::start();
    let refused = harness
        .proxy
        .updater()
        .upsert_listener(wanted)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("listener web") && refused.contains(&address.to_string()),
        "{refused}"
    );
}

/// What is not known is asked for; no answer is a failure with a flag, never a way through.
#[tokio::test]
async fn clusters_are_asked_for_on_demand() {
    let upstream = http1_server(|_, _| ok("found")).await;
    let (demand, mut questions) = Demand::new(Duration::from_millis(100));
    let harness = Arc::new(Harness::with(Options {
        demand,
        ..Options::default()
    }));
    let address = harness.serve(listener("http", http_chain(manager("routes"))), &[]);
    harness.update(|updater| updater.upsert_route(table("routes", "later", |_| {})));
    let mut client = Client::connect(address).await;
    // Nobody answers.
    assert_eq!(client.get("/").await.status(), 503);
    let record = harness.records.request(0).await;
    assert!(record.flags.contains(Flag::NoClusterFound), "{record:?}");
    assert_eq!(record.details, "on_demand_unanswered");
    // Somebody does.
    let control = Arc::clone(&harness);
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            if question.want == Want::Cluster("later".to_owned()) {
                control.update(|updater| updater.upsert_cluster(cluster("later", &[upstream])).unwrap());
            }
            let _ = question.answer.send(Answer::Found);
        }
    });
    assert_eq!(client.get("/").await.body(), "found");
}

/// The listener that a redirected connection falls back to, on a socket that was passed in.
fn virtual_outbound(demand: Demand, fail_closed: Vec<(IpAddr, u8)>) -> (Harness, SocketAddr) {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bound.local_addr().unwrap();
    let harness = Harness::with(Options {
        demand,
        fail_closed,
        sockets: vec![PassedSocket {
            listener: "virtualOutbound".to_owned(),
            origin: Origin::Local,
            socket: bound.into(),
        }],
        ..Options::default()
    });
    (harness, address)
}

fn original_dst(cluster: &str) -> Listener {
    let mut listener = listener("virtualOutbound", tcp_chain(cluster));
    listener.use_original_dst = true;
    listener
}

fn answer(
    mut questions: UnboundedReceiver<Question>,
    with: impl Fn(&Want) -> Option<Answer> + Send + 'static,
) {
    tokio::spawn(async move {
        while let Some(Question { want, answer, .. }) = questions.recv().await {
            if let Some(with) = with(&want) {
                let _ = answer.send(with);
            }
        }
    });
}

/// What the control plane does not answer for is closed; what it says is not there passes through.
#[tokio::test]
async fn only_what_is_known_to_be_unknown_passes_through() {
    let upstream = http1_server(|_, _| ok("passed")).await;
    let (demand, questions) = Demand::new(Duration::from_millis(50));
    let (harness, address) = virtual_outbound(demand, vec![]);
    harness.serve(original_dst("c"), &[upstream]);
    assert!(Client::connect(address).await.is_closed().await);
    let record = harness.records.connection(0).await;
    assert_eq!(record.details, "on_demand_unanswered");
    answer(questions, |_| Some(Answer::Absent));
    assert_eq!(Client::connect(address).await.get("/").await.body(), "passed");
}

#[tokio::test]
async fn mesh_addresses_fail_closed() {
    let upstream = http1_server(|_, _| ok("leak")).await;
    let (demand, questions) = Demand::new(Duration::from_secs(5));
    answer(questions, |_| Some(Answer::Absent));
    let (harness, address) = virtual_outbound(demand, vec![([127, 0, 0, 0].into(), 8)]);
    harness.serve(original_dst("c"), &[upstream]);
    assert!(Client::connect(address).await.is_closed().await);
    assert_eq!(harness.records.connection(0).await.details, "no_such_service");
}

#[tokio::test]
async fn a_destination_gets_its_own_listener_on_demand() {
    let upstream = http1_server(|_, _| ok("mesh")).await;
    let (demand, questions) = Demand::new(Duration::from_secs(5));
    let (harness, address) = virtual_outbound(demand, vec![]);
    harness.serve(original_dst("nowhere"), &[upstream]);
    let harness = Arc::new(harness);
    let control = Arc::clone(&harness);
    answer(questions, move |want| {
        assert_eq!(*want, Want::Listener(address));
        let mut found = listener("found", http_chain(manager("routes")));
        found.bind_to_port = false;
        found.addresses = vec![leno_engine::compile::listener::Address::Socket(address)];
        control.update(|updater| updater.upsert_listener(found).unwrap());
        Some(Answer::Found)
    });
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!((answer.body(), answer.header("server")), ("mesh", Some("leno")));
}

#[tokio::test]
async fn a_passed_socket_outlives_its_listener() {
    let upstream = http1_server(|_, _| ok("back")).await;
    let (harness, address) = virtual_outbound(Demand::none(), vec![]);
    harness.serve(original_dst("c"), &[upstream]);
    assert_eq!(Client::connect(address).await.get("/").await.body(), "back");
    harness.update(|updater| updater.remove_listener("virtualOutbound"));
    let mut waiting = Client::connect(address).await;
    harness.update(|updater| updater.upsert_listener(original_dst("c")).unwrap());
    assert_eq!(waiting.get("/").await.body(), "back");
}

/// A connection that nobody redirected goes to the proxy itself, and would loop.
#[tokio::test]
async fn a_connection_to_the_redirect_port_itself_is_refused() {
    let harness = Harness::start();
    let address = harness.serve(original_dst("c"), &[]);
    assert!(Client::connect(address).await.is_closed().await);
}

#[tokio::test]
async fn endpoints_by_name_are_resolved() {
    let upstream = http1_server(|_, _| ok("by name")).await;
    let (harness, address) = Harness::http(&[]);
    harness.update(|updater| {
        let mut named = assignment(&[upstream]);
        let mut endpoint = leno_engine::compile::endpoint::Endpoint::at(upstream);
        endpoint.address = leno_engine::compile::endpoint::Target::Name {
            host: "localhost".to_owned(),
            port: upstream.port(),
        };
        named.priorities[0][0].endpoints = vec![Arc::new(endpoint)];
        let mut cluster = cluster("c", &[]);
        cluster.discovery = leno_engine::compile::cluster::Discovery::StrictDns {
            assignment: Arc::new(named),
            resolving: leno_engine::compile::cluster::dns::Resolving {
                refresh: Duration::from_secs(5),
                after_failure: (Duration::from_secs(1), Duration::from_secs(5)),
                family: leno_engine::compile::cluster::dns::Family::V4Preferred,
                resolver: None,
                by_ttl: None,
                jitter: Duration::ZERO,
            },
        };
        updater.upsert_cluster(cluster).unwrap();
    });
    let mut client = Client::connect(address).await;
    let answered = async {
        while client.get("/").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = leno_proxy::resolve::keep_resolved(&harness.proxy) => {}
        () = answered => {}
    }
}
