//! The page's own requests: the page, signing in and out, and bookinfo's API.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_SECURITY_POLICY, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE,
};
use hyper::{Method, Request};

use super::call::Answer;
use super::{Answered, Site, book, json, pages, respond, text};

/// How long the page waits for a part of it; reviews are asked for twice. So does bookinfo, whose lesson on delays
/// depends on it.
const PATIENCE: Duration = Duration::from_secs(3);
/// A form with one short field.
const MAX_FORM_BYTES: usize = 4096;
const END_USER: HeaderName = HeaderName::from_static("end-user");
const COOKIE_NAME: &str = "user";

/// None: there is no such page.
pub(super) async fn answer(site: &Site, request: Request<Incoming>) -> Option<Answered> {
    let path = request.uri().path().to_owned();
    if (request.method(), path.as_str()) == (&Method::POST, "/login") {
        return Some(sign_in(request).await);
    }
    let (user, headers) = signed_in(request.headers());
    match path.as_str() {
        "/" | "/productpage" => Some(page(site, user.as_deref(), &headers).await),
        "/logout" => Some(back_to_the_page(&format!("{COOKIE_NAME}=; Path=/; Max-Age=0"))),
        "/api/v1/products" => Some(json(200, &book::products())),
        "/api/v1/products/0" => Some(passed_on(details(site, &headers).await)),
        "/api/v1/products/0/reviews" => Some(passed_on(reviews(site, &headers).await)),
        "/api/v1/products/0/ratings" => Some(passed_on(
            site.ratings.get_within(PATIENCE, "/ratings/0", &headers).await,
        )),
        _ => {
            let (kind, text) = pages::file(path.strip_prefix("/static/")?)?;
            Some(respond(200, kind, text.to_owned()))
        }
    }
}

async fn page(site: &Site, user: Option<&str>, headers: &HeaderMap) -> Answered {
    let (details, reviews) = tokio::join!(details(site, headers), reviews(site, headers));
    // A page with a part missing is still the page.
    let html = pages::productpage(&site.instance(), user, &pages::Parts { details, reviews });
    let mut response = respond(200, "text/html; charset=utf-8", html);
    let only_from_here = HeaderValue::from_static("default-src 'self'");
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, only_from_here);
    response
}

async fn details(site: &Site, headers: &HeaderMap) -> anyhow::Result<Answer> {
    site.details.get_within(PATIENCE, "/details/0", headers).await
}

async fn reviews(site: &Site, headers: &HeaderMap) -> anyhow::Result<Answer> {
    let ask = || site.reviews.get_within(PATIENCE, "/reviews/0", headers);
    match ask().await {
        // Once more.
        Err(_) => ask().await,
        answer => answer,
    }
}

fn passed_on(answer: anyhow::Result<Answer>) -> Answered {
    match answer {
        Ok(answer) => respond(200, "application/json", answer.body),
        Err(error) => json(503, &serde_json::json!({ "error": format!("{error:#}") })),
    }
}

/// The user by the cookie, else by the header, and the headers with the user in them.
fn signed_in(headers: &HeaderMap) -> (Option<String>, HeaderMap) {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok());
    let by_cookie = cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .and_then(|(_, value)| user_name(value));
    let mut headers = headers.clone();
    if let Some(value) = by_cookie.and_then(|user| HeaderValue::from_str(user).ok()) {
        headers.insert(END_USER, value);
    }
    let user = headers.get(&END_USER).and_then(|v| v.to_str().ok());
    (user.map(str::to_owned), headers)
}

/// A name that may stand in a cookie and in a header.
fn user_name(text: &str) -> Option<&str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    ((1..=40).contains(&text.len()) && text.chars().all(allowed)).then_some(text)
}

async fn sign_in(request: Request<Incoming>) -> Answered {
    let Ok(form) = Limited::new(request.into_body(), MAX_FORM_BYTES).collect().await else {
        return text(413, "the form is too long");
    };
    let form = form.to_bytes();
    let field = form
        .split(|byte| *byte == b'&')
        .find_map(|field| field.strip_prefix(b"username="));
    let user = field.and_then(|value| std::str::from_utf8(value).ok());
    match user.and_then(user_name) {
        Some(user) => back_to_the_page(&format!("{COOKIE_NAME}={user}; Path=/; HttpOnly; SameSite=Lax")),
        None => text(
            400,
            "a user name has 1 to 40 letters, digits, dots, dashes or underscores",
        ),
    }
}

fn back_to_the_page(cookie: &str) -> Answered {
    let mut response = text(303, "");
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/productpage"));
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(headers: &[(HeaderName, &str)]) -> Option<String> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let (user, handed_on) = signed_in(&headers.collect());
        assert_eq!(
            handed_on.get(END_USER).and_then(|v| v.to_str().ok()),
            user.as_deref()
        );
        user
    }

    #[test]
    fn the_cookie_says_who_the_user_is_and_else_the_header() {
        assert_eq!(user(&[]), None);
        assert_eq!(user(&[(END_USER, "jane")]).as_deref(), Some("jane"));
        let cookie = (COOKIE, "theme=dark; user=jason");
        assert_eq!(
            user(&[cookie.clone(), (END_USER, "jane")]).as_deref(),
            Some("jason")
        );
        assert_eq!(user(&[(COOKIE, "user=\"a b\"; user=")]), None);
    }
}
