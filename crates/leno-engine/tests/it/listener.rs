//! Filter-chain match, by Envoy's documented order.

use std::net::SocketAddr;

use leno_engine::compile::listener::TransportProtocol;
use leno_engine::decide::listener::{ConnectionInfo, choose};
use leno_proto::envoy::config::listener::v3::FilterChainMatch;
use leno_proto::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;

use crate::made::{cidr, compile_listener, listener, tcp_chain, u32_value};

struct Call {
    destination: &'static str,
    source: &'static str,
    sni: Option<&'static str>,
    tls: bool,
    alpn: &'static [&'static [u8]],
}

const CALL: Call = Call {
    destination: "10.1.2.3:80",
    source: "192.168.1.1:4000",
    sni: None,
    tls: false,
    alpn: &[],
};

/// The name of the chain chosen from these, with a default chain there.
fn chosen(chains: &[(&str, FilterChainMatch)], call: &Call) -> String {
    let chains = chains
        .iter()
        .map(|(name, matches)| tcp_chain(name, matches.clone()));
    let mut message = listener(chains.collect());
    message.default_filter_chain = Some(tcp_chain("default", FilterChainMatch::default()));
    let listener = compile_listener(&message).expect("compiles");
    let source: SocketAddr = call.source.parse().expect("an address");
    let connection = ConnectionInfo {
        destination: call.destination.parse().expect("an address"),
        source,
        direct_source: source,
        sni: call.sni,
        transport: if call.tls {
            TransportProtocol::Tls
        } else {
            TransportProtocol::RawBuffer
        },
        application_protocols: call.alpn,
        notes: None,
    };
    choose(&listener, &connection)
        .expect("a default chain")
        .name
        .clone()
}

fn port(port: u32) -> FilterChainMatch {
    FilterChainMatch {
        destination_port: u32_value(port),
        ..Default::default()
    }
}

fn ranges(ranges: &[&str]) -> FilterChainMatch {
    FilterChainMatch {
        prefix_ranges: ranges.iter().map(|range| cidr(range)).collect(),
        ..Default::default()
    }
}

fn names(names: &[&str]) -> FilterChainMatch {
    FilterChainMatch {
        server_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn alpn(names: &[&str]) -> FilterChainMatch {
    FilterChainMatch {
        application_protocols: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn transport(name: &str) -> FilterChainMatch {
    FilterChainMatch {
        transport_protocol: name.into(),
        ..Default::default()
    }
}

fn source(kind: ConnectionSourceType) -> FilterChainMatch {
    FilterChainMatch {
        source_type: kind.into(),
        ..Default::default()
    }
}

#[test]
fn nothing_matches_then_the_default_chain_serves() {
    assert_eq!(chosen(&[("other", port(81))], &CALL), "default");
}

#[test]
fn the_destination_port_comes_before_the_address() {
    let chains = [("address", ranges(&["10.1.2.3/32"])), ("port", port(80))];
    assert_eq!(chosen(&chains, &CALL), "port");
}

#[test]
fn the_longest_prefix_wins() {
    let chains = [
        ("wide", ranges(&["10.0.0.0/8"])),
        ("narrow", ranges(&["10.1.0.0/16", "172.16.0.0/12"])),
        ("any", FilterChainMatch::default()),
    ];
    assert_eq!(chosen(&chains, &CALL), "narrow");
}

#[test]
fn a_better_port_hides_other_chains_even_if_it_fails_later() {
    let picky = FilterChainMatch {
        server_names: vec!["a.example".into()],
        ..port(80)
    };
    let chains = [("picky", picky), ("any", FilterChainMatch::default())];
    assert_eq!(chosen(&chains, &CALL), "default");
}

#[test]
fn server_names_go_from_exact_over_the_longest_wildcard_to_none() {
    let chains = [
        ("none", FilterChainMatch::default()),
        ("com", names(&["*.com"])),
        ("example", names(&["*.example.com"])),
        ("exact", names(&["www.example.com"])),
    ];
    let with = |sni| chosen(&chains, &Call { sni, ..CALL });
    assert_eq!(with(Some("www.example.com")), "exact");
    assert_eq!(with(Some("api.example.com")), "example");
    assert_eq!(with(Some("example.com")), "com");
    assert_eq!(with(Some("example.org")), "none");
    assert_eq!(with(None), "none");
}

#[test]
fn a_wildcard_is_not_for_its_own_domain() {
    assert_eq!(
        chosen(
            &[("wild", names(&["*.example.com"]))],
            &Call {
                sni: Some("example.com"),
                ..CALL
            }
        ),
        "default"
    );
}

#[test]
fn the_transport_comes_before_application_protocols() {
    let chains = [("h2", alpn(&["h2"])), ("tls", transport("tls"))];
    let call = Call {
        tls: true,
        alpn: &[b"h2"],
        ..CALL
    };
    assert_eq!(chosen(&chains, &call), "tls");
    assert_eq!(chosen(&chains, &Call { tls: false, ..call }), "h2");
}

#[test]
fn the_clients_first_protocol_that_a_chain_names_decides() {
    let chains = [
        ("h1", alpn(&["http/1.1"])),
        ("istio", alpn(&["istio", "istio-h2"])),
    ];
    let call = |alpn| Call { alpn, ..CALL };
    assert_eq!(chosen(&chains, &call(&[b"x", b"istio-h2", b"http/1.1"])), "istio");
    assert_eq!(chosen(&chains, &call(&[b"http/1.1", b"istio"])), "h1");
    assert_eq!(chosen(&chains, &call(&[b"x"])), "default");
}

#[test]
fn the_source_type_is_by_address() {
    let chains = [
        ("local", source(ConnectionSourceType::SameIpOrLoopback)),
        ("external", source(ConnectionSourceType::External)),
    ];
    let from = |source| chosen(&chains, &Call { source, ..CALL });
    assert_eq!(from("127.0.0.1:1"), "local");
    assert_eq!(from("10.1.2.3:1"), "local");
    assert_eq!(from("10.1.2.4:1"), "external");
    assert_eq!(
        from("127.0.0.5:1"),
        "external",
        "Envoy knows one loopback address"
    );
}

#[test]
fn the_source_address_comes_before_the_source_port() {
    let address = FilterChainMatch {
        source_prefix_ranges: vec![cidr("192.168.0.0/16")],
        ..Default::default()
    };
    let port = FilterChainMatch {
        source_ports: vec![4000],
        ..Default::default()
    };
    let chains = [("address", address), ("port", port)];
    assert_eq!(chosen(&chains, &CALL), "address");
}

#[test]
fn two_chains_that_match_the_same_are_refused() {
    let message = listener(vec![tcp_chain("a", port(80)), tcp_chain("b", port(80))]);
    let error = compile_listener(&message).unwrap_err().to_string();
    assert_eq!(
        error,
        "filter_chains[1].filter_chain_match: matches the same as filter_chains[0]"
    );
}

#[test]
fn two_chains_that_some_connection_meets_alike_are_refused() {
    let refused = |these: FilterChainMatch, those: FilterChainMatch| {
        compile_listener(&listener(vec![tcp_chain("a", these), tcp_chain("b", those)])).is_err()
    };
    assert!(refused(names(&["a.x", "b.x"]), names(&["B.x", "c.x"])));
    assert!(refused(alpn(&["a", "b"]), alpn(&["b", "a"])));
    assert!(refused(ranges(&["10.0.0.1/8"]), ranges(&["10.0.0.2/8"])));
    // One of them is the better for every connection.
    assert!(!refused(ranges(&["10.0.0.0/8"]), ranges(&["10.0.0.0/16"])));
    assert!(!refused(names(&["*.x"]), names(&["a.x"])));
    assert!(!refused(transport("raw_buffer"), FilterChainMatch::default()));
    let both = |ports: &[u32]| FilterChainMatch {
        source_ports: ports.to_vec(),
        ..names(&["a.x"])
    };
    assert!(!refused(both(&[1, 2]), both(&[3])));
    assert!(refused(both(&[1, 2]), both(&[2, 3])));
}

#[test]
fn a_chain_names_nothing_twice() {
    let error = compile_listener(&listener(vec![tcp_chain("a", names(&["a.x", "a.x"]))])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "filter_chains[0].filter_chain_match: says the same twice"
    );
}

#[test]
fn an_inspector_is_off_for_the_ports_of_a_predicate() {
    use leno_proto::ToAny;
    use leno_proto::envoy::config::listener::v3::listener_filter::ConfigType;
    use leno_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate::{MatchSet, Rule};
    use leno_proto::envoy::config::listener::v3::{ListenerFilter, ListenerFilterChainMatchPredicate};
    use leno_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
    use leno_proto::envoy::r#type::v3::Int32Range;

    let is = |rule| ListenerFilterChainMatchPredicate { rule: Some(rule) };
    let ports = |start, end| is(Rule::DestinationPortRange(Int32Range { start, end }));
    let not = |inner| is(Rule::NotMatch(Box::new(inner)));
    let or = |rules| is(Rule::OrMatch(MatchSet { rules }));
    let and = |rules| is(Rule::AndMatch(MatchSet { rules }));
    for (predicate, inspected) in [
        (is(Rule::AnyMatch(true)), [false, false, false]),
        (not(is(Rule::AnyMatch(true))), [true, true, true]),
        (ports(80, 81), [false, true, true]),
        (not(ports(80, 81)), [true, false, false]),
        (or(vec![ports(80, 81), ports(443, 444)]), [false, false, true]),
        (
            and(vec![ports(1, 1000), not(ports(443, 444))]),
            [false, true, true],
        ),
    ] {
        let mut message = listener(vec![tcp_chain("only", FilterChainMatch::default())]);
        message.listener_filters = vec![ListenerFilter {
            name: String::new(),
            filter_disabled: Some(predicate.clone()),
            config_type: Some(ConfigType::TypedConfig(TlsInspector::default().to_any())),
        }];
        let filters = compile_listener(&message).expect("compiles").filters;
        assert_eq!(
            [80, 443, 8080].map(|port| filters.looks_for_tls(port)),
            inspected,
            "{predicate:?}"
        );
    }
}

#[test]
fn ipv4_compat_is_of_each_address() {
    use leno_engine::compile::socket::What;
    use leno_proto::envoy::config::core::v3::address::Address as Kind;
    use leno_proto::envoy::config::core::v3::socket_address::PortSpecifier;
    use leno_proto::envoy::config::core::v3::{Address, SocketAddress};
    use leno_proto::envoy::config::listener::v3::AdditionalAddress;

    let any = |port, compat| {
        Some(Address {
            address: Some(Kind::SocketAddress(SocketAddress {
                address: "::".into(),
                ipv4_compat: compat,
                port_specifier: Some(PortSpecifier::PortValue(port)),
                ..Default::default()
            })),
        })
    };
    let mut message = listener(vec![tcp_chain("only", FilterChainMatch::default())]);
    message.address = any(8080, true);
    message.additional_addresses = [(8081, false), (8082, true)]
        .map(|(port, compat)| AdditionalAddress {
            address: any(port, compat),
            ..Default::default()
        })
        .into();
    let options = compile_listener(&message).expect("compiles").options;
    let both: Vec<bool> = options
        .iter()
        .map(|of| of.iter().any(|option| option.what == What::OnlyV6(false)))
        .collect();
    assert_eq!(both, [true, false, true]);
}
