//! RequestAuthentication: Istio's own rules, so that what an API server refuses is refused here.

use super::Check;
use super::policy_target::target;
use crate::codes::Code;
use crate::key_set;
use crate::kinds::request_authentication::{ClaimToHeader, JwtRule, RequestAuthenticationSpec};

/// Of a URI, as in Istio's schema.
const MOST_URI: usize = 2048;

pub(super) fn check(check: &mut Check<'_>, spec: &RequestAuthenticationSpec) {
    let RequestAuthenticationSpec {
        selector,
        target_ref,
        target_refs,
        jwt_rules,
    } = spec;
    target(check, selector.as_ref(), target_ref.as_ref(), target_refs);
    for (i, rule) in jwt_rules.iter().enumerate() {
        let at = format!("spec.jwtRules[{i}]");
        match rule {
            Some(rule) => self::rule(check, &at, rule),
            None => check.error(Code::Empty, at, "a rule without anything in it", "leave it out"),
        }
    }
}

/// The parts of an `http` or `https` address: whether it is secure, host and port, path and query. None: it is none.
pub fn http_address(uri: &str) -> Option<(bool, &str, &str)> {
    let secure = uri
        .get(..8)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    let plain = uri
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let rest = match (secure, plain) {
        (true, _) => uri.get(8..)?,
        (_, true) => uri.get(7..)?,
        (false, false) => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '<' | '>' | '@');
    let is_path = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '<' | '>');
    let sound = !authority.is_empty() && !authority.starts_with(':') && authority.chars().all(is_plain);
    (sound && path.chars().all(is_path)).then_some((secure, authority, path))
}

fn rule(check: &mut Check<'_>, at: &str, rule: &JwtRule) {
    let JwtRule {
        issuer,
        audiences,
        jwks_uri,
        jwks_uri_by_its_older_name,
        jwks,
        from_headers,
        from_params,
        from_cookies,
        output_payload_to_header,
        output_claim_to_headers,
        forward_original_token: _,
        timeout,
        space_delimited_claims,
        presence: _,
    } = rule;
    if issuer.is_empty() {
        let hint = "name the issuer as its tokens have it under iss";
        check.error(Code::MissingField, at, "a rule without an issuer", hint);
    }
    for (name, list) in [
        ("audiences", audiences),
        ("fromParams", from_params),
        ("fromCookies", from_cookies),
        ("spaceDelimitedClaims", space_delimited_claims),
    ] {
        for (i, _) in list.iter().enumerate().filter(|(_, value)| value.is_empty()) {
            let at = format!("{at}.{name}[{i}]");
            check.error(
                Code::Empty,
                at,
                "an empty text, which names nothing",
                "leave it out",
            );
        }
    }
    if !jwks_uri.is_empty() && !jwks_uri_by_its_older_name.is_empty() {
        let message = "jwksUri and jwks_uri are given together";
        check.error(Code::BadCombination, at, message, "keep jwksUri");
    }
    keys(check, at, issuer, rule.key_uri(), jwks);
    for (i, header) in from_headers.iter().enumerate() {
        let at = format!("{at}.fromHeaders[{i}]");
        match header.name.is_empty() {
            true => check.error(Code::MissingField, at, "a header without a name", "add name"),
            false => check.header_name(format!("{at}.name"), &header.name),
        }
    }
    if !output_payload_to_header.is_empty() {
        check.header_name(format!("{at}.outputPayloadToHeader"), output_payload_to_header);
    }
    for (i, claim) in output_claim_to_headers.iter().enumerate() {
        claim_to_header(check, &format!("{at}.outputClaimToHeaders[{i}]"), claim.as_ref());
    }
    check.positive(format!("{at}.timeout"), *timeout);
}

fn keys(check: &mut Check<'_>, at: &str, issuer: &str, uri: &str, inline: &str) {
    match (uri.is_empty(), inline.is_empty()) {
        (false, false) => {
            let message = "jwks and jwksUri are given together";
            check.error(Code::BadCombination, at, message, "keep one of them");
        }
        (true, true) if !issuer.is_empty() && http_address(issuer).is_none() => {
            let message = "nothing says where the issuer's keys are";
            let hint =
                "give jwksUri or jwks; only an issuer that is an address says it itself (OpenID Connect)";
            check.error(Code::MissingField, at, message, hint);
        }
        _ => {}
    }
    if !uri.is_empty() && (uri.len() > MOST_URI || http_address(uri).is_none()) {
        let message = format!("{uri:?} is no address of a key server");
        let hint = "write it as https://HOST/PATH or http://HOST/PATH";
        check.error(Code::WrongValue, format!("{at}.jwksUri"), message, hint);
    }
    if !inline.is_empty()
        && let Err(why) = key_set::reduce(inline.as_bytes())
    {
        let hint = "paste what the issuer serves as its jwks_uri: {\"keys\": [...]}";
        check.error(
            Code::WrongValue,
            format!("{at}.jwks"),
            format!("the keys are {why}"),
            hint,
        );
    }
}

fn claim_to_header(check: &mut Check<'_>, at: &str, claim: Option<&ClaimToHeader>) {
    let Some(ClaimToHeader { header, claim }) = claim else {
        return check.error(Code::Empty, at, "a claim without anything in it", "leave it out");
    };
    if claim.is_empty() {
        check.error(Code::MissingField, at, "a header for no claim", "add claim");
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if header.is_empty() {
        check.error(Code::MissingField, at, "a claim for no header", "add header");
    } else if !header.chars().all(is_name) {
        let message = format!("{header:?} is no header that a claim may become");
        let hint = "use letters, digits, - and _";
        check.error(Code::BadHeader, format!("{at}.header"), message, hint);
    }
}

#[cfg(test)]
mod tests {
    use super::http_address;

    #[test]
    fn addresses_of_key_servers_are_taken_apart() {
        for (uri, parts) in [
            ("https://a.b/c?d#e", Some((true, "a.b", "/c?d"))),
            ("HTTP://a.b:80", Some((false, "a.b:80", ""))),
            ("http://[::1]:1/", Some((false, "[::1]:1", "/"))),
            ("hTPp\\\\blah", None),
            ("https://", None),
            ("https:///keys", None),
            ("https://user:secret@a/", None),
            ("ftp://a/", None),
            ("https://a /", None),
            ("a", None),
        ] {
            assert_eq!(http_address(uri), parts, "{uri}");
        }
    }
}
