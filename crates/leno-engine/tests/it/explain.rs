//! What explains a decision says the same as what decides.

use leno_engine::decide::listener::{ConnectionInfo, Criterion, choose, misses};
use leno_engine::decide::route::{Decision, Miss, RouteContext};
use leno_proto::envoy::config::listener::v3::FilterChainMatch;
use leno_proto::envoy::config::route::v3 as pb;
use leno_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use leno_proto::envoy::config::route::v3::route_match::PathSpecifier;
use proptest::prelude::*;
use proptest::sample::select;

use crate::made::{
    compile_listener, compile_table, forward, host, listener, request, table, tcp_chain, to_cluster,
    u32_value,
};

fn route_match() -> impl Strategy<Value = pb::RouteMatch> {
    let path = select(vec!["/", "/a", "/a/b", "/b"]);
    let specifier = (path, 0..3).prop_map(|(path, kind)| match kind {
        0 => PathSpecifier::Path(path.into()),
        1 => PathSpecifier::Prefix(path.into()),
        _ => PathSpecifier::SafeRegex(leno_proto::envoy::r#type::matcher::v3::RegexMatcher {
            regex: format!("{path}.?"),
            ..Default::default()
        }),
    });
    let header = (
        select(vec!["x", "y"]),
        any::<bool>(),
        any::<bool>(),
        select(vec!["1", "2"]),
    );
    let header = header.prop_map(|(name, present, invert, value)| pb::HeaderMatcher {
        name: name.into(),
        invert_match: invert,
        header_match_specifier: Some(match present {
            true => HeaderMatchSpecifier::PresentMatch(true),
            false => HeaderMatchSpecifier::ExactMatch(value.into()),
        }),
        ..Default::default()
    });
    let query = select(vec!["q", "r"]).prop_map(|name| pb::QueryParameterMatcher {
        name: name.into(),
        ..Default::default()
    });
    (
        specifier,
        prop::collection::vec(header, 0..3),
        prop::collection::vec(query, 0..2),
        any::<bool>(),
    )
        .prop_map(|(specifier, headers, query_parameters, grpc)| pb::RouteMatch {
            path_specifier: Some(specifier),
            headers,
            query_parameters,
            grpc: grpc.then(Default::default),
            ..Default::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_of_all_misses_is_the_miss(
        wanted in route_match(),
        path in select(vec!["/", "/a", "/a/b?q", "/ab?r=1&q=2", "/c"]),
        fields in prop::collection::vec((select(vec!["x", "y"]), select(vec!["1", "2"])), 0..3),
    ) {
        let route = forward(wanted, to_cluster("c"));
        let table = compile_table(&table(vec![host("h", &["*"], vec![route])])).unwrap();
        let mut head = request("h", path);
        for (name, value) in fields {
            head.headers.append(name, value);
        }
        let cx = RouteContext::new(0, false);
        let compiled = &table.hosts[0].routes[0];
        let all = compiled.matches.misses(&head, &cx);
        prop_assert_eq!(all.first().copied(), compiled.matches.miss(&head, &cx));
        prop_assert_eq!(all.is_empty(), matches!(table.route(&head, &cx), Decision::Forward(_)));
    }
}

#[test]
fn every_condition_that_fails_is_among_the_misses() {
    let wanted = pb::RouteMatch {
        path_specifier: Some(PathSpecifier::Path("/a".into())),
        headers: vec![pb::HeaderMatcher {
            name: "x".into(),
            ..Default::default()
        }],
        query_parameters: vec![pb::QueryParameterMatcher {
            name: "q".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let route = forward(wanted, to_cluster("c"));
    let table = compile_table(&table(vec![host("h", &["*"], vec![route])])).unwrap();
    let cx = RouteContext::new(0, false);
    let misses = table.hosts[0].routes[0]
        .matches
        .misses(&request("h", "/b"), &cx)
        .len();
    assert_eq!(misses, 3);
    let matches = &table.hosts[0].routes[0].matches;
    let head = request("h", "/b?q");
    assert!(matches!(
        matches.misses(&head, &cx).as_slice(),
        [Miss::Path(_), Miss::Header(_)]
    ));
}

#[test]
fn a_chain_says_what_it_demands_in_vain() {
    let of_port = FilterChainMatch {
        destination_port: u32_value(80),
        ..Default::default()
    };
    let of_tls = FilterChainMatch {
        destination_port: u32_value(443),
        transport_protocol: "tls".into(),
        ..Default::default()
    };
    let listener = compile_listener(&listener(vec![
        tcp_chain("port", of_port),
        tcp_chain("tls", of_tls),
    ]))
    .unwrap();
    let connection = |port: u16| ConnectionInfo {
        destination: ([10, 0, 0, 1], port).into(),
        source: ([10, 0, 0, 2], 1000).into(),
        direct_source: ([10, 0, 0, 2], 1000).into(),
        sni: None,
        transport: leno_engine::compile::listener::TransportProtocol::RawBuffer,
        application_protocols: &[],
        notes: None,
    };
    let said = |port| {
        let misses = misses(&listener, &connection(port)).into_iter();
        misses
            .map(|(chain, why)| (chain.name.clone(), why))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        said(443),
        [
            ("port".to_owned(), Some(Criterion::DestinationPort)),
            ("tls".to_owned(), Some(Criterion::TransportProtocol)),
        ]
    );
    assert!(choose(&listener, &connection(443)).is_none());
    assert_eq!(said(80)[0], ("port".to_owned(), None));
    assert_eq!(choose(&listener, &connection(80)).unwrap().name, "port");
}
