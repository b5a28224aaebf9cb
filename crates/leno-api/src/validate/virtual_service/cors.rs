//! What pages of other origins may ask for.

use super::string_match;
use crate::codes::Code;
use crate::kinds::virtual_service::CorsPolicy;
use crate::validate::Check;

/// Methods that Istio takes.
const METHODS: [&str; 10] = [
    "*", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

pub(super) fn check(check: &mut Check<'_>, at: &str, policy: &CorsPolicy) {
    for (i, origin) in policy.allow_origins.iter().enumerate() {
        string_match(check, &format!("{at}.allowOrigins[{i}]"), origin, false);
    }
    if !policy.allow_origin.is_empty() {
        let path = format!("{at}.allowOrigin");
        if policy.allow_origins.is_empty() {
            let message = "allowOrigin is the old form of allowOrigins";
            check.warning(
                Code::Deprecated,
                path,
                message,
                "write allowOrigins: [{exact: …}]",
            );
        } else {
            let message = "allowOrigin has no effect beside allowOrigins";
            check.warning(Code::NoEffect, path, message, "leave it out");
        }
    }
    for (i, method) in policy.allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            let hint = match crate::nearest(&method.to_ascii_uppercase(), METHODS) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("one of {}", METHODS.join(", ")),
            };
            let message = format!("{method:?} is no method that may be allowed");
            check.error(Code::WrongValue, format!("{at}.allowMethods[{i}]"), message, hint);
        }
    }
    let lists = [
        ("allowHeaders", &policy.allow_headers),
        ("exposeHeaders", &policy.expose_headers),
    ];
    for (field, names) in lists {
        for (i, name) in names.iter().enumerate() {
            // A star is a token too.
            check.header_name(format!("{at}.{field}[{i}]"), name);
        }
    }
    if policy.max_age.is_some_and(|age| age.0.subsec_nanos() > 0) {
        let message = "browsers count the age in whole seconds";
        check.error(
            Code::BadDuration,
            format!("{at}.maxAge"),
            message,
            "use 1s or more",
        );
    }
}
