//! The compiled form in words. Pure.

use std::time::Duration;

use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::matcher::{
    CookieMatcher, HeaderMatcher, HeaderTest, PathMatcher, Pattern, QueryMatcher, QueryTest, StringMatcher,
};
use leno_engine::compile::route::{HashPolicy, HeaderOps, RetryOn, Route, RouteMatch};
use leno_engine::decide::matcher::query_parameter;
use leno_engine::decide::route::Miss;
use leno_engine::message::RequestHead;

use super::answer::Made;

/// `VirtualService/default/reviews` of Istio's `/apis/…/namespaces/default/virtual-service/reviews`.
pub fn object(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let (Some(name), Some(kind), Some(namespace)) = (parts.next(), parts.next(), parts.next()) else {
        return path.to_owned();
    };
    let words = kind.split('-').map(|word| match word {
        "http" | "grpc" | "tcp" | "tls" if kind.ends_with("-route") => word.to_ascii_uppercase(),
        _ => {
            let mut letters = word.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        }
    });
    format!("{}/{namespace}/{name}", words.collect::<String>())
}

pub fn made(route: &Route) -> Made {
    Made {
        object: route.origin.as_deref().map(object),
        rule: Some(route.rule).filter(|number| *number > 0),
        place: route.place.clone(),
        name: Some(route.name.clone()).filter(|name| !name.is_empty() && name != "default"),
    }
}

/// Everything that a route asks of a request.
pub fn matches(matches: &RouteMatch) -> Vec<String> {
    let mut all = vec![path(&matches.path, matches.case_sensitive)];
    all.extend(matches.grpc.then(|| "a gRPC call".to_owned()));
    all.extend(
        matches
            .headers
            .iter()
            .map(|wanted| format!("{} {}", name(wanted), header(wanted))),
    );
    all.extend(
        matches
            .query
            .iter()
            .map(|wanted| format!("query {} {}", wanted.name, query(wanted))),
    );
    all.extend(
        matches
            .cookies
            .iter()
            .map(|wanted| format!("cookie {} {}", wanted.name, cookie(wanted))),
    );
    all.extend(
        matches
            .share()
            .map(|share| format!("{} of requests", percent(share.0))),
    );
    all
}

/// What is wanted and what the request has.
pub fn miss(miss: &Miss<'_>, case_sensitive: bool, head: &RequestHead) -> String {
    match miss {
        Miss::Path(wanted) => format!(
            "{}: it is {}",
            path(wanted, case_sensitive),
            String::from_utf8_lossy(head.path_only())
        ),
        Miss::Header(wanted) => {
            let values: Vec<_> = match head.field(&wanted.name) {
                Some(_) if !wanted.name.starts_with(':') && wanted.name != "host" => head
                    .headers
                    .get_all(&wanted.name)
                    .map(String::from_utf8_lossy)
                    .collect(),
                value => value.into_iter().map(String::from_utf8_lossy).collect(),
            };
            let has = match values.as_slice() {
                [] => "the request has none".to_owned(),
                values => format!("it is {:?}", values.join(",")),
            };
            format!("{} {}: {has}", name(wanted), header(wanted))
        }
        Miss::Query(wanted) => {
            let has = head
                .query()
                .and_then(|all| query_parameter(all, wanted.name.as_bytes()));
            let has = has.map_or("the request has none".to_owned(), |value| {
                format!("it is {:?}", String::from_utf8_lossy(value))
            });
            format!("query {} {}: {has}", wanted.name, query(wanted))
        }
        Miss::Cookie(wanted) => {
            let has = head
                .cookie(&wanted.name)
                .map_or("the request has none".to_owned(), |value| {
                    format!("it is {:?}", String::from_utf8_lossy(value))
                });
            format!("cookie {} {}: {has}", wanted.name, cookie(wanted))
        }
        Miss::Facts(_) => "what filters note of requests, or the client's certificate".into(),
        Miss::NotGrpc => "a gRPC call: its content-type is another".into(),
        Miss::Fraction(share) => format!("only {} of requests", percent(*share)),
    }
}

fn path(wanted: &PathMatcher, case_sensitive: bool) -> String {
    let fold = if case_sensitive { "" } else { " in any case" };
    match wanted {
        PathMatcher::Prefix(prefix) if prefix == "/" => "any path".into(),
        PathMatcher::Prefix(prefix) => format!("path begins with {prefix}{fold}"),
        PathMatcher::Exact(exact) => format!("path is {exact}{fold}"),
        PathMatcher::SeparatedPrefix(prefix) => format!("path is {prefix} or below it{fold}"),
        PathMatcher::Regex(matcher) | PathMatcher::Template(matcher) => format!("path {}", string(matcher)),
        PathMatcher::Connect => "a CONNECT".into(),
    }
}

fn name(wanted: &HeaderMatcher) -> String {
    match wanted.name.as_str() {
        ":method" => "method".into(),
        ":authority" | "host" => "authority".into(),
        ":scheme" => "scheme".into(),
        ":path" => "path with query".into(),
        other => format!("header {other}"),
    }
}

fn header(wanted: &HeaderMatcher) -> String {
    match (&wanted.test, wanted.invert) {
        (HeaderTest::Present(present), invert) if *present != invert => "is there".into(),
        (HeaderTest::Present(_), _) => "is not there".into(),
        (HeaderTest::Value(matcher), false) => string(matcher),
        (HeaderTest::Value(matcher), true) => format!("not: {}", string(matcher)),
        (HeaderTest::Range { start, end }, invert) => {
            format!(
                "is {}from {start} to below {end}",
                if invert { "not " } else { "" }
            )
        }
    }
}

fn query(wanted: &QueryMatcher) -> String {
    match &wanted.test {
        QueryTest::Present(true) => "is there".into(),
        QueryTest::Present(false) => "is not there".into(),
        QueryTest::Value(matcher) => string(matcher),
    }
}

fn cookie(wanted: &CookieMatcher) -> String {
    let not = if wanted.invert { "not: " } else { "" };
    format!("{not}{}", string(&wanted.value))
}

fn string(wanted: &StringMatcher) -> String {
    let fold = if wanted.ignore_case { " in any case" } else { "" };
    let said = match &wanted.pattern {
        Pattern::Exact(text) => format!("is {text:?}"),
        Pattern::Prefix(text) => format!("begins with {text:?}"),
        Pattern::Suffix(text) => format!("ends with {text:?}"),
        Pattern::Contains(text) => format!("contains {text:?}"),
        Pattern::Regex(regex) => {
            let whole = regex.as_str();
            let said = whole
                .strip_prefix("^(?:")
                .and_then(|rest| rest.strip_suffix(")$"));
            format!("matches {}", said.unwrap_or(whole))
        }
        Pattern::Present => "is there".into(),
    };
    said + fold
}

/// Who decides besides.
pub fn asks(at: &str, fails_open: bool) -> String {
    match fails_open {
        true => format!("the authorizer at {at} is asked; without its answer they go on"),
        false => format!("the authorizer at {at} is asked; without its answer they are denied"),
    }
}

/// Of parts in a million.
pub fn percent(share: u32) -> String {
    shown(f64::from(share) / 10_000.0)
}

/// With as many digits as it needs, two at most.
pub fn shown(percent: f64) -> String {
    let text = format!("{percent:.2}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

pub fn span(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (seconds, 0) if seconds > 0 && seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        (seconds, 0) if seconds > 0 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        (seconds, 0) => format!("{seconds} s"),
        (0, nanos) if nanos % 1_000_000 == 0 => format!("{} ms", nanos / 1_000_000),
        _ => format!("{} s", time.as_secs_f64()),
    }
}

pub fn hash(policy: &HashPolicy) -> String {
    match policy {
        HashPolicy::Header { name, .. } => format!("header {name}"),
        HashPolicy::Cookie { name, ttl, .. } => match ttl {
            Some(ttl) => format!("cookie {name}, set for {} where there is none", span(*ttl)),
            None => format!("cookie {name}"),
        },
        HashPolicy::SourceIp { .. } => "the client's address".into(),
        HashPolicy::FilterState { key, .. } => format!("filter state {key}"),
        HashPolicy::Query { name, .. } => format!("query parameter {name}"),
    }
}

/// Envoy's words.
pub fn retry_on(on: &RetryOn) -> String {
    let RetryOn {
        five_xx,
        gateway_error,
        reset,
        reset_before_request,
        connect_failure,
        retriable_4xx,
        refused_stream,
        retriable_status_codes: _,
        retriable_headers,
        envoy_ratelimited,
        grpc_cancelled,
        grpc_deadline_exceeded,
        grpc_internal,
        grpc_resource_exhausted,
        grpc_unavailable,
    } = on;
    let words = [
        (five_xx, "5xx"),
        (gateway_error, "gateway-error"),
        (reset, "reset"),
        (reset_before_request, "reset-before-request"),
        (connect_failure, "connect-failure"),
        (retriable_4xx, "retriable-4xx"),
        (refused_stream, "refused-stream"),
        (retriable_headers, "retriable-headers"),
        (envoy_ratelimited, "envoy-ratelimited"),
        (grpc_cancelled, "cancelled"),
        (grpc_deadline_exceeded, "deadline-exceeded"),
        (grpc_internal, "internal"),
        (grpc_resource_exhausted, "resource-exhausted"),
        (grpc_unavailable, "unavailable"),
    ];
    let said: Vec<&str> = words
        .into_iter()
        .filter(|(is, _)| **is)
        .map(|(_, word)| word)
        .collect();
    said.join(", ")
}

/// What is done to headers, in the order in which it is done.
pub fn edits(ops: &HeaderOps, head: &RequestHead) -> Vec<String> {
    use leno_engine::compile::access_log::Heads;
    use leno_engine::compile::route::AppendAction as Append;
    let heads = Heads {
        request: Some(head),
        ..Heads::default()
    };
    let removed = ops.remove.iter().map(|name| format!("remove {name}"));
    let added = ops.add.iter().map(|op| {
        let value = match op.value.literal() {
            Some(text) => text.to_owned(),
            None => {
                let mut out = Vec::new();
                op.value.write(heads, &NoValues, &mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
        };
        let how = match op.append {
            Append::AppendOrAdd => "add",
            Append::AddIfAbsent => "add, where there is none,",
            Append::OverwriteOrAdd => "set",
            Append::OverwriteIfExists => "set, where there is one,",
        };
        format!("{how} {}: {value}", op.name)
    });
    removed.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_users_name_them() {
        for (path, wanted) in [
            (
                "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews",
                "VirtualService/default/reviews",
            ),
            (
                "/apis/gateway.networking.k8s.io/v1/namespaces/shop/http-route/r",
                "HTTPRoute/shop/r",
            ),
            (
                "/apis/networking.istio.io/v1/namespaces/a/destination-rule/b",
                "DestinationRule/a/b",
            ),
        ] {
            assert_eq!(object(path), wanted);
        }
    }

    #[test]
    fn shares_and_times_have_no_more_digits_than_they_need() {
        for (share, wanted) in [(1_000_000, "100 %"), (333_333, "33.33 %"), (5_000, "0.5 %")] {
            assert_eq!(percent(share), wanted);
        }
        for (millis, wanted) in [
            (7000, "7 s"),
            (250, "250 ms"),
            (1500, "1.5 s"),
            (120_000, "2 min"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), wanted);
        }
    }
}
