//! What sidecar listeners share: addresses, inspectors, chains.

use std::time::Duration;

use leno_proto::ToAny;

use crate::parts::{duration, socket_address};
use crate::pb::listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
use crate::pb::listener::{
    AdditionalAddress, Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter,
    ListenerFilterChainMatchPredicate,
};
use crate::pb::{core, http_inspector, listener, original_dst, tls_inspector, types};

/// What the HTTP inspector reports of plaintext (Envoy's `http_inspector`).
pub(crate) const PLAINTEXT_HTTP: &[&str] = &["http/1.0", "http/1.1", "h2c"];
pub(crate) const RAW: &str = "raw_buffer";
pub(crate) const TLS: &str = "tls";

/// A listener on every address of a port, of both families where the host has both.
pub(crate) fn wildcard(name: &str, port: u16, ipv6: bool, direction: core::TrafficDirection) -> Listener {
    let more = ipv6.then(|| AdditionalAddress {
        address: socket_address("::", port),
        ..Default::default()
    });
    Listener {
        name: name.into(),
        address: socket_address("0.0.0.0", port),
        additional_addresses: more.into_iter().collect(),
        traffic_direction: direction.into(),
        ..Default::default()
    }
}

pub(crate) fn chain(name: &str, matches: FilterChainMatch, filter: Filter) -> FilterChain {
    guarded_chain(name, matches, vec![filter])
}

/// With filters before the one that serves the connection.
pub(crate) fn guarded_chain(name: &str, matches: FilterChainMatch, filters: Vec<Filter>) -> FilterChain {
    FilterChain {
        name: name.into(),
        filter_chain_match: (matches != FilterChainMatch::default()).then_some(matches),
        filters,
        ..Default::default()
    }
}

pub(crate) fn protocols(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn original_destination() -> ListenerFilter {
    filter(
        "envoy.filters.listener.original_dst",
        &original_dst::OriginalDst::default(),
    )
}

/// Reads the client's hello, but not on these destination ports, where nobody may be going to speak first.
pub(crate) fn inspect_tls(except: &[u16]) -> ListenerFilter {
    let inspector = filter(
        "envoy.filters.listener.tls_inspector",
        &tls_inspector::TlsInspector::default(),
    );
    ListenerFilter {
        filter_disabled: any_of(except),
        ..inspector
    }
}

pub(crate) fn inspect_http(except: &[u16]) -> ListenerFilter {
    let inspector = filter(
        "envoy.filters.listener.http_inspector",
        &http_inspector::HttpInspector::default(),
    );
    ListenerFilter {
        filter_disabled: any_of(except),
        ..inspector
    }
}

/// Istio's `protocolDetectionTimeout`: 0s, and on with what is known.
pub(crate) fn wait_for_inspectors(listener: &mut Listener) {
    listener.listener_filters_timeout = duration(Duration::ZERO);
    listener.continue_on_listener_filters_timeout = true;
}

fn filter(name: &str, config: &impl ToAny) -> ListenerFilter {
    ListenerFilter {
        name: name.into(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(
            config.to_any(),
        )),
        ..Default::default()
    }
}

fn any_of(ports: &[u16]) -> Option<ListenerFilterChainMatchPredicate> {
    let port = |port: &u16| ListenerFilterChainMatchPredicate {
        rule: Some(Rule::DestinationPortRange(types::Int32Range {
            start: i32::from(*port),
            end: i32::from(*port) + 1,
        })),
    };
    match ports {
        [] => None,
        [only] => Some(port(only)),
        several => Some(ListenerFilterChainMatchPredicate {
            rule: Some(Rule::OrMatch(MatchSet {
                rules: several.iter().map(port).collect(),
            })),
        }),
    }
}
