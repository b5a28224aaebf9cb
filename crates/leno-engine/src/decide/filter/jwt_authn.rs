//! `envoy.filters.http.jwt_authn`: requests bring JSON Web Tokens (RFC 7519), and those that do not, or bad ones, are
//! answered 401.
//!
//! A request matches a rule, the rule has a requirement, and that names providers: whose tokens are taken, from where in the
//! request, and by which keys. All of it is decided here; only a set of keys is fetched by whoever performs the
//! [`Effect::Fetch`], and then the request comes once more.

mod claims;
mod places;
mod provider;
mod refusal;
mod request;
mod requirement;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use leno_proto::FromAny;
use smallvec::SmallVec;

use self::refusal::Blame;
pub use self::refusal::Refusal;
use self::request::{Request, Stop};
use self::requirement::{Providers, Requirement};
use super::{Context, Effect, EffectResult, FilterConfig, FilterFactory, Foretold, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::access_log::FormatValues;
use crate::compile::at::{At, refuse};
use crate::compile::metadata::Fields;
use crate::compile::pb::{jwt_authn as pb, protobuf};
use crate::compile::route::{RouteMatch, route_match};
use crate::decide::notes::Notes;
use crate::decide::route::RouteContext;
use crate::jwt::{Failure, Remote};
use crate::message::{Headers, LocalReply, RequestHead};

pub(super) const KIND: Kind = Kind {
    messages: &[
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    ],
    parse,
};

/// Where good tokens are noted.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// Of a path, in `www-authenticate`.
const MOST_PATH: usize = 256;

#[derive(Debug)]
enum Factory {
    List(Arc<Rules>),
    Route(OfRoute),
}

#[derive(Debug)]
enum OfRoute {
    Disabled,
    Requirement(String),
}

#[derive(Debug)]
struct Rules {
    providers: Providers,
    rules: Vec<(RouteMatch, Requires)>,
    named: BTreeMap<String, Arc<Requirement>>,
    /// Headers that nobody but this filter sets.
    own_headers: Vec<String>,
    bypass_preflight: bool,
    /// Answers do not say why.
    strips: bool,
    names: Names,
}

type Requires = Option<Arc<Requirement>>;

/// Of counters, below the manager's.
#[derive(Debug)]
struct Names {
    allowed: String,
    denied: String,
    bypassed: String,
}

#[derive(Debug)]
struct Filter {
    rules: Arc<Rules>,
    choice: Choice,
    /// Key sets that this request has waited for.
    waited: SmallVec<[Arc<Remote>; 1]>,
}

/// Who says what a request has to bring.
#[derive(Debug)]
enum Choice {
    Rules,
    /// The route, by a name.
    Named(String),
    /// Nobody.
    Nothing,
}

fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    if any.is::<pb::PerRouteConfig>() {
        use pb::per_route_config::RequirementSpecifier as R;
        let pb::PerRouteConfig {
            requirement_specifier,
        } = &at.unpack::<pb::PerRouteConfig>(any)?;
        let of_route = match at.required("requirement_specifier", requirement_specifier)? {
            R::Disabled(true) => OfRoute::Disabled,
            R::Disabled(false) => return Err(at.field("disabled").reject("only true")),
            R::RequirementName(name) => {
                at.not_empty("requirement_name", name)?;
                OfRoute::Requirement(name.clone())
            }
        };
        return Ok(Box::new(Factory::Route(of_route)));
    }
    let rules = rules(at, &at.unpack(any)?)?;
    Ok(Box::new(Factory::List(Arc::new(rules))))
}

fn rules(at: &At<'_>, message: &pb::JwtAuthentication) -> Result<Rules, Rejection> {
    let pb::JwtAuthentication {
        providers,
        rules,
        filter_state_rules,
        bypass_cors_preflight,
        requirement_map,
        strip_failure_response,
        stat_prefix,
    } = message;
    refuse!(at; filter_state_rules);
    let providers = Providers::compile(at, providers)?;
    let mut named = BTreeMap::new();
    for (name, message) in requirement_map {
        let at = at.entry("requirement_map", name);
        let requirement = Requirement::compile(&at, message, &providers)?;
        named.insert(name.clone(), Arc::new(requirement));
    }
    let rules = at.each("rules", rules, |at, rule| {
        use pb::requirement_rule::RequirementType as R;
        let pb::RequirementRule {
            r#match,
            requirement_type,
        } = rule;
        let matches = route_match(&at.field("match"), at.required("match", r#match)?)?;
        let requires = match requirement_type {
            None => None,
            Some(R::Requires(message)) => {
                let requirement = Requirement::compile(&at.field("requires"), message, &providers)?;
                Some(Arc::new(requirement))
            }
            Some(R::RequirementName(name)) => {
                let unknown = || {
                    let at = at.field("requirement_name");
                    at.reject(format!("no requirement {name:?}"))
                };
                Some(Arc::clone(named.get(name).ok_or_else(unknown)?))
            }
        };
        Ok((matches, requires))
    })?;
    let own_headers = providers.all().flat_map(|provider| {
        let payload = provider.payload_header.iter().map(|header| header.name.clone());
        payload.chain(provider.claims.iter().map(|claim| claim.name.clone()))
    });
    Ok(Rules {
        own_headers: own_headers.collect(),
        providers,
        rules,
        named,
        bypass_preflight: *bypass_cors_preflight,
        strips: *strip_failure_response,
        names: Names::new(stat_prefix),
    })
}

// === impl Names ===

impl Names {
    fn new(prefix: &str) -> Self {
        let dot = if prefix.is_empty() || prefix.ends_with('.') {
            ""
        } else {
            "."
        };
        let name = |what: &str| format!("jwt_authn.{prefix}{dot}{what}");
        Self {
            allowed: name("allowed"),
            denied: name("denied"),
            bypassed: name("cors_preflight_bypassed"),
        }
    }
}

// === impl Factory ===

impl Factory {
    fn filter(&self, per_route: Option<&FilterConfig>) -> Option<Filter> {
        let Self::List(rules) = self else { return None };
        let of_route = per_route.and_then(|config| config.factory.as_any().downcast_ref::<Self>());
        let choice = match of_route {
            // Headers of its own are nobody else's there either.
            Some(Self::Route(OfRoute::Disabled)) if rules.own_headers.is_empty() => return None,
            Some(Self::Route(OfRoute::Disabled)) => Choice::Nothing,
            Some(Self::Route(OfRoute::Requirement(name))) => Choice::Named(name.clone()),
            Some(Self::List(_)) | None => Choice::Rules,
        };
        Some(Filter {
            rules: Arc::clone(rules),
            choice,
            waited: SmallVec::new(),
        })
    }
}

/// What becomes of a request's tokens: what a caller would be told, or what is noted of them. None: the filter is another,
/// or fetches the keys that it needs.
pub(super) fn verifies(
    factory: &dyn FilterFactory,
    per_route: Option<&FilterConfig>,
    head: &RequestHead,
    (now, time): (Instant, SystemTime),
    notes: &Notes,
    values: &dyn FormatValues,
) -> Option<Refusal> {
    let factory: &Factory = factory.as_any().downcast_ref()?;
    let filter = factory.filter(per_route)?;
    if filter.rules.bypass_preflight && is_preflight(head) {
        return None;
    }
    let requirement = Arc::clone(filter.requirement(head, &RouteContext::default()).ok()??);
    let mut request = Request {
        head: head.clone(),
        noted: Fields::new(),
        reroutes: false,
        now,
        time,
        waited: &[],
        blames: Vec::new(),
    };
    let checked = requirement.check(&mut request, &filter.rules.providers);
    notes.merge_metadata(NAMESPACE, &request.noted);
    match checked {
        Err(Stop::Failed(failure)) => Some(Refusal::new(failure, &request.blames, values)),
        Ok(()) | Err(Stop::Needs(_)) => None,
    }
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(self.filter(per_route)?))
    }

    fn counts(&self) -> Vec<String> {
        match self {
            Self::List(rules) => {
                let Names {
                    allowed,
                    denied,
                    bypassed,
                } = &rules.names;
                vec![allowed.clone(), denied.clone(), bypassed.clone()]
            }
            Self::Route(_) => Vec::new(),
        }
    }

    /// A request without any token is known to be refused without asking for keys.
    fn foretell(
        &self,
        per_route: Option<&FilterConfig>,
        head: &RequestHead,
        _cluster: Option<&str>,
    ) -> Vec<Foretold> {
        let Some(filter) = self.filter(per_route) else {
            return Vec::new();
        };
        let rules = &filter.rules;
        if rules.bypass_preflight && is_preflight(head) {
            return Vec::new();
        }
        let refused = |status| {
            vec![Foretold::Reply {
                status,
                share: 1_000_000,
            }]
        };
        match filter.requirement(head, &RouteContext::default()) {
            Err(_) => refused(403),
            Ok(Some(requirement)) if requirement.refuses_without_token(head) => refused(401),
            Ok(_) => Vec::new(),
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

// === impl Filter ===

impl Filter {
    /// Err: the route names one that is not there, and so much is said.
    fn requirement(
        &self,
        head: &RequestHead,
        cx: &RouteContext<'_>,
    ) -> Result<Option<&Arc<Requirement>>, String> {
        match &self.choice {
            Choice::Nothing => return Ok(None),
            Choice::Named(name) => {
                let known = &self.rules.named;
                return known.get(name).map(Some).ok_or_else(|| {
                    let known: Vec<&str> = known.keys().map(String::as_str).collect();
                    let known = known.join(",");
                    format!("Wrong requirement_name: {name}. It should be one of [{known}]")
                });
            }
            Choice::Rules => {}
        }
        let rule = self
            .rules
            .rules
            .iter()
            .find(|(matches, _)| matches.miss(head, cx).is_none());
        Ok(rule.and_then(|(_, requires)| requires.as_ref()))
    }

    fn deny(&self, cx: &mut Context<'_>, head: &RequestHead, failure: Failure, blames: &[Blame]) -> Step {
        cx.tally.of_manager(&self.rules.names.denied);
        let refusal = Refusal::new(failure, blames, cx.values);
        refusal.note(cx.notes);
        let mut headers = Headers::default();
        let body = match self.rules.strips {
            true => "",
            false => {
                headers.append("www-authenticate", challenge(head, failure));
                failure.text()
            }
        };
        Step::Reply(LocalReply {
            status: refusal.status,
            headers,
            body: Bytes::from_static(body.as_bytes()),
            details: details(failure.text()).into(),
            flags: Default::default(),
            grpc_status: None,
        })
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let rules = Arc::clone(&self.rules);
        // Whoever is let through may not say what only a good token says.
        for name in &rules.own_headers {
            head.headers.remove(name);
        }
        if rules.bypass_preflight && is_preflight(head) {
            cx.tally.of_manager(&rules.names.bypassed);
            cx.tally.of_manager(&rules.names.allowed);
            return Step::Continue;
        }
        let of_route = RouteContext {
            random: cx.random,
            tls: cx.connection.tls,
            certificate: cx.connection.peer_principal.is_some(),
            source: Some(cx.remote.ip()),
            notes: Some(cx.notes),
        };
        let requirement = match self.requirement(head, &of_route) {
            Ok(Some(requirement)) => Arc::clone(requirement),
            Ok(None) => {
                cx.tally.of_manager(&rules.names.allowed);
                return Step::Continue;
            }
            Err(why) => {
                cx.tally.of_manager(&rules.names.denied);
                return Step::Reply(wrong_name(&why, rules.strips));
            }
        };
        let mut request = Request {
            head: head.clone(),
            noted: Fields::new(),
            reroutes: false,
            now: (cx.clock)(),
            time: (cx.time)(),
            waited: &self.waited,
            blames: Vec::new(),
        };
        let checked = requirement.check(&mut request, &rules.providers);
        if let Err(Stop::Needs(remote)) = checked {
            self.waited.push(Arc::clone(&remote));
            return Step::Effect(Effect::Fetch(remote));
        }
        if !request.noted.is_empty() {
            cx.notes.merge_metadata(NAMESPACE, &request.noted);
        }
        let changed = request.head;
        match checked {
            Err(Stop::Failed(failure)) => self.deny(cx, head, failure, &request.blames),
            Ok(()) | Err(Stop::Needs(_)) => {
                if request.reroutes {
                    cx.reroutes.set(true);
                }
                *head = changed;
                cx.tally.of_manager(&rules.names.allowed);
                Step::Continue
            }
        }
    }

    fn on_effect(&mut self, _cx: &mut Context<'_>, _result: EffectResult) -> Step {
        Step::Again
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}

fn wrong_name(why: &str, strips: bool) -> LocalReply {
    LocalReply {
        status: 403,
        headers: Headers::default(),
        body: match strips {
            true => Bytes::new(),
            false => format!("Failed JWT authentication: {why}").into(),
        },
        details: details(why).into(),
        flags: Default::default(),
        grpc_status: None,
    }
}

/// RFC 6750 §3; the realm is the request's own address.
fn challenge(head: &RequestHead, failure: Failure) -> Vec<u8> {
    let path = head.headers.get("x-envoy-original-path").unwrap_or(&head.path);
    let path = path.get(..MOST_PATH).unwrap_or(path);
    let scheme = head.headers.get("x-forwarded-proto").unwrap_or_default();
    let mut value = [b"Bearer realm=\"", scheme, b"://", &head.authority, path, b"\""].concat();
    if failure != Failure::Missing {
        value.extend_from_slice(b", error=\"invalid_token\"");
    }
    value
}

fn details(why: &str) -> String {
    format!("jwt_authn_access_denied{{{}}}", why.replace(' ', "_"))
}

fn is_preflight(head: &RequestHead) -> bool {
    let says = |name| head.headers.get(name).is_some_and(|value| !value.is_empty());
    head.method.as_ref() == b"OPTIONS" && says("origin") && says("access-control-request-method")
}

#[cfg(test)]
mod tests;
