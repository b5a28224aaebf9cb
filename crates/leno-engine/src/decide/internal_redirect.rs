//! Redirects of the upstream that the proxy follows by itself: what the next request is, and whether it may be.
//!
//! As Envoy's `Filter::convertRequestHeadersForInternalRedirect`: the location is a whole URL, the edits that the first
//! route has made stay, and a 303 makes a GET of the request.

use bytes::Bytes;

use super::route::RouteContext;
use crate::compile::route::{InternalRedirect, RedirectPredicate, RouteTable};
use crate::message::{RequestHead, ResponseHead};

/// How often a request has been led on, and from which route to which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    count: u32,
    led: Vec<(String, String)>,
}

/// The request to be made next.
#[derive(Clone, Debug, PartialEq)]
pub struct NextRequest {
    pub head: RequestHead,
    /// It is made without its body.
    pub without_body: bool,
}

struct Location<'l> {
    tls: bool,
    authority: &'l [u8],
    path: Bytes,
}

impl Followed {
    pub fn count(&self) -> u32 {
        self.count
    }

    /// None: the redirect is the client's to follow. `from`: the name of the route that the request has taken.
    pub fn follow(
        &mut self,
        policy: &InternalRedirect,
        from: &str,
        table: &RouteTable,
        cx: &RouteContext<'_>,
        request: &RequestHead,
        answer: &ResponseHead,
    ) -> Option<NextRequest> {
        if !policy.statuses.contains(&answer.status) || self.count >= policy.most {
            return None;
        }
        let location = Location::parse(answer.headers.get("location")?)?;
        // Both: not what a proxy before this one alone has told.
        let tls = match &request.scheme[..] {
            b"" => cx.tls,
            scheme => cx.tls && scheme.eq_ignore_ascii_case(b"https"),
        };
        if tls != location.tls && !policy.other_scheme {
            return None;
        }
        let next = next(policy, request, answer, &location, tls);
        let decision = table.route(&next.head, cx);
        let to = &decision.route()?.name;
        let is_known = |(a, b): &(String, String)| a == from && b == to;
        let allowed = policy.predicates.iter().all(|predicate| match predicate {
            RedirectPredicate::Allowed(names) => names.contains(to),
            RedirectPredicate::NotPrevious => !self.led.iter().any(is_known),
            RedirectPredicate::SafeScheme => tls || !location.tls,
        });
        if !allowed {
            return None;
        }
        self.count += 1;
        if policy.predicates.contains(&RedirectPredicate::NotPrevious) {
            self.led.push((from.to_owned(), to.clone()));
        }
        Some(next)
    }
}

fn next(
    policy: &InternalRedirect,
    request: &RequestHead,
    answer: &ResponseHead,
    location: &Location<'_>,
    tls: bool,
) -> NextRequest {
    let mut head = request.clone();
    for name in &policy.copied {
        head.headers.remove(name);
        for value in answer.headers.get_all(name) {
            head.headers.append(name, value);
        }
    }
    let scheme: &[u8] = if tls { b"https://" } else { b"http://" };
    let original = [scheme, &head.authority, &head.path].concat();
    head.headers.set("x-envoy-original-url", original);
    head.scheme = Bytes::from_static(if location.tls { b"https" } else { b"http" });
    head.authority = Bytes::copy_from_slice(location.authority);
    head.path = location.path.clone();
    let without_body = answer.status == 303 && !matches!(head.method.as_ref(), b"GET" | b"HEAD");
    if without_body {
        head.method = Bytes::from_static(b"GET");
        head.headers.remove("content-length");
        head.headers.remove("transfer-encoding");
    }
    NextRequest { head, without_body }
}

// === impl Location ===

impl<'l> Location<'l> {
    fn parse(url: &'l [u8]) -> Option<Self> {
        let at = url.windows(3).position(|three| three == b"://")?;
        let tls = match &url[..at].to_ascii_lowercase()[..] {
            b"http" => false,
            b"https" => true,
            _ => return None,
        };
        let rest = &url[at + 3..];
        let end = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split(|b| *b == b'#').next().unwrap_or_default();
        if authority.is_empty() || url.iter().any(|b| b.is_ascii_control() || *b == b' ') {
            return None;
        }
        let path = match path.first() {
            Some(b'/') => Bytes::copy_from_slice(path),
            _ => [b"/", path].concat().into(),
        };
        Some(Self { tls, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_whole_url() {
        let parsed = |url: &str| {
            Location::parse(url.as_bytes())
                .map(|l| (l.tls, String::from_utf8_lossy(l.authority).into_owned(), l.path))
        };
        let whole = |tls, authority: &str, path: &'static str| {
            Some((tls, authority.to_owned(), Bytes::from_static(path.as_bytes())))
        };
        assert_eq!(
            parsed("http://b.example/x?y#z"),
            whole(false, "b.example", "/x?y")
        );
        assert_eq!(parsed("HTTPS://b.example:81"), whole(true, "b.example:81", "/"));
        assert_eq!(parsed("http://b.example?y"), whole(false, "b.example", "/?y"));
        for not in [
            "/x",
            "//b.example/x",
            "ftp://b.example/",
            "http:///x",
            "http://b.example/ x",
            "",
        ] {
            assert_eq!(parsed(not), None, "{not}");
        }
    }
}
