//! Who may look: a browser on this machine, on behalf of its user and not of another page.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

const POLICY: HeaderValue = HeaderValue::from_static(leno_dashboard::page::CONTENT_SECURITY_POLICY);
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const FETCH_SITE: &str = "sec-fetch-site";

/// What the mesh's traffic looks like is not for whoever happens to reach the port.
pub(super) async fn only_this_machine(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if peer.is_some_and(|peer| !peer.0.ip().to_canonical().is_loopback()) {
        let said = "the dashboard is for this machine only — this address — forward a port: ssh -L 15014:127.0.0.1:15014 HOST\n";
        return (StatusCode::FORBIDDEN, said).into_response();
    }
    if is_of_another_page(request.headers()) {
        let said = "another page asks for this — the request's Sec-Fetch-Site — open the dashboard itself\n";
        return (StatusCode::FORBIDDEN, said).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER, HeaderValue::from_static("same-origin"));
    headers.insert(RESOURCE, HeaderValue::from_static("same-origin"));
    response
}

/// A page elsewhere may not read the answers, but neither is it to make the control plane work. A link to the page
/// itself is followed: that is a navigation.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let site = headers.get(FETCH_SITE).and_then(|value| value.to_str().ok());
    let mode = headers
        .get("sec-fetch-mode")
        .and_then(|value| value.to_str().ok());
    matches!(site, Some("cross-site" | "same-site")) && mode != Some("navigate")
}

/// Against DNS rebinding: a name that an attacker's server gives for 127.0.0.1 makes a browser take this port for the
/// attacker's own. An address is no name, and `localhost` is nobody else's. Everybody's first line of defence, so it
/// holds for the whole port.
pub(crate) async fn only_known_hosts(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).map(HeaderValue::to_str);
    match host {
        // Browsers always send one.
        None => next.run(request).await,
        Some(Ok(host)) if is_known(host) => next.run(request).await,
        Some(_) => {
            let said = "this name is not the control plane's — the request's Host — call it localhost, or by its address\n";
            (StatusCode::MISDIRECTED_REQUEST, said).into_response()
        }
    }
}

fn is_known(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_known_and_other_names_are_not() {
        for host in [
            "localhost",
            "LOCALHOST:15014",
            "127.0.0.1:80",
            "[::1]:15014",
            "10.1.2.3",
            "[fd00::1]",
        ] {
            assert!(is_known(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:15014",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[x]",
        ] {
            assert!(!is_known(host), "{host}");
        }
    }

    #[test]
    fn another_page_may_link_here_and_not_read() {
        let of = |site: &'static str, mode: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(FETCH_SITE, HeaderValue::from_static(site));
            headers.insert("sec-fetch-mode", HeaderValue::from_static(mode));
            is_of_another_page(&headers)
        };
        assert!(!of("same-origin", "cors") && !of("none", "navigate") && !of("cross-site", "navigate"));
        assert!(of("cross-site", "no-cors") && of("same-site", "cors"));
        assert!(!is_of_another_page(&HeaderMap::new()));
    }
}
