//! What a route does: forward, redirect or answer.

use super::forward::{self, Inherited};
use super::{Action, Redirect};
use crate::compile::Rejection;
use crate::compile::access_log::format;
use crate::compile::at::At;
use crate::compile::local_reply;
use crate::compile::matcher::{self, PathMatcher};
use crate::compile::pb::route as pb;

pub(super) fn action(
    at: &At<'_>,
    action: &pb::route::Action,
    inherited: &Inherited,
    matched: &PathMatcher,
) -> Result<Action, Rejection> {
    match action {
        pb::route::Action::Route(route) => {
            let forward = forward::forward(&at.field("route"), route, inherited, matched)?;
            Ok(Action::Forward(Box::new(forward)))
        }
        pb::route::Action::Redirect(message) => {
            redirect(&at.field("redirect"), message).map(Action::Redirect)
        }
        pb::route::Action::DirectResponse(message) => respond(&at.field("direct_response"), message),
        pb::route::Action::FilterAction(_) => Err(at.field("filter_action").reject("not supported")),
        pb::route::Action::NonForwardingAction(_) => {
            Err(at.field("non_forwarding_action").reject("not supported"))
        }
    }
}

fn respond(at: &At<'_>, message: &pb::DirectResponseAction) -> Result<Action, Rejection> {
    let pb::DirectResponseAction {
        status,
        body,
        body_format,
    } = message;
    let body = match body {
        None => Vec::new(),
        Some(body) => at.field("body").data_source(body)?,
    };
    match u16::try_from(*status) {
        Ok(status @ 200..600) => Ok(Action::Respond {
            status,
            body: body.into(),
            format: match body_format {
                None => None,
                Some(format) => Some(local_reply::body_format(&at.field("body_format"), format)?),
            },
        }),
        _ => Err(at.field("status").reject(format!("200 to 599, not {status}"))),
    }
}

fn redirect(at: &At<'_>, message: &pb::RedirectAction) -> Result<Redirect, Rejection> {
    use pb::redirect_action::{
        PathRewriteSpecifier as P, RedirectResponseCode as C, SchemeRewriteSpecifier as S,
    };
    let pb::RedirectAction {
        host_redirect,
        port_redirect,
        response_code,
        strip_query,
        scheme_rewrite_specifier,
        path_rewrite_specifier,
    } = message;
    let port = at.port("port_redirect", *port_redirect)?;
    let mut redirect = Redirect {
        scheme: match scheme_rewrite_specifier {
            Some(S::HttpsRedirect(true)) => Some("https".to_owned()),
            Some(S::HttpsRedirect(false)) | None => None,
            Some(S::SchemeRedirect(scheme)) => Some(scheme.clone()).filter(|scheme| !scheme.is_empty()),
        },
        host: Some(host_redirect.clone()).filter(|host| !host.is_empty()),
        port: Some(port).filter(|port| *port != 0),
        path: None,
        prefix: None,
        regex: None,
        format: None,
        code: match at.choice("response_code", *response_code)? {
            C::MovedPermanently => 301,
            C::Found => 302,
            C::SeeOther => 303,
            C::TemporaryRedirect => 307,
            C::PermanentRedirect => 308,
        },
        strip_query: *strip_query,
    };
    match path_rewrite_specifier {
        None => {}
        Some(P::PathRedirect(path)) => redirect.path = Some(path.clone()).filter(|path| !path.is_empty()),
        Some(P::PrefixRewrite(prefix)) => redirect.prefix = Some(prefix.clone()),
        Some(P::RegexRewrite(regex)) => {
            redirect.regex = Some(matcher::substitution(&at.field("regex_rewrite"), regex)?);
        }
        Some(P::PathRewrite(text)) if text.is_empty() => {}
        Some(P::PathRewrite(text)) => {
            redirect.format = Some(Box::new(format(&at.field("path_rewrite"), text)?));
        }
    }
    for (field, text) in [
        ("host_redirect", &redirect.host),
        ("path_redirect", &redirect.path),
        ("prefix_rewrite", &redirect.prefix),
        ("scheme_redirect", &redirect.scheme),
    ] {
        if text
            .as_ref()
            .is_some_and(|text| text.contains(['\r', '\n', '\0']))
        {
            return Err(at.field(field).reject("a line break in a header"));
        }
    }
    Ok(redirect)
}
