//! A `JwtProvider`: whose tokens, by which keys, and what becomes of one that is good.

use std::sync::Arc;
use std::time::Duration;

use super::claims;
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::matcher::{self, StringMatcher};
use crate::compile::pb::{core, jwt_authn as pb};
use crate::compile::service;
use crate::jwt::KeySet;
use crate::jwt::{Place, Remote};

#[derive(Debug)]
pub(super) struct Provider {
    /// As requirements name it.
    pub(super) name: String,
    /// Empty: everybody.
    pub(super) issuer: String,
    /// Empty: all.
    pub(super) audiences: Vec<String>,
    pub(super) subjects: Option<StringMatcher>,
    pub(super) must_expire: bool,
    /// From now on.
    pub(super) most_lifetime: Option<Duration>,
    /// In seconds.
    pub(super) skew: u64,
    pub(super) source: Source,
    /// Names and what stands before the token.
    pub(super) from_headers: Vec<(String, String)>,
    pub(super) from_params: Vec<String>,
    pub(super) from_cookies: Vec<String>,
    /// The token stays in the request.
    pub(super) forward: bool,
    pub(super) payload_header: Option<PayloadHeader>,
    pub(super) claims: Vec<ClaimHeader>,
    /// Names in the filter's metadata; empty ones for nothing.
    pub(super) payload_in_metadata: String,
    pub(super) header_in_metadata: String,
    pub(super) failure_in_metadata: String,
    /// Claims that are lists with blanks between.
    pub(super) divided: Vec<String>,
    /// The request's route is looked for once more.
    pub(super) reroutes: bool,
}

#[derive(Debug)]
pub(super) enum Source {
    Local(KeySet),
    Remote(Arc<Remote>),
}

#[derive(Debug)]
pub(super) struct PayloadHeader {
    pub(super) name: String,
    pub(super) padded: bool,
}

#[derive(Debug)]
pub(super) struct ClaimHeader {
    pub(super) name: String,
    pub(super) path: claims::Path,
}

/// Envoy's default `clock_skew_seconds`.
const SKEW: u64 = 60;
/// Envoy's default `cache_duration`.
const KEEP: Duration = Duration::from_secs(600);
/// Envoy's default `failed_refetch_duration`.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Tries beyond these are not made.
const MOST_RETRIES: u32 = 10;

pub(super) fn provider(at: &At<'_>, name: &str, message: &pb::JwtProvider) -> Result<Provider, Rejection> {
    let pb::JwtProvider {
        issuer,
        audiences,
        subjects,
        require_expiration,
        max_lifetime,
        forward,
        from_headers,
        from_params,
        from_cookies,
        forward_payload_header,
        pad_forward_payload_header,
        payload_in_metadata,
        normalize_payload_in_metadata,
        header_in_metadata,
        failed_status_in_metadata,
        clock_skew_seconds,
        jwt_cache_config,
        claim_to_headers,
        clear_route_cache,
        jwks_source_specifier,
    } = message;
    no_effect!(at, "tokens are verified each time"; jwt_cache_config);
    let payload_header = match forward_payload_header.as_str() {
        "" => None,
        name => Some(PayloadHeader {
            name: at.field("forward_payload_header").header_name(name)?,
            padded: *pad_forward_payload_header,
        }),
    };
    let from_headers = at.each("from_headers", from_headers, |at, header| {
        let pb::JwtHeader { name, value_prefix } = header;
        Ok((at.field("name").header_name(name)?, value_prefix.clone()))
    })?;
    let nowhere = from_headers.is_empty() && from_params.is_empty() && from_cookies.is_empty();
    Ok(Provider {
        name: name.to_owned(),
        issuer: issuer.clone(),
        audiences: audiences.iter().map(|audience| audience_name(audience)).collect(),
        subjects: match subjects {
            None => None,
            Some(subjects) => Some(matcher::string(&at.field("subjects"), subjects)?),
        },
        must_expire: *require_expiration,
        most_lifetime: at.duration("max_lifetime", max_lifetime)?,
        skew: match clock_skew_seconds {
            0 => SKEW,
            seconds => u64::from(*seconds),
        },
        source: source(at, at.required("jwks_source_specifier", jwks_source_specifier)?)?,
        from_headers: match nowhere {
            true => vec![("authorization".to_owned(), "Bearer ".to_owned())],
            false => from_headers,
        },
        from_params: match nowhere {
            true => vec!["access_token".to_owned()],
            false => from_params.clone(),
        },
        from_cookies: from_cookies.clone(),
        forward: *forward,
        payload_header,
        claims: at.each("claim_to_headers", claim_to_headers, claim)?,
        payload_in_metadata: payload_in_metadata.clone(),
        header_in_metadata: header_in_metadata.clone(),
        failure_in_metadata: failed_status_in_metadata.clone(),
        divided: match normalize_payload_in_metadata {
            None => Vec::new(),
            Some(pb::jwt_provider::NormalizePayload {
                space_delimited_claims,
            }) => space_delimited_claims.clone(),
        },
        reroutes: *clear_route_cache,
    })
}

/// With or without its scheme and a slash at its end, an audience is the same, as in Envoy.
pub(super) fn audience_name(audience: &str) -> String {
    let bare = audience
        .strip_prefix("https://")
        .or_else(|| audience.strip_prefix("http://"))
        .unwrap_or(audience);
    bare.strip_suffix('/').unwrap_or(bare).to_owned()
}

fn claim(at: &At<'_>, message: &pb::JwtClaimToHeader) -> Result<ClaimHeader, Rejection> {
    let pb::JwtClaimToHeader {
        header_name,
        claim_name,
        claim_path,
    } = message;
    let path: claims::Path = match (claim_name.as_str(), claim_path.as_slice()) {
        ("", []) => return Err(at.field("claim_name").reject("required")),
        (name, []) => name.split('.').map(str::to_owned).collect(),
        ("", _) => at.each("claim_path", claim_path, |at, segment| {
            let pb::jwt_claim_to_header::PathSegment { key } = segment;
            at.not_empty("key", key)?;
            Ok(key.clone())
        })?,
        (_, _) => {
            let at = at.field("claim_path");
            return Err(at.reject("claim_name and claim_path exclude each other"));
        }
    };
    Ok(ClaimHeader {
        name: at.field("header_name").header_name(header_name)?,
        path,
    })
}

fn source(at: &At<'_>, message: &pb::jwt_provider::JwksSourceSpecifier) -> Result<Source, Rejection> {
    use pb::jwt_provider::JwksSourceSpecifier as S;
    match message {
        S::LocalJwks(source) => {
            let at = at.field("local_jwks");
            let keys = KeySet::parse(&at.data_source(source)?);
            let keys = keys.ok_or_else(|| at.reject("no set of keys, or none of its keys can be used"))?;
            Ok(Source::Local(keys))
        }
        S::RemoteJwks(message) => {
            let at = at.field("remote_jwks");
            let place = place(&at, message)?;
            Ok(Source::Remote(at.remote_keys().at(place)))
        }
    }
}

fn place(at: &At<'_>, message: &pb::RemoteJwks) -> Result<Place, Rejection> {
    let pb::RemoteJwks {
        http_uri,
        cache_duration,
        async_fetch,
        retry_policy,
    } = message;
    let uri = service::http_uri(&at.field("http_uri"), at.required("http_uri", http_uri)?)?;
    let back_off = match async_fetch {
        None => BACK_OFF,
        Some(pb::JwksAsyncFetch {
            fast_listener,
            failed_refetch_duration,
        }) => {
            silent!("no listener waits for keys: the first request that needs them does"; fast_listener);
            let at = at.field("async_fetch");
            at.positive("failed_refetch_duration", failed_refetch_duration, BACK_OFF)?
        }
    };
    let (retries, pause) = match retry_policy {
        None => (0, (Duration::ZERO, Duration::ZERO)),
        Some(policy) => retry(&at.field("retry_policy"), policy)?,
    };
    Ok(Place {
        cluster: uri.cluster,
        secure: uri.secure,
        authority: uri.authority,
        path: uri.path,
        timeout: uri.timeout,
        retries,
        pause,
        keep: at.positive("cache_duration", cache_duration, KEEP)?,
        back_off,
    })
}

fn retry(at: &At<'_>, message: &core::RetryPolicy) -> Result<(u32, (Duration, Duration)), Rejection> {
    let core::RetryPolicy {
        retry_back_off,
        num_retries,
        retry_on,
        retry_priority,
        retry_host_predicate,
        host_selection_retry_max_attempts,
    } = message;
    refuse!(at; retry_priority, retry_host_predicate, host_selection_retry_max_attempts);
    no_effect!(at, "whatever is no key set is asked for again"; retry_on);
    let retries = num_retries.as_ref().map_or(1, |retries| retries.value);
    if retries > MOST_RETRIES {
        at.field("num_retries").warn("no more than ten");
    }
    let core::BackoffStrategy {
        base_interval,
        max_interval,
    } = &retry_back_off.unwrap_or_default();
    let at = at.field("retry_back_off");
    let base = at.positive("base_interval", base_interval, Duration::from_secs(1))?;
    let most = at.positive("max_interval", max_interval, base * 10)?;
    if most < base {
        return Err(at.field("max_interval").reject("less than base_interval"));
    }
    Ok((retries.min(MOST_RETRIES), (base, most)))
}
