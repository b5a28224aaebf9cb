//! `envoy.filters.http.peak_ewma`: in Envoy it measures for the balancing policy of the same name, which here does so itself.

use leno_proto::google::protobuf::Any;

use super::{FilterConfig, FilterFactory, HttpFilter, Kind};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::peak_ewma_filter as pb;

pub(super) const KIND: Kind = Kind {
    messages: &["envoy.extensions.filters.http.peak_ewma.v3alpha.PeakEwmaConfig"],
    parse,
};

#[derive(Debug)]
struct Nothing;

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let pb::PeakEwmaConfig {} = at.unpack(any)?;
    Ok(Box::new(Nothing))
}

impl FilterFactory for Nothing {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        None
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
