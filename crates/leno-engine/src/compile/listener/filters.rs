//! Listener filters: what looks at a connection before a chain is chosen.

use std::time::Duration;

use leno_proto::FromAny;

use super::{ListenerFilters, PortRange, Ports};
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::pb::{
    http_inspector, listener as pb, original_dst, protobuf, proxy_protocol as proxy_protocol_pb,
    tls_inspector, types,
};
use crate::compile::{Rejection, proxy_protocol};

pub(super) fn filters(at: &At<'_>, message: &pb::Listener) -> Result<ListenerFilters, Rejection> {
    let mut filters = ListenerFilters {
        timeout: at
            .duration("listener_filters_timeout", &message.listener_filters_timeout)?
            .unwrap_or(Duration::from_secs(15)),
        continue_on_timeout: message.continue_on_listener_filters_timeout,
        ..ListenerFilters::default()
    };
    at.each("listener_filters", &message.listener_filters, |at, one| {
        filter(at, one, &mut filters)
    })?;
    if filters.proxy_protocol.is_some() && message.use_original_dst.is_some_and(|used| used.value) {
        return Err(at
            .field("use_original_dst")
            .reject("not supported together with the PROXY protocol"));
    }
    Ok(filters)
}

fn filter(at: &At<'_>, message: &pb::ListenerFilter, filters: &mut ListenerFilters) -> Result<(), Rejection> {
    use pb::listener_filter::ConfigType;
    let pb::ListenerFilter {
        name,
        filter_disabled,
        config_type,
    } = message;
    silent!("names are for people"; name);
    let off = match filter_disabled {
        None => Ports::default(),
        Some(predicate) => disabled(&at.field("filter_disabled"), predicate)?,
    };
    let any = match at.required("typed_config", config_type)? {
        ConfigType::TypedConfig(any) => any,
        ConfigType::ConfigDiscovery(_) => return Err(at.field("config_discovery").reject("not supported")),
    };
    let config = at.field("typed_config");
    if any.is::<original_dst::OriginalDst>() {
        let original_dst::OriginalDst {} = config.unpack(any)?;
        filters.original_dst |= always(at, &off)?;
    } else if any.is::<proxy_protocol_pb::ProxyProtocol>() {
        let compiled = proxy_protocol::listener_filter(&config, &config.unpack(any)?)?;
        if filters.tls_inspector || filters.http_inspector || filters.proxy_protocol.is_some() {
            return Err(at.reject("the PROXY protocol comes once, before what looks at the client's bytes"));
        }
        if always(at, &off)? {
            filters.proxy_protocol = Some(compiled);
        }
    } else if any.is::<tls_inspector::TlsInspector>() {
        let options = tls_options(&config, &config.unpack(any)?)?;
        filters.tls_inspector = off != Ports::Any;
        if filters.tls_inspector {
            (filters.ja3, filters.ja4) = options;
        }
        filters.tls_inspector_off = off;
    } else if any.is::<http_inspector::HttpInspector>() {
        let http_inspector::HttpInspector {} = config.unpack(any)?;
        filters.http_inspector = off != Ports::Any;
        filters.http_inspector_off = off;
    } else {
        return Err(config.unknown_extension(any));
    }
    Ok(())
}

/// Which fingerprints are made.
fn tls_options(at: &At<'_>, message: &tls_inspector::TlsInspector) -> Result<(bool, bool), Rejection> {
    let tls_inspector::TlsInspector {
        enable_ja3_fingerprinting,
        enable_ja4_fingerprinting,
        initial_read_buffer_size,
        close_connection_on_client_hello_parsing_errors,
        max_client_hello_size,
    } = message;
    refuse!(at; close_connection_on_client_hello_parsing_errors);
    no_effect!(at, "a hello of 16 KiB is looked at, in reads as large as they come"; initial_read_buffer_size,
        max_client_hello_size);
    let is = |said: &Option<protobuf::BoolValue>| said.is_some_and(|said| said.value);
    Ok((is(enable_ja3_fingerprinting), is(enable_ja4_fingerprinting)))
}

/// For filters that run before there is a port to ask for.
fn always(at: &At<'_>, off: &Ports) -> Result<bool, Rejection> {
    let whether = off.whatever_the_port();
    whether.map(|off| !off).ok_or_else(|| {
        at.field("filter_disabled")
            .reject("this filter may not depend on the port")
    })
}

fn disabled(at: &At<'_>, message: &pb::ListenerFilterChainMatchPredicate) -> Result<Ports, Rejection> {
    use pb::listener_filter_chain_match_predicate::{MatchSet, Rule};
    let pb::ListenerFilterChainMatchPredicate { rule } = message;
    let set = |field, MatchSet { rules }: &MatchSet| at.field(field).each("rules", rules, disabled);
    Ok(match at.required("rule", rule)? {
        Rule::AnyMatch(true) => Ports::Any,
        Rule::AnyMatch(false) => return Err(at.field("any_match").reject("must be true")),
        Rule::DestinationPortRange(range) => {
            Ports::Range(port_range(&at.field("destination_port_range"), range)?)
        }
        Rule::OrMatch(rules) => Ports::Or(set("or_match", rules)?),
        Rule::AndMatch(rules) => Ports::And(set("and_match", rules)?),
        Rule::NotMatch(inner) => Ports::Not(Box::new(disabled(&at.field("not_match"), inner)?)),
    })
}

fn port_range(at: &At<'_>, message: &types::Int32Range) -> Result<PortRange, Rejection> {
    let types::Int32Range { start, end } = *message;
    match (u16::try_from(start), u16::try_from(end)) {
        (Ok(start), Ok(end)) => Ok(PortRange { start, end }),
        (Ok(start), Err(_)) if end == 65_536 => {
            at.field("end").warn("port 65535 is inspected all the same");
            Ok(PortRange { start, end: u16::MAX })
        }
        _ => Err(at.reject(format!("not a range of ports: {start} to {end}"))),
    }
}

// === impl Ports ===

impl Ports {
    /// What it says if it says the same of every port.
    fn whatever_the_port(&self) -> Option<bool> {
        match self {
            Self::Any => Some(true),
            Self::Range(_) => None,
            Self::Not(inner) => inner.whatever_the_port().map(|said| !said),
            Self::And(all) => all
                .iter()
                .try_fold(true, |said, inner| Some(said && inner.whatever_the_port()?)),
            Self::Or(any) => any
                .iter()
                .try_fold(false, |said, inner| Some(said || inner.whatever_the_port()?)),
        }
    }
}

impl Default for Ports {
    /// None.
    fn default() -> Self {
        Self::Or(Vec::new())
    }
}
