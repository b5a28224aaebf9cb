//! HTTP filters, with plain values.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use leno_engine::decide::rbac::Peer;
use leno_engine::decide::tally::Uncounted;
use std::rc::Rc;
use std::time::Duration;

use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::route::RouteTable;
use leno_engine::decide::filter::{
    ConnectionFacts, Context, Effect, EffectResult, FilterConfig, Foretold, HttpFilter, KnownPeers,
    LocalMetadata, Membership, PeerMetadata, Process, Step, peer_metadata,
};
use leno_engine::decide::notes::Notes;
use leno_engine::decide::route::{Decision, RouteContext};
use leno_engine::flags::{Flag, Flags};
use leno_engine::message::RequestHead;
use leno_proto::ToAny;
use leno_proto::envoy::config::route::v3 as route;
use leno_proto::envoy::extensions::filters::common::fault::v3 as delay;
use leno_proto::envoy::extensions::filters::http::fault::v3 as pb;
use leno_proto::envoy::r#type::v3::FractionalPercent;
use leno_proto::google::protobuf::Any;

use crate::made::{forward, one_route, prefix, request, response, seconds, to_cluster, u32_value};

/// Compiles a filter's configuration by way of a route that has it.
fn on_route(any: Any) -> RouteTable {
    let mut route = forward(prefix("/"), to_cluster("c"));
    route.typed_per_filter_config.insert("f".into(), any);
    one_route(route)
}

fn config(table: &RouteTable) -> &FilterConfig {
    let head = request("a", "/");
    match table.route(&head, &RouteContext::new(0, false)) {
        decision @ Decision::Forward(_) => decision.filter_config("f").expect("a filter"),
        other => panic!("{other:?}"),
    }
}

fn start(any: Any) -> Option<Box<dyn HttpFilter>> {
    config(&on_route(any)).start(None)
}

pub(crate) struct Cx {
    random: u64,
    flags: Flags,
    peer: Option<Rc<PeerMetadata>>,
    peers: KnownPeers,
    local: LocalMetadata,
    facts: ConnectionFacts,
    upstream: Option<&'static str>,
    external: bool,
    pub(crate) notes: Notes,
    wish: Option<leno_engine::decide::wish::Wish>,
    reroutes: Cell<bool>,
}

/// Nobody wants anything of it.
struct Alone;

impl Process for Alone {
    fn node_labels(&self, _key: &str) -> Vec<(String, String)> {
        Vec::new()
    }
    fn fails_health_checks(&self) -> bool {
        false
    }

    fn cluster_name(&self) -> &str {
        ""
    }

    fn membership(&self, _cluster: &str) -> Option<Membership> {
        None
    }
}

impl Cx {
    pub(crate) fn new(random: u64) -> Self {
        Self {
            random,
            flags: Flags::default(),
            peer: None,
            peers: KnownPeers::default(),
            local: LocalMetadata {
                id: "sidecar~me".into(),
                encoded: "bWU=".into(),
            },
            facts: ConnectionFacts::default(),
            upstream: None,
            external: false,
            notes: Notes::default(),
            wish: None,
            reroutes: Cell::default(),
        }
    }

    pub(crate) fn context(&mut self) -> Context<'_> {
        Context {
            routed: true,
            clock: std::time::Instant::now,
            time: || std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000),
            random: self.random,
            flags: &mut self.flags,
            peer: &mut self.peer,
            peers: &mut self.peers,
            reroutes: &self.reroutes,
            local: &self.local,
            connection: &self.facts,
            caller: Peer {
                source: ([198, 18, 0, 1], 4000).into(),
                address: IpAddr::from([198, 18, 0, 1]),
                destination: ([198, 18, 0, 2], 80).into(),
                server_name: None,
                tls: false,
                uris: &[],
                names: &[],
                subject: "",
            },
            remote: SocketAddr::from(([198, 18, 0, 1], 4000)),
            route_limits: None,
            ignores_parameters: false,
            request: None,
            notes: &self.notes,
            values: &NoValues,
            upstream_principal: self.upstream,
            wish: &mut self.wish,
            endpoint: None,
            cluster: Some("outbound|80||a.default.svc.cluster.local"),
            upstream: None,
            by_host: false,
            external: self.external,
            process: &Alone,
            tally: &Uncounted,
        }
    }
}

fn percent(numerator: u32) -> Option<FractionalPercent> {
    Some(FractionalPercent {
        numerator,
        denominator: 0,
    })
}

fn delayed(share: u32) -> Option<delay::FaultDelay> {
    Some(delay::FaultDelay {
        percentage: percent(share),
        fault_delay_secifier: seconds(2).map(delay::fault_delay::FaultDelaySecifier::FixedDelay),
    })
}

fn aborted(share: u32, error: pb::fault_abort::ErrorType) -> Option<pb::FaultAbort> {
    Some(pb::FaultAbort {
        percentage: percent(share),
        error_type: Some(error),
        ..Default::default()
    })
}

fn run(filter: &mut dyn HttpFilter, cx: &mut Cx, head: &mut RequestHead) -> Step {
    filter.on_request_headers(&mut cx.context(), head, true)
}

#[test]
fn a_delay_comes_before_an_abort() {
    let fault = pb::HttpFault {
        delay: delayed(100),
        abort: aborted(100, pb::fault_abort::ErrorType::HttpStatus(418)),
        ..Default::default()
    };
    let mut filter = start(fault.to_any()).expect("something to do");
    let mut cx = Cx::new(u64::MAX);
    match run(filter.as_mut(), &mut cx, &mut request("a", "/")) {
        Step::Effect(Effect::Sleep(time)) => assert_eq!(time, Duration::from_secs(2)),
        other => panic!("{other:?}"),
    }
    assert!(cx.flags.contains(Flag::DelayInjected));
    match filter.on_effect(&mut cx.context(), EffectResult::Slept) {
        Step::Reply(reply) => assert_eq!((reply.status, &*reply.details), (418, "fault_filter_abort")),
        other => panic!("{other:?}"),
    }
    assert!(cx.flags.contains(Flag::FaultInjected));
}

#[test]
fn shares_are_drawn_independently() {
    let fault = pb::HttpFault {
        delay: delayed(50),
        abort: aborted(50, pb::fault_abort::ErrorType::HttpStatus(503)),
        ..Default::default()
    };
    let table = on_route(fault.to_any());
    let step = |low: u32, high: u32| {
        let mut filter = config(&table).start(None).expect("something to do");
        let mut cx = Cx::new(u64::from(high) << 32 | u64::from(low));
        run(filter.as_mut(), &mut cx, &mut request("a", "/"))
    };
    let (hit, miss) = (0, u32::MAX);
    assert!(matches!(step(miss, miss), Step::Continue));
    assert!(matches!(step(hit, miss), Step::Effect(_)));
    assert!(matches!(step(miss, hit), Step::Reply(_)));
}

#[test]
fn grpc_callers_get_a_grpc_status() {
    let fault = pb::HttpFault {
        abort: aborted(100, pb::fault_abort::ErrorType::GrpcStatus(14)),
        ..Default::default()
    };
    let reply = |head: &mut RequestHead| {
        let mut filter = start(fault.to_any()).expect("something to do");
        match run(filter.as_mut(), &mut Cx::new(0), head) {
            Step::Reply(reply) => reply,
            other => panic!("{other:?}"),
        }
    };
    let told = reply(&mut request("a", "/"));
    assert_eq!(
        (told.status, told.grpc_status),
        (200, Some(14)),
        "as Envoy answers HTTP"
    );
    let mut head = request("a", "/");
    head.headers.set("content-type", "application/grpc");
    let told = reply(&mut head);
    assert_eq!(told.status, 200);
    assert_eq!(told.grpc_status, Some(14));
}

#[test]
fn header_faults_need_the_configurations_leave() {
    let fixed = pb::HttpFault {
        delay: delayed(0),
        ..Default::default()
    };
    let by_header = pb::HttpFault {
        delay: Some(delay::FaultDelay {
            percentage: percent(100),
            fault_delay_secifier: Some(delay::fault_delay::FaultDelaySecifier::HeaderDelay(
                delay::fault_delay::HeaderDelay {},
            )),
        }),
        ..Default::default()
    };
    let sleeps = |fault: &pb::HttpFault, asked: bool| {
        let mut head = request("a", "/");
        if asked {
            head.headers.set("x-envoy-fault-delay-request", "30");
        }
        let mut filter = start(fault.to_any()).expect("something to do");
        matches!(run(filter.as_mut(), &mut Cx::new(0), &mut head), Step::Effect(_))
    };
    assert!(!sleeps(&fixed, true));
    assert!(sleeps(&by_header, true));
    assert!(!sleeps(&by_header, false));
}

#[test]
fn no_more_than_the_limit_are_faulty_at_once() {
    let fault = pb::HttpFault {
        delay: delayed(100),
        max_active_faults: u32_value(1),
        ..Default::default()
    };
    let table = on_route(fault.to_any());
    let sleeps = |filter: &mut dyn HttpFilter| {
        matches!(
            run(filter, &mut Cx::new(0), &mut request("a", "/")),
            Step::Effect(_)
        )
    };
    let mut first = config(&table).start(None).expect("something to do");
    assert!(sleeps(first.as_mut()));
    let mut second = config(&table).start(None).expect("something to do");
    assert!(!sleeps(second.as_mut()));
    drop(first);
    let mut third = config(&table).start(None).expect("something to do");
    assert!(sleeps(third.as_mut()));
}

#[test]
fn a_route_overrides_the_list_and_can_turn_a_filter_off() {
    let list = on_route(pb::HttpFault::default().to_any());
    assert!(
        config(&list).start(None).is_none(),
        "without settings there is nothing to do"
    );
    let route = on_route(
        pb::HttpFault {
            delay: delayed(100),
            ..Default::default()
        }
        .to_any(),
    );
    assert!(config(&list).start(Some(config(&route))).is_some());
    let off = on_route(
        route::FilterConfig {
            disabled: true,
            ..Default::default()
        }
        .to_any(),
    );
    assert!(config(&route).start(Some(config(&off))).is_none());
}

const PEER: &str = "spiffe://cluster.local/ns/default/sa/reviews";

fn told() -> PeerMetadata {
    PeerMetadata {
        workload: "reviews-v1".into(),
        namespace: "default".into(),
        app: "reviews".into(),
        version: "v1".into(),
        canonical_service: "reviews".into(),
        canonical_revision: "v1".into(),
        cluster: "Kubernetes".into(),
    }
}

#[test]
fn peer_metadata_is_read_taken_out_and_answered() {
    let told = told();
    // downstream_discovery and downstream_propagation by Istio's headers.
    let any = Any {
        type_url: "type.googleapis.com/io.istio.http.peer_metadata.Config".into(),
        value: vec![0x0a, 2, 0x1a, 0, 0x1a, 2, 0x0a, 0],
    };
    let mut filter = start(any).expect("always something to do");
    let mut cx = Cx::new(0);
    cx.facts.peer_principal = Some(PEER.to_owned());
    let mut head = request("a", "/");
    head.headers
        .set(peer_metadata::METADATA, peer_metadata::encode(&told));
    head.headers.set(peer_metadata::METADATA_ID, "sidecar~them");
    run(filter.as_mut(), &mut cx, &mut head);
    assert_eq!(cx.peer.as_deref(), Some(&told));
    assert!(head.headers.is_empty(), "the application sees none of it");
    let mut answer = response(200);
    filter.on_response_headers(&mut cx.context(), &mut answer, true);
    assert_eq!(answer.headers.get_str(peer_metadata::METADATA), Some("bWU="));
    assert_eq!(
        answer.headers.get_str(peer_metadata::METADATA_ID),
        Some("sidecar~me")
    );
}

/// Metrics' labels come from it: whoever can reach a port could make as many as he likes.
#[test]
fn peer_metadata_is_believed_of_proved_peers_only() {
    let any = Any {
        type_url: "type.googleapis.com/io.istio.http.peer_metadata.Config".into(),
        // All four ways by Istio's headers but upstream_propagation.
        value: vec![0x0a, 2, 0x1a, 0, 0x12, 2, 0x1a, 0, 0x1a, 2, 0x0a, 0],
    };
    let mut filter = start(any).expect("always something to do");
    let mut cx = Cx::new(0);
    let mut head = request("a", "/");
    head.headers
        .set(peer_metadata::METADATA, peer_metadata::encode(&told()));
    head.headers.set(peer_metadata::METADATA_ID, "sidecar~them");
    run(filter.as_mut(), &mut cx, &mut head);
    assert!(head.headers.is_empty(), "the application sees none of it");
    let mut answer = response(200);
    answer
        .headers
        .set(peer_metadata::METADATA, peer_metadata::encode(&told()));
    let forged = answer.headers.clone();
    filter.on_response_headers(&mut cx.context(), &mut answer, true);
    assert!(answer.headers.is_empty(), "neither believed nor answered");
    assert_eq!(cx.peer, None);
    answer.headers = forged;
    cx.upstream = Some(PEER);
    filter.on_response_headers(&mut cx.context(), &mut answer, true);
    assert_eq!(cx.peer.as_deref(), Some(&told()));
}

#[test]
fn long_names_in_the_metadata_are_cut() {
    let long = PeerMetadata {
        workload: "x".repeat(257),
        app: "é".repeat(200),
        version: "y".repeat(256),
        ..told()
    };
    let known = peer_metadata::decode(&peer_metadata::encode(&long)).expect("metadata");
    assert_eq!(known.workload, "x".repeat(256));
    assert_eq!(known.app, "é".repeat(128));
    assert_eq!(known.version, long.version);
}

#[test]
fn strangers_are_not_told_who_we_are() {
    let any = Any {
        type_url: "type.googleapis.com/io.istio.http.peer_metadata.Config".into(),
        value: vec![0x0a, 2, 0x1a, 0, 0x1a, 2, 0x0a, 0],
    };
    let mut filter = start(any).expect("always something to do");
    let mut cx = Cx::new(0);
    run(filter.as_mut(), &mut cx, &mut request("a", "/"));
    let mut answer = response(200);
    filter.on_response_headers(&mut cx.context(), &mut answer, true);
    assert!(answer.headers.is_empty());
}

#[test]
fn the_outside_of_the_mesh_is_not_told_who_we_are() {
    // upstream_propagation by Istio's headers, skip_external_clusters.
    let any = Any {
        type_url: "type.googleapis.com/io.istio.http.peer_metadata.Config".into(),
        value: vec![0x22, 4, 0x0a, 2, 0x08, 1],
    };
    for (external, told) in [(false, Some("bWU=")), (true, None)] {
        let mut filter = start(any.clone()).expect("always something to do");
        let mut cx = Cx {
            external,
            ..Cx::new(0)
        };
        let mut head = request("a", "/");
        run(filter.as_mut(), &mut cx, &mut head);
        assert_eq!(head.headers.get_str(peer_metadata::METADATA), told);
    }
}

#[test]
fn nonsense_in_the_metadata_header_is_passed_over() {
    for nonsense in ["", "!", "AAAA", "x"] {
        let known = peer_metadata::decode(nonsense.as_bytes());
        assert!(known.is_none_or(|peer| peer.workload.is_empty()), "{nonsense}");
    }
}

#[test]
fn faults_are_foretold_with_their_shares_and_only_where_they_apply() {
    let percent = |numerator| {
        Some(FractionalPercent {
            numerator,
            ..Default::default()
        })
    };
    let fault = pb::HttpFault {
        delay: Some(delay::FaultDelay {
            percentage: percent(50),
            fault_delay_secifier: seconds(2).map(delay::fault_delay::FaultDelaySecifier::FixedDelay),
        }),
        abort: Some(pb::FaultAbort {
            percentage: percent(1),
            error_type: Some(pb::fault_abort::ErrorType::HttpStatus(418)),
            ..Default::default()
        }),
        headers: vec![route::HeaderMatcher {
            name: "x-test".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let table = on_route(fault.to_any());
    let mut head = request("h", "/");
    assert_eq!(config(&table).foretell(None, &head, None), []);
    head.headers.append("x-test", "1");
    assert_eq!(
        config(&table).foretell(None, &head, None),
        [
            Foretold::Delay {
                time: Duration::from_secs(2),
                share: 500_000
            },
            Foretold::Reply {
                status: 418,
                share: 10_000
            },
        ]
    );
}
