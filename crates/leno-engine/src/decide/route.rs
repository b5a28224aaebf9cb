//! Which virtual host and route a request takes.
//!
//! Hosts: exact domain, then the longest `*.suffix`, then the longest `prefix.*`, then `*`
//! (`route_components.proto`, VirtualHost.domains). Routes: the first that matches, in order.

pub use super::grpc::is_grpc;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::authority::without_any_port;
use super::hash::hash_by;
use super::matcher::tree::{Facts, Undecided};
use super::matcher::{equal, starts_with};
use super::notes::{Notes, Object, Shown};
use super::rewrite::redirect_location;
use crate::compile::local_reply::BodyFormat;
use crate::compile::matcher::input::Input;
use crate::compile::matcher::{CookieMatcher, HeaderMatcher, PathMatcher, QueryMatcher};
use crate::compile::route::{
    Action, ClusterChoice, Deciding, FactMatch, Forward, Route, RouteTable, VirtualHost, WeightedCluster,
};
use crate::decide::filter::{FilterConfig, Levels};
use crate::message::RequestHead;
use crate::runtime::{Setting, Share};

/// What a route decision needs besides the head.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteContext<'c> {
    /// A fresh random number: runtime fractions, weighted clusters.
    pub random: u64,
    /// The request came over TLS. What `x-forwarded-proto` says goes before that: it is the connection manager's to
    /// leave there only what can be trusted.
    pub tls: bool,
    /// The client has a certificate, which was verified.
    pub certificate: bool,
    /// The client's trusted address.
    pub source: Option<IpAddr>,
    /// What filters have noted of the request.
    pub notes: Option<&'c Notes>,
}

impl RouteContext<'_> {
    /// Of somebody of whom nothing else is known.
    pub const fn new(random: u64, tls: bool) -> Self {
        Self {
            random,
            tls,
            certificate: false,
            source: None,
            notes: None,
        }
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<'t> {
    Forward(Forwarding<'t>),
    Redirect {
        table: &'t RouteTable,
        host: &'t VirtualHost,
        /// None: the host demands TLS.
        route: Option<&'t Arc<Route>>,
        location: Bytes,
        code: u16,
    },
    Respond {
        table: &'t RouteTable,
        host: &'t VirtualHost,
        route: &'t Arc<Route>,
        status: u16,
        body: &'t Bytes,
        /// What the body is made of, if it is not sent as it is.
        format: Option<&'t BodyFormat>,
        /// Of 201 and redirects: the request's own place.
        location: Option<Bytes>,
    },
    /// The host is known, none of its routes matches.
    NoRoute {
        host: &'t VirtualHost,
    },
    NoHost,
}

/// A request that goes to a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Forwarding<'t> {
    pub table: &'t RouteTable,
    pub host: &'t VirtualHost,
    pub route: &'t Arc<Route>,
    pub forward: &'t Forward,
    /// Empty where `cluster_header` names a header that the request lacks.
    pub cluster: Cow<'t, str>,
    pub weighted: Option<&'t WeightedCluster>,
}

/// Why a route did not take a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Miss<'t> {
    Path(&'t PathMatcher),
    Header(&'t HeaderMatcher),
    Query(&'t QueryMatcher),
    Cookie(&'t CookieMatcher),
    /// What is noted of it, or the client's certificate.
    Facts(&'t FactMatch),
    NotGrpc,
    /// The route takes only this share (parts in a million), and this request is not of it.
    Fraction(u32),
}

/// Watches a decision, for `leno explain`.
pub trait Observer {
    fn host(&mut self, _host: &VirtualHost) {}
    fn missed(&mut self, _host: &VirtualHost, _route: &Arc<Route>, _why: Miss<'_>) {}
    fn taken(&mut self, _host: &VirtualHost, _route: &Arc<Route>) {}
}

/// Watches nothing and costs nothing.
impl Observer for () {}

// === impl RouteTable ===

impl RouteTable {
    pub fn route<'t>(&'t self, head: &RequestHead, cx: &RouteContext<'_>) -> Decision<'t> {
        self.explain(head, cx, &mut ())
    }

    /// The same decision, told step by step.
    pub fn explain<'t, O: Observer>(
        &'t self,
        head: &RequestHead,
        cx: &RouteContext<'_>,
        observer: &mut O,
    ) -> Decision<'t> {
        let Some(host) = self.host_of(head) else {
            return Decision::NoHost;
        };
        observer.host(host);
        if host.require_tls && !is_secure(head, cx) {
            return Decision::Redirect {
                table: self,
                host,
                route: None,
                location: https_location(head),
                code: 301,
            };
        }
        for route in host.routes_for(head, cx) {
            match route.matches.miss(head, cx) {
                Some(why) => observer.missed(host, route, why),
                None => {
                    observer.taken(host, route);
                    return self.act(host, route, head, cx);
                }
            }
        }
        Decision::NoRoute { host }
    }

    /// The virtual host for an authority.
    /// The virtual host that a request is for.
    pub fn host_of(&self, head: &RequestHead) -> Option<&VirtualHost> {
        let name = match &self.host_header {
            None => Some(&*head.authority),
            Some(header) => head.headers.get(header),
        };
        self.host(name?)
    }

    pub fn host(&self, authority: &[u8]) -> Option<&VirtualHost> {
        let authority = if self.ignore_port {
            without_any_port(authority)
        } else {
            authority
        };
        self.hosts.get(self.domains.find(authority)?)
    }

    fn act<'t>(
        &'t self,
        host: &'t VirtualHost,
        route: &'t Arc<Route>,
        head: &RequestHead,
        cx: &RouteContext<'_>,
    ) -> Decision<'t> {
        match &route.action {
            Action::Forward(forward) => {
                let (cluster, weighted) = choose_cluster(forward, head, cx);
                Decision::Forward(Forwarding {
                    table: self,
                    host,
                    route,
                    forward,
                    cluster,
                    weighted,
                })
            }
            Action::Redirect(redirect) => Decision::Redirect {
                table: self,
                host,
                route: Some(route),
                location: redirect_location(redirect, &route.matches, head, is_secure(head, cx)),
                code: redirect.code,
            },
            Action::Respond { status, body, format } => Decision::Respond {
                format: format.as_ref(),
                table: self,
                host,
                route,
                status: *status,
                body,
                location: matches!(status, 201 | 300..400).then(|| own_location(head, is_secure(head, cx))),
            },
        }
    }
}

// === impl VirtualHost ===

impl VirtualHost {
    /// Of which the first that takes the request counts.
    fn routes_for(&self, head: &RequestHead, cx: &RouteContext<'_>) -> &[Arc<Route>] {
        match &self.tree {
            None => &self.routes,
            Some(tree) => {
                let leaf = tree.decide(&RouteFacts { head, cx });
                leaf.and_then(|leaf| self.routes.get(leaf.clone()))
                    .unwrap_or_default()
            }
        }
    }
}

/// What trees of routes look at.
struct RouteFacts<'f> {
    head: &'f RequestHead,
    cx: &'f RouteContext<'f>,
}

impl Facts for RouteFacts<'_> {
    fn get(&self, input: &Input) -> Result<Option<Cow<'_, [u8]>>, Undecided> {
        Ok(match input {
            Input::RequestHeader(name) => self.head.joined(name),
            Input::FilterState(key) => {
                let shown = |object: &Object| {
                    (object.shown != Shown::Nowhere).then(|| Cow::Owned(object.value.clone().into_bytes()))
                };
                self.cx.notes.and_then(|notes| notes.state(key, shown).flatten())
            }
            // No tree of routes may name others.
            _ => None,
        })
    }

    fn notes(&self) -> Option<&Notes> {
        self.cx.notes
    }
}

impl FactMatch {
    fn hold(&self, cx: &RouteContext<'_>) -> bool {
        let is_so = |wanted: &Option<bool>| wanted.is_none_or(|wanted| wanted == cx.certificate);
        is_so(&self.presented)
            && is_so(&self.validated)
            && self.metadata.iter().all(|one| one.matches(cx.notes))
            && self.state.iter().all(|one| one.matches(cx.notes))
    }
}

// === impl Decision ===

impl<'t> Decision<'t> {
    pub fn host(&self) -> Option<&'t VirtualHost> {
        match self {
            Self::Forward(forwarding) => Some(forwarding.host),
            Self::Redirect { host, .. } | Self::Respond { host, .. } | Self::NoRoute { host } => Some(host),
            Self::NoHost => None,
        }
    }

    pub fn route(&self) -> Option<&'t Arc<Route>> {
        match self {
            Self::Forward(forwarding) => Some(forwarding.route),
            Self::Redirect { route, .. } => *route,
            Self::Respond { route, .. } => Some(route),
            Self::NoRoute { .. } | Self::NoHost => None,
        }
    }

    /// The most specific configuration of a filter: weighted cluster, then route, then host.
    pub fn filter_config(&self, filter: &str) -> Option<&'t FilterConfig> {
        self.filter_levels(filter).most_specific()
    }

    /// What each level says of a filter; nothing where no route takes the request, whatever its host says.
    pub fn filter_levels(&self, filter: &str) -> Levels<'t> {
        let (table, host, route, weighted) = match self {
            Self::Forward(forwarding) => (
                forwarding.table,
                forwarding.host,
                forwarding.route,
                forwarding.weighted,
            ),
            Self::Redirect {
                table,
                host,
                route: Some(route),
                ..
            }
            | Self::Respond {
                table, host, route, ..
            } => (*table, *host, *route, None),
            Self::Redirect { route: None, .. } | Self::NoRoute { .. } | Self::NoHost => {
                return Levels::default();
            }
        };
        let of = |configs: &'t HashMap<String, Arc<FilterConfig>>| configs.get(filter).map(Arc::as_ref);
        Levels([
            weighted.and_then(|weighted| of(&weighted.filter_configs)),
            of(&route.filter_configs),
            of(&host.filter_configs),
            of(&table.filter_configs),
        ])
    }
}

// === impl RouteMatch ===

impl crate::compile::route::RouteMatch {
    /// None: the route takes the request.
    pub fn miss(&self, head: &RequestHead, cx: &RouteContext<'_>) -> Option<Miss<'_>> {
        if let Some(share) = self.share()
            && !share.takes(cx.random)
        {
            return Some(Miss::Fraction(share.0));
        }
        if !self.takes_path(head) {
            return Some(Miss::Path(&self.path));
        }
        if self.grpc && !is_grpc(head) {
            return Some(Miss::NotGrpc);
        }
        if let Some(header) = self.headers.iter().find(|h| !h.matches_request(head)) {
            return Some(Miss::Header(header));
        }
        let query = head.query().unwrap_or_default();
        if let Some(parameter) = self.query.iter().find(|q| !q.matches(query)) {
            return Some(Miss::Query(parameter));
        }
        if let Some(cookie) = self.cookies.iter().find(|c| !c.matches(head)) {
            return Some(Miss::Cookie(cookie));
        }
        self.missing_facts(cx)
    }

    fn missing_facts(&self, cx: &RouteContext<'_>) -> Option<Miss<'_>> {
        let facts = self.facts.as_deref()?;
        (!facts.hold(cx)).then_some(Miss::Facts(facts))
    }

    /// Of all requests.
    pub fn share(&self) -> Option<Share> {
        self.runtime_fraction.as_ref().map(Setting::now)
    }

    fn takes_path(&self, head: &RequestHead) -> bool {
        let path = head.path_only();
        // Templates see all of it, as in Envoy.
        let is_template = matches!(self.path, PathMatcher::Template(_));
        if self.ignore_parameters && !is_template {
            let path = head.path_without_parameters();
            return self.path.matches(head, &path, self.case_sensitive);
        }
        self.path.matches(head, path, self.case_sensitive)
    }

    /// Everything that keeps the route from taking the request, in the order in which [`Self::miss`] looks: its first
    /// is what that one says, and none of the one is none of the other.
    pub fn misses(&self, head: &RequestHead, cx: &RouteContext<'_>) -> Vec<Miss<'_>> {
        let drawn = self.share().filter(|share| !share.takes(cx.random));
        let drawn = drawn.map(|share| share.0);
        let path = (!self.takes_path(head)).then_some(Miss::Path(&self.path));
        let grpc = (self.grpc && !is_grpc(head)).then_some(Miss::NotGrpc);
        let headers = self.headers.iter().filter(|h| !h.matches_request(head));
        let query = head.query().unwrap_or_default();
        let parameters = self.query.iter().filter(|q| !q.matches(query));
        let cookies = self.cookies.iter().filter(|c| !c.matches(head));
        let first = drawn.map(Miss::Fraction).into_iter().chain(path).chain(grpc);
        first
            .chain(headers.map(Miss::Header))
            .chain(parameters.map(Miss::Query))
            .chain(cookies.map(Miss::Cookie))
            .chain(self.missing_facts(cx))
            .collect()
    }
}

impl PathMatcher {
    /// `path`: the request's, without query, as it is to be compared.
    fn matches(&self, head: &RequestHead, path: &[u8], case_sensitive: bool) -> bool {
        let fold = !case_sensitive;
        match self {
            // A CONNECT has no path; only a route that asks for CONNECT takes it.
            Self::Connect => head.method.as_ref() == b"CONNECT",
            Self::Prefix(prefix) => starts_with(path, prefix.as_bytes(), fold) && !is_plain_connect(head),
            Self::Exact(exact) => equal(path, exact.as_bytes(), fold),
            Self::SeparatedPrefix(prefix) => {
                starts_with(path, prefix.as_bytes(), fold)
                    && matches!(path.get(prefix.len()), None | Some(b'/'))
            }
            Self::Regex(matcher) | Self::Template(matcher) => matcher.matches(path),
        }
    }
}

fn is_plain_connect(head: &RequestHead) -> bool {
    head.method.as_ref() == b"CONNECT" && head.upgrade.is_none()
}

// === impl DomainIndex ===

impl crate::compile::route::DomainIndex {
    /// Index of the virtual host for an authority, which may be of any case.
    pub fn find(&self, authority: &[u8]) -> Option<usize> {
        if self.exact.is_empty() && self.suffix.is_empty() && self.prefix.is_empty() {
            return self.any;
        }
        let authority = std::str::from_utf8(authority).ok()?;
        let lower = if authority.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(authority.to_ascii_lowercase())
        } else {
            Cow::Borrowed(authority)
        };
        let longer = |domain: &str| lower.len() > domain.len();
        self.exact
            .get(lower.as_ref())
            .copied()
            .or_else(|| {
                let mut suffixes = self.suffix.iter();
                suffixes
                    .find(|(d, _)| longer(d) && lower.ends_with(d.as_str()))
                    .map(|(_, i)| *i)
            })
            .or_else(|| {
                let mut prefixes = self.prefix.iter();
                prefixes
                    .find(|(d, _)| longer(d) && lower.starts_with(d.as_str()))
                    .map(|(_, i)| *i)
            })
            .or(self.any)
    }
}

/// Weights add up to more than zero: compile rejects others.
fn choose_cluster<'t>(
    forward: &'t Forward,
    head: &RequestHead,
    cx: &RouteContext<'_>,
) -> (Cow<'t, str>, Option<&'t WeightedCluster>) {
    match &forward.cluster {
        ClusterChoice::One(name) => (Cow::Borrowed(name), None),
        ClusterChoice::Header(header) => {
            let name = head.field(header).unwrap_or_default();
            (Cow::Owned(String::from_utf8_lossy(name).into_owned()), None)
        }
        ClusterChoice::Weighted { clusters, by } => {
            let total: u64 = clusters.iter().map(WeightedCluster::weight).sum();
            // Not the low digits: those decided the runtime fraction.
            let said = match by {
                Deciding::Random => None,
                Deciding::Header(name) => head
                    .field(name)
                    .and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok()),
                Deciding::Hash => hash_by(&forward.hash, head, cx.source, cx.notes, cx.random).hash,
            };
            let mut point = said.unwrap_or(cx.random >> 20) % total.max(1);
            for cluster in clusters {
                match point.checked_sub(cluster.weight()) {
                    Some(rest) => point = rest,
                    None => {
                        let name = match &cluster.header {
                            None => Cow::Borrowed(cluster.name.as_str()),
                            Some(header) => {
                                let name = head.field(header).unwrap_or_default();
                                Cow::Owned(String::from_utf8_lossy(name).into_owned())
                            }
                        };
                        return (name, Some(cluster));
                    }
                }
            }
            (Cow::Borrowed(""), None)
        }
    }
}

pub(crate) fn is_secure(head: &RequestHead, cx: &RouteContext<'_>) -> bool {
    match head.headers.get("x-forwarded-proto") {
        Some(scheme) => scheme == b"https",
        None => cx.tls,
    }
}

fn https_location(head: &RequestHead) -> Bytes {
    own_location(head, true)
}

fn own_location(head: &RequestHead, tls: bool) -> Bytes {
    let scheme: &[u8] = if tls { b"https://" } else { b"http://" };
    [scheme, &head.authority, &head.path].concat().into()
}
