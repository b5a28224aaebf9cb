//! A rule as one of Envoy's routes: forward, redirect or answer, with faults and where it was written.

use std::collections::HashMap;

use leno_model::route::{AbortStatus, Fault, PathRewrite};
use leno_model::{HttpAction, Origin};
use leno_proto::ToAny;

use super::forward::forward;
use super::header::edits;
use super::matching::route_match;
use super::rewrite::{self, Rewritten};
use super::{RouteEntry, Rule};
use crate::connection_manager::FAULT_FILTER;
use crate::parts::{duration, metadata, per_million, string, structure};
use crate::pb::route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use crate::pb::route::route::Action;
use crate::pb::route::{DirectResponseAction, RedirectAction, Route};
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
    Route {
        name: name(entry),
        r#match: Some(route_match(&entry.matches)),
        action: Some(action),
        metadata: entry
            .made_by
            .as_ref()
            .and_then(|origin| made_by(origin, &rule.said.place)),
        typed_per_filter_config: faults.into_iter().collect::<HashMap<_, _>>(),
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
fn made_by(origin: &Origin, place: &str) -> Option<core::Metadata> {
    let place = if place.is_empty() { &origin.place } else { place };
    metadata([
        ("istio", structure([("config", string(object_path(origin)))])),
        ("leno", structure([("place", string(place))])),
    ])
}

/// `/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews`
pub(crate) fn object_path(origin: &Origin) -> String {
    let group = match &*origin.kind {
        "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute" => "gateway.networking.k8s.io/v1",
        _ => "networking.istio.io/v1",
    };
    let kind = kebab(&origin.kind);
    format!(
        "/apis/{group}/namespaces/{}/{kind}/{}",
        origin.namespace, origin.name
    )
}

/// `VirtualService` → `virtual-service`, `HTTPRoute` → `http-route`.
fn kebab(kind: &str) -> String {
    let chars: Vec<char> = kind.chars().collect();
    let mut name = String::with_capacity(kind.len() + 2);
    for (at, c) in chars.iter().enumerate() {
        let follows_lower = at > 0 && chars.get(at - 1).is_some_and(|c| c.is_lowercase());
        let ends_acronym = at > 0 && chars.get(at + 1).is_some_and(|c| c.is_lowercase());
        if c.is_uppercase() && (follows_lower || ends_acronym) {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

pub(super) fn respond(status: u16, body: Option<&str>) -> Action {
    Action::DirectResponse(DirectResponseAction {
        status: status.into(),
        body: body.map(|body| core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(body.into())),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn redirect(entry: &RouteEntry) -> Action {
    let Rule { said, .. } = &*entry.rule;
    let HttpAction::Redirect {
        scheme,
        authority,
        port,
        path,
        code,
    } = &said.action
    else {
        // The caller has looked; a route must not be left without an action.
        return respond(500, None);
    };
    let code = match code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let path = path.as_ref().map(|path| match path {
        PathRewrite::Full(path) => PathRewriteSpecifier::PathRedirect(path.clone()),
        other => match rewrite::path(other, entry.matches.path.as_ref()) {
            Rewritten::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
            Rewritten::Regex(regex) => PathRewriteSpecifier::RegexRewrite(regex),
        },
    });
    Action::Redirect(RedirectAction {
        host_redirect: authority.clone().unwrap_or_default(),
        port_redirect: port.map_or(0, u32::from),
        response_code: code.into(),
        scheme_rewrite_specifier: scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
        ..Default::default()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_istio_does() {
        assert_eq!(kebab("VirtualService"), "virtual-service");
        assert_eq!(kebab("HTTPRoute"), "http-route");
        assert_eq!(kebab("DestinationRule"), "destination-rule");
    }
}
