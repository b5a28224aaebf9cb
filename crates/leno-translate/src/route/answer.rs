//! What the proxy answers itself: direct responses and redirects.

use leno_model::HttpAction;
use leno_model::route::{PathRewrite, RedirectPort};

use super::rewrite::{self, Rewritten};
use super::{RouteEntry, Rule};
use crate::pb::core;
use crate::pb::route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use crate::pb::route::route::Action;
use crate::pb::route::{DirectResponseAction, RedirectAction};

pub(super) fn respond(status: u16, body: Option<&[u8]>) -> Action {
    Action::DirectResponse(DirectResponseAction {
        status: status.into(),
        body: body.map(|body| core::DataSource {
            specifier: Some(match std::str::from_utf8(body) {
                Ok(text) => core::data_source::Specifier::InlineString(text.into()),
                Err(_) => core::data_source::Specifier::InlineBytes(body.to_vec()),
            }),
            ..Default::default()
        }),
        ..Default::default()
    })
}

pub(super) fn redirect(entry: &RouteEntry) -> Action {
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
        port_redirect: match port {
            Some(RedirectPort::Number(number)) => (*number).into(),
            // The second has been resolved to a number.
            None | Some(RedirectPort::Called) => 0,
        },
        response_code: code.into(),
        scheme_rewrite_specifier: scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
        ..Default::default()
    })
}
