//! `VirtualHost.matcher`: the routes of a host as leaves of a tree.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use leno_proto::FromAny;

use super::Route;
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::matcher::input::Input;
use crate::compile::matcher::tree::{self, Grammar, Tree};
use crate::compile::pb::{route as pb, xds_matcher};

/// A leaf is a part of the host's routes, of which the first that takes the request counts.
pub type RouteTree = Tree<Range<usize>>;

/// Compiles a route.
pub(super) type Compile<'c> = dyn Fn(&At<'_>, &pb::Route) -> Result<Arc<Route>, Rejection> + 'c;

/// With all routes of the tree.
pub(super) fn tree(
    at: &At<'_>,
    message: &xds_matcher::Matcher,
    route: &Compile<'_>,
) -> Result<(RouteTree, Vec<Arc<Route>>), Rejection> {
    let routes: RefCell<Vec<Arc<Route>>> = RefCell::default();
    let add = |more: Vec<Arc<Route>>| {
        let mut routes = routes.borrow_mut();
        let start = routes.len();
        routes.extend(more);
        start..routes.len()
    };
    let grammar = Grammar {
        // As in Envoy.
        allows: |input| matches!(input, Input::RequestHeader(_) | Input::FilterState(_)),
        place: "a tree of routes",
        action: &|at, any| {
            if any.is::<pb::RouteList>() {
                let pb::RouteList { routes } = &at.unpack::<pb::RouteList>(any)?;
                return Ok(add(at.each("routes", routes, |at, one| route(at, one))?));
            }
            Ok(add(vec![route(at, &at.unpack::<pb::Route>(any)?)?]))
        },
    };
    let tree = tree::tree(at, message, &grammar)?;
    Ok((tree, routes.into_inner()))
}
