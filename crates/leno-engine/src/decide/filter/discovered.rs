//! `config_discovery`: a filter of the list whose configuration comes by ECDS, under the filter's name.

use std::sync::Arc;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Levels, Step, message_name};
use crate::compile::config_source::Source;
use crate::flags::Flag;
use crate::message::{Headers, LocalReply, RequestHead};

/// Where a filter's configuration comes from, and what holds without it.
#[derive(Debug)]
pub struct Discovered {
    pub source: Source,
    /// The full names of the messages that it may be.
    pub types: Vec<String>,
    pub default: Option<Arc<FilterConfig>>,
}

impl FilterConfig {
    /// As [`Self::start_at`], of a filter whose configuration is this one at the moment, or none.
    pub fn start_discovered(
        &self,
        discovered: &Discovered,
        configuration: Option<&FilterConfig>,
        head: &RequestHead,
        levels: &Levels<'_>,
    ) -> Option<Box<dyn HttpFilter>> {
        if levels
            .most_specific()
            .map_or(self.disabled, |level| level.disabled)
        {
            return None;
        }
        match configuration.or(discovered.default.as_deref()) {
            Some(configuration) if !configuration.factory.wants(head) => None,
            Some(configuration) => configuration.factory.start_at(levels),
            None => Some(Box::new(Missing)),
        }
    }
}

/// Without a configuration a filter lets nothing pass.
#[derive(Debug)]
pub(super) struct Missing;

impl FilterFactory for Missing {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Self))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Missing {
    fn on_request_headers(&mut self, _cx: &mut Context<'_>, _head: &mut RequestHead, _end: bool) -> Step {
        Step::Reply(LocalReply {
            status: 500,
            headers: Headers::default(),
            body: bytes::Bytes::new(),
            details: "".into(),
            flags: Flag::NoFilterConfigFound.into(),
            grpc_status: None,
        })
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}

/// The full name of a configuration's message.
pub(crate) fn type_of(any: &leno_proto::google::protobuf::Any) -> String {
    message_name(any).to_owned()
}
