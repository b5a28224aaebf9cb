//! What a route asks for besides the request: what is noted of it, and the client's certificate.

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::matcher::metadata::{self, FilterStateMatcher, MetadataMatcher};
use crate::compile::pb::route as pb;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FactMatch {
    pub metadata: Vec<MetadataMatcher>,
    pub state: Vec<FilterStateMatcher>,
    /// Whether there is a client certificate, and whether it was verified.
    pub presented: Option<bool>,
    pub validated: Option<bool>,
}

/// None: nothing is asked for.
pub(super) fn facts(at: &At<'_>, message: &pb::RouteMatch) -> Result<Option<Box<FactMatch>>, Rejection> {
    let pb::route_match::TlsContextMatchOptions { presented, validated } =
        message.tls_context.unwrap_or_default();
    let facts = FactMatch {
        metadata: at.each("dynamic_metadata", &message.dynamic_metadata, metadata::metadata)?,
        state: at.each("filter_state", &message.filter_state, metadata::filter_state)?,
        presented: presented.map(|wanted| wanted.value),
        validated: validated.map(|wanted| wanted.value),
    };
    Ok((facts != FactMatch::default()).then(|| Box::new(facts)))
}
