//! `envoy.filters.http.set_filter_state`: notes values that formats make of a request, for the filters after it, for the
//! connection to the upstream and for logs.

use std::sync::Arc;

use leno_proto::google::protobuf::Any;
use smallvec::SmallVec;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Levels, Step};
use crate::compile::Rejection;
use crate::compile::access_log::Heads;
use crate::compile::at::{At, refuse};
use crate::compile::filter_state::{Noting, noting};
use crate::compile::pb::set_filter_state as pb;
use crate::message::RequestHead;

pub(super) const KIND: Kind = Kind {
    messages: &["envoy.extensions.filters.http.set_filter_state.v3.Config"],
    parse,
};

#[derive(Debug)]
struct Factory(Arc<[Noting]>);

/// The filter's own, then what the levels of the route table say, the most specific last.
#[derive(Debug)]
struct Filter(SmallVec<[Arc<[Noting]>; 4]>);

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let pb::Config {
        on_request_headers,
        clear_route_cache,
    } = &at.unpack::<pb::Config>(any)?;
    refuse!(at; clear_route_cache);
    if on_request_headers.is_empty() {
        return Err(at.field("on_request_headers").reject("required"));
    }
    let all = at.each("on_request_headers", on_request_headers, noting)?;
    Ok(Box::new(Factory(all.into())))
}

impl FilterFactory for Factory {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        self.start_at(&Levels::default())
    }

    fn start_at(&self, levels: &Levels<'_>) -> Option<Box<dyn HttpFilter>> {
        let factories = levels
            .iter()
            .filter_map(|level| level.factory.as_any().downcast_ref::<Self>());
        let mut all: SmallVec<_> = factories.map(|factory| Arc::clone(&factory.0)).collect();
        all.push(Arc::clone(&self.0));
        all.reverse();
        Some(Box::new(Filter(all)))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        for one in self.0.iter().flat_map(|all| all.iter()) {
            let heads = Heads {
                request: Some(head),
                ..Heads::default()
            };
            one.note(heads, cx.values, cx.notes);
        }
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}
