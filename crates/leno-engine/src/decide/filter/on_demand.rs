//! `envoy.filters.http.on_demand`: a request whose cluster is not known waits until the cluster has been asked for.
//!
//! What comes of it is the router's matter: a cluster that nobody has, or of which nobody has said anything in time, is
//! answered as one that is not there.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::google::protobuf::Any;

use super::{Context, Effect, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::config_source::{self, Source};
use crate::compile::pb::on_demand as pb;
use crate::message::RequestHead;

pub(super) const KIND: Kind = Kind {
    messages: &[
        ON_DEMAND,
        "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig",
    ],
    parse,
};

pub(super) const ON_DEMAND: &str = "envoy.extensions.filters.http.on_demand.v3.OnDemand";

/// Envoy's default `timeout`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where clusters are asked for, and how long a request waits.
#[derive(Debug)]
struct Clusters {
    source: Source,
    timeout: Duration,
}

/// None: clusters are not asked for.
#[derive(Debug)]
struct Factory(Option<Arc<Clusters>>);

#[derive(Debug)]
struct Filter(Arc<Clusters>);

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let odcds = match super::message_name(any) {
        ON_DEMAND => {
            let pb::OnDemand { odcds } = at.unpack(any)?;
            odcds
        }
        _ => {
            let pb::PerRouteConfig { odcds } = at.unpack(any)?;
            odcds
        }
    };
    let clusters = match &odcds {
        None => None,
        Some(odcds) => Some(Arc::new(clusters(&at.field("odcds"), odcds)?)),
    };
    Ok(Box::new(Factory(clusters)))
}

fn clusters(at: &At<'_>, message: &pb::OnDemandCds) -> Result<Clusters, Rejection> {
    let pb::OnDemandCds {
        source,
        resources_locator,
        timeout,
    } = message;
    refuse!(at; resources_locator);
    Ok(Clusters {
        source: config_source::config_source(&at.field("source"), source)?,
        timeout: at.duration("timeout", timeout)?.unwrap_or(TIMEOUT),
    })
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        let of_route = per_route.and_then(|route| route.factory.as_any().downcast_ref::<Self>());
        let clusters = of_route.unwrap_or(self).0.clone()?;
        Some(Box::new(Filter(clusters)))
    }

    fn is_on_demand(&self) -> bool {
        true
    }

    fn source(&self) -> Option<&Source> {
        self.0.as_ref().map(|clusters| &clusters.source)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, _head: &mut RequestHead, _end: bool) -> Step {
        match cx.cluster {
            // A header that is to name the cluster may be missing.
            Some(name) if cx.upstream.is_none() && !name.is_empty() => Step::Effect(Effect::Discover {
                cluster: name.to_owned(),
                source: self.0.source.clone(),
                timeout: self.0.timeout,
            }),
            _ => Step::Continue,
        }
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}
