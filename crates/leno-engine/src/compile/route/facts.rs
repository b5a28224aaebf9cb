//! What a route asks for besides the request: what is noted of it, and the client's certificate.

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::matcher::metadata::{self, FilterStateMatcher, MetadataMatcher};
use crate::compile::pb::matcher as pb;
use crate::compile::pb::route::route_match::TlsContextMatchOptions;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FactMatch {
    pub metadata: Vec<MetadataMatcher>,
    pub state: Vec<FilterStateMatcher>,
    /// Whether there is a client certificate, and whether it was verified.
    pub presented: Option<bool>,
    pub validated: Option<bool>,
}

/// None: nothing is asked for.
pub(super) fn facts(
    at: &At<'_>,
    tls: Option<&TlsContextMatchOptions>,
    dynamic_metadata: &[pb::MetadataMatcher],
    filter_state: &[pb::FilterStateMatcher],
) -> Result<Option<Box<FactMatch>>, Rejection> {
    let TlsContextMatchOptions { presented, validated } = tls.copied().unwrap_or_default();
    let facts = FactMatch {
        metadata: at.each("dynamic_metadata", dynamic_metadata, metadata::metadata)?,
        state: at.each("filter_state", filter_state, metadata::filter_state)?,
        presented: presented.map(|wanted| wanted.value),
        validated: validated.map(|wanted| wanted.value),
    };
    Ok((facts != FactMatch::default()).then(|| Box::new(facts)))
}
