//! `envoy.filters.http.rbac`: requests that no policy allows, or that one denies, are answered 403.

use std::sync::Arc;

use bytes::Bytes;
use leno_proto::FromAny;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, silent};
use crate::compile::pb::{protobuf, rbac_filter as pb};
use crate::compile::rbac::{self, Rules, Subject};
use crate::decide::rbac::{Caller, details};
use crate::message::{Headers, LocalReply, RequestHead};

pub(super) const KIND: Kind = Kind {
    messages: &[
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    ],
    parse,
};

const DENIED: Bytes = Bytes::from_static(b"RBAC: access denied");

/// The filter's, or a route's.
#[derive(Debug)]
struct Factory(Option<Arc<Both>>);

#[derive(Debug)]
struct Both {
    enforced: Option<Rules>,
}

#[derive(Debug)]
struct Filter(Arc<Both>);

fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    if any.is::<pb::RbacPerRoute>() {
        let pb::RbacPerRoute { rbac } = &at.unpack::<pb::RbacPerRoute>(any)?;
        let rules = match rbac {
            None => None,
            Some(own) => Some(Arc::new(rules(&at.field("rbac"), own)?)),
        };
        return Ok(Box::new(Factory(rules)));
    }
    let rules = rules(at, &at.unpack(any)?)?;
    Ok(Box::new(Factory(Some(Arc::new(rules)))))
}

fn rules(at: &At<'_>, message: &pb::Rbac) -> Result<Both, Rejection> {
    let pb::Rbac {
        rules,
        rules_stat_prefix,
        matcher,
        shadow_rules,
        shadow_matcher,
        shadow_rules_stat_prefix,
        track_per_rule_stats,
    } = message;
    silent!("leno has its own statistics"; rules_stat_prefix, shadow_rules_stat_prefix);
    no_effect!(at, "leno has its own statistics"; track_per_rule_stats);
    no_effect!(at, "what they would do is not told yet"; shadow_rules, shadow_matcher);
    Ok(Both {
        enforced: rbac::rules(
            at,
            Subject::Requests,
            ("rules", rules.as_ref()),
            ("matcher", matcher.as_ref()),
        )?,
    })
}

impl Factory {
    /// A route's own rules replace the filter's; a route without any turns them off.
    fn of(&self, per_route: Option<&FilterConfig>) -> Option<Arc<Both>> {
        let route = per_route.and_then(|config| config.factory.as_any().downcast_ref::<Self>());
        route.unwrap_or(self).0.clone()
    }
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        let rules = self.of(per_route)?;
        rules
            .enforced
            .is_some()
            .then(|| Box::new(Filter(rules)) as Box<dyn HttpFilter>)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let Some(rules) = &self.0.enforced else {
            return Step::Continue;
        };
        let verdict = rules.decide(&Caller {
            request: Some(head),
            remote: cx.remote,
            peer: cx.caller,
        });
        if verdict.allowed {
            return Step::Continue;
        }
        Step::Reply(LocalReply {
            status: 403,
            headers: Headers::default(),
            body: DENIED,
            details: details(verdict.policy).into(),
            flags: Default::default(),
            grpc_status: None,
        })
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}
