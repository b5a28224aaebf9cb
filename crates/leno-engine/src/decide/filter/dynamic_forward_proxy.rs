//! `envoy.filters.http.dynamic_forward_proxy`: a request for a cluster whose endpoint is the request's own host waits until
//! that is resolved.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leno_proto::FromAny;

use super::{
    Context, Effect, EffectResult, FilterConfig, FilterFactory, HttpFilter, Kind, Rules, Step, Unresolved,
};
use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::cluster::Discovery;
use crate::compile::dns_cache::{DnsCache, dns_cache};
use crate::compile::pb::{dynamic_forward as pb, protobuf};
use crate::flags::{Flag, Flags};
use crate::message::{LocalReply, RequestHead};

pub(super) const KIND: Kind = Kind {
    messages: &[
        "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
        "envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig",
    ],
    parse,
};

/// Until a host of a cluster with rules of its own is resolved.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Factory {
    List(List),
    Route(Option<Arc<Rewrite>>),
}

/// Where the cluster has no rules of its own, these; else how long it may take.
#[derive(Clone, Debug)]
struct List {
    cache: Option<Arc<DnsCache>>,
    patience: Duration,
}

/// What the request's host becomes.
#[derive(Debug)]
enum Rewrite {
    Literal(Bytes),
    /// The value of this header, if there is one.
    Header(String),
}

#[derive(Debug)]
struct Filter {
    list: List,
    /// Each address of the host is an endpoint of a cluster by itself.
    each_address: bool,
    rewrite: Option<Arc<Rewrite>>,
}

fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    if any.is::<pb::FilterConfig>() {
        use pb::filter_config::ImplementationSpecifier as Kind;
        let pb::FilterConfig {
            implementation_specifier,
            save_upstream_address,
            allow_dynamic_host_from_filter_state,
        } = &at.unpack::<pb::FilterConfig>(any)?;
        refuse!(at; save_upstream_address, allow_dynamic_host_from_filter_state);
        match at.required("implementation_specifier", implementation_specifier)? {
            Kind::DnsCacheConfig(cache) => {
                let cache = dns_cache(&at.field("dns_cache_config"), cache)?;
                return Ok(Box::new(Factory::List(List {
                    cache: Some(Arc::new(cache)),
                    patience: PATIENCE,
                })));
            }
            Kind::SubClusterConfig(pb::SubClusterConfig { cluster_init_timeout }) => {
                let at = at.field("sub_cluster_config");
                let patience = at.positive("cluster_init_timeout", cluster_init_timeout, PATIENCE)?;
                return Ok(Box::new(Factory::List(List {
                    cache: None,
                    patience,
                })));
            }
        }
    }
    use pb::per_route_config::HostRewriteSpecifier as Host;
    let pb::PerRouteConfig {
        host_rewrite_specifier,
    } = &at.unpack::<pb::PerRouteConfig>(any)?;
    let rewrite = match host_rewrite_specifier {
        None => None,
        Some(Host::HostRewriteLiteral(host)) => {
            if host.bytes().any(|b| b.is_ascii_control() || b == b' ') {
                return Err(at.field("host_rewrite_literal").reject("not an authority"));
            }
            Some(Rewrite::Literal(Bytes::copy_from_slice(host.as_bytes()))).filter(|_| !host.is_empty())
        }
        Some(Host::HostRewriteHeader(name)) => Some(Rewrite::Header(
            at.field("host_rewrite_header").header_name(name)?,
        )),
    };
    Ok(Box::new(Factory::Route(rewrite.map(Arc::new))))
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        let Self::List(list) = self else { return None };
        let route = per_route.and_then(|route| route.factory.as_any().downcast_ref::<Self>());
        Some(Box::new(Filter {
            list: list.clone(),
            each_address: false,
            rewrite: match route {
                Some(Self::Route(rewrite)) => rewrite.clone(),
                Some(Self::List(_)) | None => None,
            },
        }))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let Some(cluster) = cx.cluster.filter(|_| cx.by_host) else {
            return Step::Continue;
        };
        match self.rewrite.as_deref() {
            Some(Rewrite::Literal(host)) => head.authority = host.clone(),
            Some(Rewrite::Header(name)) => {
                if let Some(host) = head.field(name) {
                    head.authority = Bytes::copy_from_slice(host);
                }
            }
            None => {}
        }
        if head.authority.is_empty() {
            return Step::Reply(refused(
                400,
                "Empty host header",
                "empty_host_header",
                Flags::default(),
            ));
        }
        let discovery = cx.upstream.map(|cluster| &cluster.discovery);
        self.each_address =
            matches!(discovery, Some(Discovery::DynamicForward(own)) if own.each_address.is_some());
        let by = match &self.list.cache {
            Some(cache) if !self.each_address => Rules::These(Arc::clone(cache)),
            _ => Rules::Own(self.list.patience),
        };
        Step::Effect(Effect::Resolve {
            cluster: cluster.to_owned(),
            authority: head.authority.clone(),
            by,
        })
    }

    fn on_effect(&mut self, _cx: &mut Context<'_>, result: EffectResult) -> Step {
        let EffectResult::Resolved(Err(why)) = result else {
            return Step::Continue;
        };
        Step::Reply(match why {
            Unresolved::Failed => refused(
                503,
                "DNS resolution failure",
                "dns_resolution_failure",
                Flag::DnsResolutionFailed.into(),
            ),
            Unresolved::TooManyHosts if self.each_address => refused(
                503,
                "Sub cluster overflow",
                "sub_cluster_overflow",
                Flags::default(),
            ),
            Unresolved::TooLate => refused(
                503,
                "Sub cluster warming timeout",
                "sub_cluster_warming_timeout",
                Flags::default(),
            ),
            Unresolved::TooManyHosts => {
                refused(503, "DNS cache overflow", "dns_cache_overflow", Flags::default())
            }
            Unresolved::TooManyWait => refused(
                503,
                "Dynamic forward proxy pending request overflow",
                "dynamic_forward_proxy_pending_request_overflow",
                Flags::default(),
            ),
        })
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}

fn refused(status: u16, body: &'static str, details: &'static str, flags: Flags) -> LocalReply {
    LocalReply {
        status,
        headers: Default::default(),
        body: Bytes::from_static(body.as_bytes()),
        details: details.into(),
        flags,
        grpc_status: None,
    }
}
