//! RequestAuthentication: objects to policies by namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leno_api::key_set;
use leno_api::kinds::request_authentication::{self as api, Presence, RequestAuthenticationSpec};
use leno_api::{Object, Spec};

use super::{of_kind, origin, policy_target};
use crate::authentication::{Authentication, JwtRule, KeySource, Keys, RequestAuthentication, longest};

/// Istio's, for one attempt to fetch keys.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn authentication(objects: &[&Arc<Object>], root: &str) -> Authentication {
    let specs = of_kind(objects, |spec| match spec {
        Spec::RequestAuthentication(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let policies = specs.into_iter().map(|(object, spec)| {
        let policy = RequestAuthentication {
            origin: origin(object),
            target: policy_target(
                spec.selector.as_ref(),
                spec.target_ref.as_ref(),
                &spec.target_refs,
            ),
            rules: rules(object, spec),
        };
        (object.key.namespace.to_string(), policy)
    });
    Authentication::new(root, policies)
}

/// Where the objects' keys are to be fetched, and how long an attempt may take.
pub fn key_sources<'o>(objects: impl IntoIterator<Item = &'o Object>) -> BTreeMap<KeySource, Duration> {
    let specs = objects.into_iter().filter_map(|object| match &object.spec {
        Spec::RequestAuthentication(spec) => Some(spec),
        _ => None,
    });
    let rules = specs.flat_map(|spec| spec.jwt_rules.iter().flatten());
    longest(rules.filter_map(|rule| match keys(rule)? {
        Keys::Fetched(source, timeout) => Some((source, timeout)),
        Keys::Inline(_) => None,
    }))
}

fn rules(object: &Object, spec: &RequestAuthenticationSpec) -> Vec<JwtRule> {
    let rules = spec.jwt_rules.iter().enumerate();
    // Validation has refused what is no rule.
    rules
        .filter_map(|(i, rule)| self::rule(object, i, rule.as_ref()?))
        .collect()
}

fn rule(object: &Object, index: usize, rule: &api::JwtRule) -> Option<JwtRule> {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let headers = rule.from_headers.iter();
    let claims = rule.output_claim_to_headers.iter().flatten();
    Some(JwtRule {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        keys: keys(rule)?,
        from_headers: headers
            .map(|header| (header.name.clone(), header.prefix.clone()))
            .collect(),
        from_params: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        payload_header: some(&rule.output_payload_to_header),
        claim_headers: claims
            .map(|claim| (claim.header.clone(), claim.claim.clone()))
            .collect(),
        forward: rule.forward_original_token,
        divided_claims: rule.space_delimited_claims.clone(),
        required: rule.presence == Presence::Required,
        place: object
            .place_of(&format!("spec.jwtRules[{index}]"))
            .to_string()
            .into(),
    })
}

fn keys(rule: &api::JwtRule) -> Option<Keys> {
    let timeout = rule.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    Some(match (rule.jwks.as_str(), rule.key_uri()) {
        ("", "") => Keys::Fetched(KeySource::Issuer(rule.issuer.as_str().into()), timeout),
        ("", uri) => Keys::Fetched(KeySource::Uri(uri.into()), timeout),
        (text, _) => Keys::Inline(key_set::reduce(text.as_bytes()).ok()?.into()),
    })
}
