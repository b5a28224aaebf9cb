//! `filter_chain_matcher`: chains by their names, in a tree of what is known of a connection.

use std::collections::HashMap;
use std::sync::Arc;

use super::FilterChain;
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::matcher::input::Input;
use crate::compile::matcher::tree::{self, Grammar, Tree};
use crate::compile::pb::{protobuf, xds_matcher};

pub(super) fn matcher(
    at: &At<'_>,
    message: &xds_matcher::Matcher,
    chains: &[Arc<FilterChain>],
) -> Result<Tree<Option<usize>>, Rejection> {
    let mut names = HashMap::with_capacity(chains.len());
    for (i, chain) in chains.iter().enumerate() {
        let at = at.item("filter_chains", i);
        at.not_empty("name", &chain.name)?;
        if names.insert(chain.name.as_str(), i).is_some() {
            return Err(at
                .field("name")
                .reject(format!("{:?} is there twice", chain.name)));
        }
    }
    let name = |at: &At<'_>, any: &protobuf::Any| {
        let protobuf::StringValue { value } = &at.unpack::<protobuf::StringValue>(any)?;
        // As in Envoy it may name a chain that is not there: such connections are closed.
        Ok(names.get(value.as_str()).copied())
    };
    tree::tree(
        &at.field("filter_chain_matcher"),
        message,
        &Grammar {
            allows: is_known_before_a_request,
            place: "a listener",
            action: &name,
        },
    )
}

fn is_known_before_a_request(input: &Input) -> bool {
    match input {
        Input::DestinationIp
        | Input::DestinationPort
        | Input::SourceIp
        | Input::SourcePort
        | Input::DirectSourceIp
        | Input::SourceType
        | Input::ServerName
        | Input::TransportProtocol
        | Input::ApplicationProtocol
        | Input::FilterState(_) => true,
        Input::Attributes
        | Input::RequestHeader(_)
        | Input::QueryParameter(_)
        | Input::UriSan
        | Input::DnsSan
        | Input::Subject
        | Input::DynamicMetadata { .. }
        | Input::EndpointMetadata { .. }
        | Input::LocalityMetadata { .. } => false,
    }
}
