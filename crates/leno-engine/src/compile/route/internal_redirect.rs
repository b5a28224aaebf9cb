//! `InternalRedirectPolicy`: redirects of the upstream that the proxy follows by itself.

use crate::compile::Rejection;
use crate::compile::at::{At, silent};
use crate::compile::pb::internal_redirect::{
    allow_listed_routes::AllowListedRoutesConfig, previous_routes::PreviousRoutesConfig,
    safe_cross_scheme::SafeCrossSchemeConfig,
};
use crate::compile::pb::{core, route as pb};

use leno_proto::FromAny;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalRedirect {
    /// Of one request, one after the other.
    pub most: u32,
    pub statuses: Vec<u16>,
    /// `http` to `https`, and back.
    pub other_scheme: bool,
    /// All have to agree.
    pub predicates: Vec<RedirectPredicate>,
    /// Headers of the redirect that the next request has in place of its own.
    pub copied: Vec<String>,
}

/// Where a redirect may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPredicate {
    /// To routes of these names.
    Allowed(Vec<String>),
    /// Not from this route to one to which it has led already.
    NotPrevious,
    /// Not from `http` to `https`.
    SafeScheme,
}

/// What Envoy takes for redirects.
const STATUSES: [u32; 5] = [301, 302, 303, 307, 308];

pub(super) fn policy(
    at: &At<'_>,
    message: &pb::InternalRedirectPolicy,
) -> Result<InternalRedirect, Rejection> {
    let pb::InternalRedirectPolicy {
        max_internal_redirects,
        redirect_response_codes,
        predicates,
        allow_cross_scheme_redirect,
        response_headers_to_copy,
    } = message;
    let mut statuses = Vec::new();
    for (i, status) in redirect_response_codes.iter().enumerate() {
        match STATUSES.contains(status) {
            true => statuses.push(*status as u16),
            false => at
                .item("redirect_response_codes", i)
                .warn("not a redirect: ignored"),
        }
    }
    if redirect_response_codes.is_empty() {
        statuses.push(302);
    }
    Ok(InternalRedirect {
        most: max_internal_redirects.as_ref().map_or(1, |most| most.value),
        statuses,
        other_scheme: *allow_cross_scheme_redirect,
        predicates: at.each("predicates", predicates, predicate)?,
        copied: at.each(
            "response_headers_to_copy",
            response_headers_to_copy,
            |at, name| at.header_name(name),
        )?,
    })
}

fn predicate(at: &At<'_>, message: &core::TypedExtensionConfig) -> Result<RedirectPredicate, Rejection> {
    let core::TypedExtensionConfig { name, typed_config } = message;
    silent!("names are for people"; name);
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    if any.is::<AllowListedRoutesConfig>() {
        let AllowListedRoutesConfig { allowed_route_names } = at.unpack(any)?;
        return Ok(RedirectPredicate::Allowed(allowed_route_names));
    }
    if any.is::<PreviousRoutesConfig>() {
        let PreviousRoutesConfig {} = at.unpack(any)?;
        return Ok(RedirectPredicate::NotPrevious);
    }
    if any.is::<SafeCrossSchemeConfig>() {
        let SafeCrossSchemeConfig {} = at.unpack(any)?;
        return Ok(RedirectPredicate::SafeScheme);
    }
    Err(at.unknown_extension(any))
}
