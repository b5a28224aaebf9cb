//! A rule as one of Envoy's routes: forward, redirect or answer, with faults and where it was written.

use std::collections::HashMap;

use leno_model::route::{AbortStatus, Fault};
use leno_model::{HttpAction, HttpRule, Origin};
use leno_proto::ToAny;

use super::answer::{redirect, respond};
use super::forward::forward;
use super::header::edits;
use super::matching::route_match;
use super::{RouteEntry, cors};
use crate::connection_manager::{CORS_FILTER, FAULT_FILTER};
use crate::naming::object_path;
use crate::parts::{duration, metadata, number, per_million, string, structure};
use crate::pb::route::Route;
use crate::pb::{core, fault, fault_delay};

pub(super) fn route(entry: &RouteEntry) -> Route {
    let rule = &*entry.rule;
    let action = match &rule.said.action {
        HttpAction::Forward(_) => forward(rule, entry.matches.path.as_ref(), entry.made_by.as_ref()),
        HttpAction::Respond { status, body } => respond(*status, body.as_deref()),
        HttpAction::Redirect { .. } => redirect(entry),
    };
    let request = edits(&rule.said.request_headers);
    let response = edits(&rule.said.response_headers);
    let faults = rule.said.fault.as_ref().map(|said| {
        let config = fault_config(said).to_any();
        (FAULT_FILTER.to_owned(), config)
    });
    let cors = rule.said.cors.as_ref();
    let cors = cors.map(|said| (CORS_FILTER.to_owned(), cors::policy(said).to_any()));
    Route {
        name: name(entry),
        r#match: Some(route_match(&entry.matches)),
        action: Some(action),
        metadata: entry
            .made_by
            .as_ref()
            .and_then(|origin| made_by(origin, &rule.said)),
        stat_prefix: entry.matches.stat_prefix.clone().unwrap_or_default(),
        typed_per_filter_config: faults.into_iter().chain(cors).collect::<HashMap<_, _>>(),
        request_headers_to_add: request.add,
        request_headers_to_remove: request.remove,
        response_headers_to_add: response.add,
        response_headers_to_remove: response.remove,
        ..Default::default()
    }
}

/// Istio's: the rule's name, with the match's after a dot.
fn name(entry: &RouteEntry) -> String {
    match (&entry.rule.said.name, &entry.matches.name) {
        (Some(rule), Some(matches)) => format!("{rule}.{matches}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "default".into(),
    }
}

/// The object in Istio's form, and the place in leno's, so that logs and `leno explain` can point at the line.
fn made_by(origin: &Origin, rule: &HttpRule) -> Option<core::Metadata> {
    let place = match rule.place.as_str() {
        "" => &origin.place,
        place => place,
    };
    metadata([
        ("istio", structure([("config", string(object_path(origin)))])),
        (
            "leno",
            structure([("place", string(place)), ("rule", number(rule.number))]),
        ),
    ])
}

fn fault_config(said: &Fault) -> fault::HttpFault {
    use fault::fault_abort::ErrorType;
    use fault_delay::fault_delay::FaultDelaySecifier;
    fault::HttpFault {
        delay: said.delay.map(|(share, time)| fault_delay::FaultDelay {
            percentage: per_million(share),
            fault_delay_secifier: duration(time).map(FaultDelaySecifier::FixedDelay),
        }),
        abort: said.abort.as_ref().map(|(share, status)| fault::FaultAbort {
            percentage: per_million(*share),
            error_type: Some(match status {
                AbortStatus::Http(status) => ErrorType::HttpStatus((*status).into()),
                AbortStatus::Grpc(status) => ErrorType::GrpcStatus(*status),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
