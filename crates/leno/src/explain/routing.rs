//! The route of a request: which takes it, which do not and why, and what the one that does asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::route::{
    ClusterChoice, MirrorCluster, RetryPolicy, Route as Compiled, RouteTable, VirtualHost,
};
use leno_engine::decide::filter::Foretold;
use leno_engine::decide::route::{Decision, Forwarding, Miss, Observer, RouteContext};
use leno_engine::message::RequestHead;

use super::answer::{Action, Answer, Explanation, Host, Kind, Missed, Route};
use super::question::Question;
use super::{upstream, words};

/// Plaintext, and of the shares whichever: they are told one by one.
const CONTEXT: RouteContext = RouteContext::new(0, false);

/// Remembers which routes did not take the request.
#[derive(Default)]
struct Watched {
    missed: Vec<Arc<Compiled>>,
}

impl Observer for Watched {
    fn missed(&mut self, _host: &VirtualHost, route: &Arc<Compiled>, _why: Miss<'_>) {
        self.missed.push(Arc::clone(route));
    }
}

pub fn explain(
    question: &mut Question<'_>,
    mut explanation: Explanation,
    manager: &HttpConnectionManager,
    table: &RouteTable,
    head: &RequestHead,
    destination: SocketAddr,
) -> anyhow::Result<Explanation> {
    let mut watched = Watched::default();
    let decision = table.explain(head, &CONTEXT, &mut watched);
    explanation.host = decision.host().map(|host| Host {
        name: host.name.clone(),
        domains: host.domains.clone(),
    });
    explanation.route = decision.route().map(|route| Route {
        made: words::made(route),
        matches: words::matches(&route.matches),
    });
    explanation.missed = missed(&watched.missed, head);
    explanation.shadowed = shadowed(&decision, head);
    let mut action = Action {
        faults: faults(manager, &decision, head),
        ..Action::default()
    };
    let aborted = aborted(manager, &decision, head);
    match &decision {
        Decision::NoHost => {
            let said = format!(
                "no virtual host is for {}",
                String::from_utf8_lossy(&head.authority)
            );
            Ok(explanation.end(Kind::NoRoute, Some(404), said))
        }
        Decision::NoRoute { host } => {
            let said = format!("none of the routes of {} takes it", host.name);
            Ok(explanation.end(Kind::NoRoute, Some(404), said))
        }
        Decision::Redirect { location, code, .. } => {
            let location = String::from_utf8_lossy(location).into_owned();
            action.answer = Some(Answer {
                status: *code,
                location: Some(location.clone()),
                body: None,
            });
            explanation.action = Some(action);
            Ok(explanation.end(Kind::Answered, Some(*code), format!("redirected to {location}")))
        }
        Decision::Respond { status, body, .. } => {
            let body = Some(String::from_utf8_lossy(body).into_owned()).filter(|body| !body.is_empty());
            action.answer = Some(Answer {
                status: *status,
                location: None,
                body,
            });
            explanation.action = Some(action);
            // Nobody wrote it: the mesh takes only what it knows (`REGISTRY_ONLY`).
            let blocked = *status == 502 && decision.host().is_some_and(|host| host.name == "block_all");
            Ok(match blocked {
                true => explanation.end(Kind::Refused, Some(502), upstream::NOBODY_OUT),
                false => explanation.end(Kind::Answered, Some(*status), "answered by the route itself"),
            })
        }
        Decision::Forward(forwarding) => {
            forwarded(&mut action, forwarding, head);
            explanation.action = Some(action);
            for (cluster, share, edits) in shares(forwarding, head) {
                let way = upstream::Way {
                    cluster: &cluster,
                    share,
                    head: Some(head),
                    destination,
                };
                let mut target = upstream::target(question, &way)?;
                target.request_headers = edits;
                explanation.targets.push(target);
            }
            if let Some(status) = aborted {
                return Ok(explanation.end(
                    Kind::Answered,
                    Some(status),
                    "every request is aborted by the fault",
                ));
            }
            Ok(upstream::outcome(question, explanation))
        }
    }
}

/// The nearest first: those of which the least does not hold, the path counting for two.
fn missed(routes: &[Arc<Compiled>], head: &RequestHead) -> Vec<Missed> {
    let mut missed: Vec<(usize, Missed)> = routes
        .iter()
        .map(|route| {
            let misses = route.matches.misses(head, &CONTEXT);
            let paths = misses.iter().filter(|miss| matches!(miss, Miss::Path(_))).count();
            let because = misses
                .iter()
                .map(|miss| words::miss(miss, route.matches.case_sensitive, head));
            let told = Missed {
                made: words::made(route),
                because: because.collect(),
            };
            (misses.len() + paths, told)
        })
        .collect();
    missed.sort_by_key(|(distance, _)| *distance);
    missed.into_iter().map(|(_, told)| told).collect()
}

fn shadowed(decision: &Decision<'_>, head: &RequestHead) -> Vec<super::answer::Made> {
    let (Some(host), Some(taken)) = (decision.host(), decision.route()) else {
        return Vec::new();
    };
    let mut rest = host.routes.iter().skip_while(|route| !Arc::ptr_eq(route, taken));
    rest.next();
    rest.filter(|route| route.matches.miss(head, &CONTEXT).is_none())
        .map(|route| words::made(route))
        .collect()
}

fn foretold(manager: &HttpConnectionManager, decision: &Decision<'_>, head: &RequestHead) -> Vec<Foretold> {
    let cluster = match decision {
        Decision::Forward(forwarding) => Some(forwarding.cluster.as_ref()),
        _ => None,
    };
    let filters = manager.filters.iter();
    filters
        .flat_map(|filter| {
            let per_route = decision.filter_config(&filter.name);
            filter.foretell(per_route, head, cluster)
        })
        .collect()
}

fn faults(manager: &HttpConnectionManager, decision: &Decision<'_>, head: &RequestHead) -> Vec<String> {
    let foretold = foretold(manager, decision, head).into_iter();
    foretold
        .map(|what| match what {
            Foretold::Delay { time, share } => {
                format!("{} are delayed by {}", words::percent(share), words::span(time))
            }
            Foretold::Reply { status, share } => {
                format!("{} are answered {status}", words::percent(share))
            }
            Foretold::Asks { at, fails_open } => words::asks(&at, fails_open),
        })
        .collect()
}

/// The status of every request.
fn aborted(manager: &HttpConnectionManager, decision: &Decision<'_>, head: &RequestHead) -> Option<u16> {
    let mut foretold = foretold(manager, decision, head).into_iter();
    foretold.find_map(|what| match what {
        Foretold::Reply {
            status,
            share: 1_000_000,
        } => Some(status),
        Foretold::Reply { .. } | Foretold::Delay { .. } | Foretold::Asks { .. } => None,
    })
}

fn forwarded(action: &mut Action, forwarding: &Forwarding<'_>, head: &RequestHead) {
    let timeouts = forwarding.timeouts(head, leno_engine::decide::timeout::Heard::No);
    action.timeout = timeouts.global.map(words::span);
    action.retries = forwarding.forward.retry.as_deref().and_then(retries);
    action.mirrors = forwarding
        .forward
        .mirrors
        .iter()
        .map(|mirror| {
            let to = match &mirror.cluster {
                MirrorCluster::One(name) => name.clone(),
                MirrorCluster::Header(header) => format!("what {header} says"),
            };
            format!("{} to {to}", words::percent(mirror.share.now().0))
        })
        .collect();
    action.hashed = forwarding.forward.hash.iter().map(words::hash).collect();
    // What every share has in common; its own edits are told with it.
    let common = Forwarding {
        weighted: None,
        ..forwarding.clone()
    };
    let mut sent = head.clone();
    common.edit_request(&mut sent, &NoValues, true);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    action.authority = (sent.authority != head.authority).then(|| text(&sent.authority));
    action.path = (sent.path != head.path).then(|| text(&sent.path));
    let levels = [
        &forwarding.route.request_headers,
        &forwarding.host.request_headers,
        &forwarding.table.request_headers,
    ];
    action.request_headers = levels
        .into_iter()
        .flat_map(|ops| words::edits(ops, head))
        .collect();
    let levels = [
        &forwarding.route.response_headers,
        &forwarding.host.response_headers,
        &forwarding.table.response_headers,
    ];
    action.response_headers = levels
        .into_iter()
        .flat_map(|ops| words::edits(ops, head))
        .collect();
}

fn retries(policy: &RetryPolicy) -> Option<String> {
    if policy.num_retries == 0 {
        return policy
            .per_try_timeout
            .map(|limit| format!("none; a try takes at most {}", words::span(limit)));
    }
    let mut said = format!("{} on {}", policy.num_retries, words::retry_on(&policy.on));
    if policy.on.retriable_status_codes && !policy.status_codes.is_empty() {
        let codes: Vec<String> = policy.status_codes.iter().map(u16::to_string).collect();
        said.push_str(&format!(", {}", codes.join(", ")));
    }
    if let Some(limit) = policy.per_try_timeout {
        said.push_str(&format!("; a try takes at most {}", words::span(limit)));
    }
    Some(said)
}

/// Each cluster with its percent and its own header edits.
fn shares(forwarding: &Forwarding<'_>, head: &RequestHead) -> Vec<(String, f64, Vec<String>)> {
    match &forwarding.forward.cluster {
        ClusterChoice::One(_) | ClusterChoice::Header(_) => {
            vec![(forwarding.cluster.clone().into_owned(), 100.0, Vec::new())]
        }
        ClusterChoice::Weighted { clusters, .. } => {
            let total: f64 = clusters.iter().map(|cluster| f64::from(cluster.weight)).sum();
            let share = |weight: u32| f64::from(weight) * 100.0 / total.max(1.0);
            clusters
                .iter()
                .map(|cluster| {
                    let mut edits = words::edits(&cluster.request_headers, head);
                    edits.extend(
                        cluster
                            .host_rewrite
                            .iter()
                            .map(|host| format!("set host: {host}")),
                    );
                    (cluster.name.clone(), share(cluster.weight), edits)
                })
                .collect()
        }
    }
}
