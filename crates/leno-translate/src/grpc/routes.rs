//! Routes as gRPC reads them: the same rules, in the words of A28, A31 and A44.

use crate::Proxy;
use crate::connection_manager::CORS_FILTER;
use crate::parts::regex;
use crate::pb::route::route::Action;
use crate::pb::route::route_action::MaxStreamDuration;
use crate::pb::route::route_match::PathSpecifier;
use crate::pb::route::{Route, RouteAction, RouteConfiguration, RouteMatch};
use crate::reader::Reader;
use crate::route::{self, RouteInput};

/// A service's routes for a client without a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GrpcRoutes(RouteInput);

/// Clients ask by the name that their listener gave: `reviews.default.svc.cluster.local:9080`.
pub(crate) fn route_input(reader: &mut Reader<'_>, proxy: &Proxy, name: &str) -> Option<GrpcRoutes> {
    name.contains(':')
        .then(|| route::route_input(reader, proxy, name))?
        .map(GrpcRoutes)
}

pub(crate) fn configuration(input: &GrpcRoutes) -> RouteConfiguration {
    let mut configuration = route::configuration(&input.0);
    for host in &mut configuration.virtual_hosts {
        host.routes.iter_mut().for_each(adapt);
    }
    configuration
}

fn adapt(route: &mut Route) {
    if let Some(matches) = &mut route.r#match {
        adapt_path(matches);
    }
    // There are no pages of other origins, and a filter that is not there is rejected (A39).
    route.typed_per_filter_config.remove(CORS_FILTER);
    if let Some(Action::Route(action)) = &mut route.action {
        adapt_timeout(action);
        // No retries is to say nothing; a policy of none is rejected (A44).
        let attempts =
            |policy: &crate::pb::route::RetryPolicy| policy.num_retries.is_none_or(|n| n.value > 0);
        action.retry_policy = action.retry_policy.take().filter(attempts);
    }
}

/// Prefixes by path elements are not in A28.
fn adapt_path(matches: &mut RouteMatch) {
    if let Some(PathSpecifier::PathSeparatedPrefix(prefix)) = &matches.path_specifier {
        let pattern = format!("{}(/.*)?", route::escaped(prefix));
        matches.path_specifier = Some(PathSpecifier::SafeRegex(regex(pattern)));
    }
}

/// A31: a call's deadline, whether it streams or not.
fn adapt_timeout(action: &mut RouteAction) {
    let said = action.timeout.take();
    let limit = said.filter(|said| said.seconds > 0 || said.nanos > 0);
    action.max_stream_duration = limit.map(|limit| MaxStreamDuration {
        max_stream_duration: Some(limit),
        ..Default::default()
    });
}
