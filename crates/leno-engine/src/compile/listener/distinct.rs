//! Filter chains that a connection could not choose between.

use std::sync::Arc;

use super::{ChainMatch, FilterChain};
use crate::compile::Rejection;
use crate::compile::at::At;

/// Two chains that some connection meets alike in every criterion are a mistake, as in Envoy: neither is the better one.
/// So is a value that one chain has twice.
pub(super) fn distinct(at: &At<'_>, chains: &[Arc<FilterChain>]) -> Result<(), Rejection> {
    for (i, chain) in chains.iter().enumerate() {
        let reject = |reason: String| {
            let at = at.item("filter_chains", i);
            Err(at.field("filter_chain_match").reject(reason))
        };
        if chain.matches.repeats() {
            return reject("says the same twice".into());
        }
        let earlier = chains.iter().take(i);
        let same = earlier
            .enumerate()
            .find(|(_, other)| other.matches.overlaps(&chain.matches));
        if let Some((j, _)) = same {
            return reject(format!("matches the same as filter_chains[{j}]"));
        }
    }
    Ok(())
}

// === impl ChainMatch ===

impl ChainMatch {
    /// Whether there is a set of values that both name, criterion for criterion; a range that is within another is not
    /// the same, it is the better one.
    fn overlaps(&self, other: &Self) -> bool {
        let Self {
            destination_port,
            prefix_ranges,
            server_names,
            transport_protocol,
            application_protocols,
            direct_source_ranges,
            source_type,
            source_ranges,
            source_ports,
        } = self;
        *destination_port == other.destination_port
            && share(prefix_ranges, &other.prefix_ranges)
            && share(server_names, &other.server_names)
            && *transport_protocol == other.transport_protocol
            && share(application_protocols, &other.application_protocols)
            && share(direct_source_ranges, &other.direct_source_ranges)
            && *source_type == other.source_type
            && share(source_ranges, &other.source_ranges)
            && share(source_ports, &other.source_ports)
    }

    fn repeats(&self) -> bool {
        twice(&self.prefix_ranges)
            || twice(&self.server_names)
            || twice(&self.application_protocols)
            || twice(&self.direct_source_ranges)
            || twice(&self.source_ranges)
            || twice(&self.source_ports)
    }
}

fn share<T: PartialEq>(these: &[T], those: &[T]) -> bool {
    match (these.is_empty(), those.is_empty()) {
        (true, true) => true,
        _ => these.iter().any(|value| those.contains(value)),
    }
}

fn twice<T: PartialEq>(values: &[T]) -> bool {
    let mut rest = values;
    while let Some((first, others)) = rest.split_first() {
        if others.contains(first) {
            return true;
        }
        rest = others;
    }
    false
}
