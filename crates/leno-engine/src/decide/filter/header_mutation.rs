//! `envoy.filters.http.header_mutation`: edits of heads, trailers and the query, of the filter's own and of all levels of
//! the route table.

mod query;

use std::sync::Arc;

use leno_proto::FromAny;

use self::query::QueryMutation;
use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Levels, Step};
use crate::compile::Rejection;
use crate::compile::access_log::Heads;
use crate::compile::at::At;
use crate::compile::header::{Mutation, mutation};
use crate::compile::pb::{header_mutation as pb, protobuf};
use crate::decide::headers::mutation::{mutate_request, mutate_response, mutate_trailers};
use crate::message::{Headers, RequestHead, ResponseHead};

pub(super) const KIND: Kind = Kind {
    messages: &[
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    ],
    parse,
};

/// The filter's, or a level's.
#[derive(Debug)]
struct Factory {
    edits: Arc<Edits>,
    /// Of the levels the route's come last, so that they win.
    most_specific_wins: bool,
}

#[derive(Debug, Default)]
struct Edits {
    request: Vec<Mutation>,
    query: Vec<QueryMutation>,
    request_trailers: Vec<Mutation>,
    response: Vec<Mutation>,
    response_trailers: Vec<Mutation>,
}

/// In the order in which they are made.
#[derive(Debug)]
struct Filter(smallvec::SmallVec<[Arc<Edits>; 4]>);

fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    if any.is::<pb::HeaderMutationPerRoute>() {
        let pb::HeaderMutationPerRoute { mutations } = &at.unpack::<pb::HeaderMutationPerRoute>(any)?;
        return Ok(Box::new(Factory {
            edits: edits(at, mutations)?,
            most_specific_wins: false,
        }));
    }
    let pb::HeaderMutation {
        mutations,
        most_specific_header_mutations_wins,
    } = &at.unpack::<pb::HeaderMutation>(any)?;
    Ok(Box::new(Factory {
        edits: edits(at, mutations)?,
        most_specific_wins: *most_specific_header_mutations_wins,
    }))
}

fn edits(at: &At<'_>, message: &Option<pb::Mutations>) -> Result<Arc<Edits>, Rejection> {
    let Some(message) = message else {
        return Ok(Arc::default());
    };
    let at = at.field("mutations");
    let pb::Mutations {
        request_mutations,
        query_parameter_mutations,
        response_mutations,
        response_trailers_mutations,
        request_trailers_mutations,
    } = message;
    Ok(Arc::new(Edits {
        request: at.each("request_mutations", request_mutations, mutation)?,
        query: at.each(
            "query_parameter_mutations",
            query_parameter_mutations,
            query::mutation,
        )?,
        request_trailers: at.each("request_trailers_mutations", request_trailers_mutations, mutation)?,
        response: at.each("response_mutations", response_mutations, mutation)?,
        response_trailers: at.each(
            "response_trailers_mutations",
            response_trailers_mutations,
            mutation,
        )?,
    }))
}

impl FilterFactory for Factory {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Filter(
            std::iter::once(Arc::clone(&self.edits)).collect(),
        )))
    }

    fn start_at(&self, levels: &Levels<'_>) -> Option<Box<dyn HttpFilter>> {
        let of_level = |level: &&FilterConfig| {
            let factory: &Self = level.factory.as_any().downcast_ref()?;
            Some(Arc::clone(&factory.edits))
        };
        let mut all = Filter(std::iter::once(Arc::clone(&self.edits)).collect());
        all.0.extend(levels.iter().filter_map(|level| of_level(&level)));
        if self.most_specific_wins
            && let Some(levels) = all.0.get_mut(1..)
        {
            levels.reverse();
        }
        Some(Box::new(all))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        for edits in &self.0 {
            mutate_request(&edits.request, head, cx.values);
            query::mutate(&edits.query, head, cx.values);
        }
        Step::Continue
    }

    fn on_request_trailers(&mut self, cx: &mut Context<'_>, trailers: &mut Headers) -> Step {
        let heads = Heads {
            request: cx.request,
            ..Heads::default()
        };
        for edits in &self.0 {
            mutate_trailers(&edits.request_trailers, heads, trailers, cx.values);
        }
        Step::Continue
    }

    fn on_response_headers(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead, _end: bool) -> Step {
        for edits in &self.0 {
            mutate_response(&edits.response, cx.request, head, cx.values);
        }
        Step::Continue
    }

    fn on_response_trailers(&mut self, cx: &mut Context<'_>, trailers: &mut Headers) -> Step {
        let heads = Heads {
            request: cx.request,
            ..Heads::default()
        };
        for edits in &self.0 {
            mutate_trailers(&edits.response_trailers, heads, trailers, cx.values);
        }
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        let any =
            |edits: &Arc<Edits>| !edits.request_trailers.is_empty() || !edits.response_trailers.is_empty();
        self.0.iter().any(any)
    }
}
