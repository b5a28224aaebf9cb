//! `envoy.filters.http.cors`: what a browser may do from other origins (Fetch standard, "CORS protocol").
//!
//! The filter by itself does nothing: the policy is the route's, or its host's.

use std::sync::Arc;

use leno_proto::FromAny;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::matcher::{self, StringMatcher};
use crate::compile::pb::{cors as pb, protobuf};
use crate::message::{Headers, LocalReply, RequestHead, ResponseHead};
use crate::runtime::{Setting, Share};

pub(super) const KIND: Kind = Kind {
    messages: &[
        "envoy.extensions.filters.http.cors.v3.Cors",
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    ],
    parse,
};

const ORIGIN: &str = "origin";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";

#[derive(Debug)]
struct Factory(Option<Arc<Policy>>);

#[derive(Debug)]
struct Policy {
    origins: Vec<StringMatcher>,
    methods: String,
    headers: String,
    exposed: String,
    max_age: String,
    credentials: bool,
    /// Of the requests.
    enabled: Setting<Share>,
    private_network: bool,
    /// A preflight from an origin that is not allowed goes to the upstream.
    forward_not_matching: bool,
}

/// One request's; the origin once it is allowed.
#[derive(Debug)]
struct Filter {
    policy: Arc<Policy>,
    origin: Option<Vec<u8>>,
}

fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    if any.is::<pb::Cors>() {
        let pb::Cors {} = at.unpack(any)?;
        return Ok(Box::new(Factory(None)));
    }
    let policy = policy(at, &at.unpack(any)?)?;
    Ok(Box::new(Factory(Some(Arc::new(policy)))))
}

fn policy(at: &At<'_>, message: &pb::CorsPolicy) -> Result<Policy, Rejection> {
    let pb::CorsPolicy {
        allow_origin_string_match,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        filter_enabled,
        shadow_enabled,
        allow_private_network_access,
        forward_not_matching_preflights,
    } = message;
    no_effect!(at, "leno has its own statistics"; shadow_enabled);
    Ok(Policy {
        origins: at.each(
            "allow_origin_string_match",
            allow_origin_string_match,
            matcher::string,
        )?,
        methods: allow_methods.clone(),
        headers: allow_headers.clone(),
        exposed: expose_headers.clone(),
        max_age: max_age.clone(),
        credentials: allow_credentials.is_some_and(|allow| allow.value),
        enabled: match filter_enabled {
            None => Share::ALL.into(),
            Some(share) => at.field("filter_enabled").runtime_fraction(share)?,
        },
        private_network: allow_private_network_access.is_some_and(|allow| allow.value),
        forward_not_matching: forward_not_matching_preflights.is_none_or(|forward| forward.value),
    })
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        let route = per_route?.factory.as_any().downcast_ref::<Self>()?;
        let policy = Arc::clone(route.0.as_ref()?);
        Some(Box::new(Filter { policy, origin: None }))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let policy = &self.policy;
        if !policy.enabled.now().takes(cx.random) {
            return Step::Continue;
        }
        let Some(origin) = head.headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else {
            return Step::Continue;
        };
        let asked = head.headers.get("access-control-request-method");
        let is_preflight = head.method.as_ref() == b"OPTIONS" && asked.is_some_and(|asked| !asked.is_empty());
        let is_allowed = policy.origins.iter().any(|allowed| allowed.matches(origin));
        cx.tally.of_manager(match is_allowed {
            true => "cors.origin_valid",
            false => "cors.origin_invalid",
        });
        if !is_allowed {
            return match is_preflight && !policy.forward_not_matching {
                true => Step::Reply(answered(Headers::default())),
                false => Step::Continue,
            };
        }
        let origin = origin.to_vec();
        if is_preflight {
            let headers = policy.preflight(&origin, &head.headers);
            // What is said of every answer is said of this one too.
            self.origin = Some(origin);
            return Step::Reply(answered(headers));
        }
        self.origin = Some(origin);
        Step::Continue
    }

    fn on_response_headers(&mut self, _cx: &mut Context<'_>, head: &mut ResponseHead, _end: bool) -> Step {
        if let Some(origin) = &self.origin {
            head.headers.set(ALLOW_ORIGIN, origin);
            if self.policy.credentials {
                head.headers.set(ALLOW_CREDENTIALS, "true");
            }
            if !self.policy.exposed.is_empty() {
                head.headers
                    .set("access-control-expose-headers", &self.policy.exposed);
            }
        }
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}

impl Policy {
    /// `*` allows what is asked for: to a request with credentials it would mean nothing by itself.
    fn preflight(&self, origin: &[u8], asked: &Headers) -> Headers {
        let mut headers = Headers::default();
        headers.set(ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.set(ALLOW_CREDENTIALS, "true");
        }
        for (name, value, wanted) in [
            (
                "access-control-allow-methods",
                &self.methods,
                "access-control-request-method",
            ),
            (
                "access-control-allow-headers",
                &self.headers,
                "access-control-request-headers",
            ),
        ] {
            match (value.as_str(), asked.get(wanted)) {
                ("", _) => {}
                ("*", wanted) => headers.set(name, wanted.unwrap_or_default()),
                (value, _) => headers.set(name, value),
            }
        }
        if !self.max_age.is_empty() {
            headers.set("access-control-max-age", &self.max_age);
        }
        let private = asked.get("access-control-request-private-network");
        if self.private_network && private == Some(b"true") {
            headers.set("access-control-allow-private-network", "true");
        }
        headers
    }
}

fn answered(headers: Headers) -> LocalReply {
    LocalReply {
        status: 200,
        headers,
        body: Default::default(),
        details: "cors_response".into(),
        flags: Default::default(),
        grpc_status: None,
    }
}
