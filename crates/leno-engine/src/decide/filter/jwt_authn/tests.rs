use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::jwt::{Found, KeySet, MOST_SET, MOST_TOKEN, Place, Remotes, Token, Turn};
use crate::message::base64;

/// Of a secret `a`.
const SECRET: &str = r#"{"keys":[{"kty":"oct","k":"YQ","kid":"one"}]}"#;

fn url(bytes: &[u8]) -> String {
    let text = String::from_utf8(base64::encode(bytes)).expect("text");
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn compact(header: &serde_json::Value, claims: &str) -> String {
    format!(
        "{}.{}.AAAA",
        url(header.to_string().as_bytes()),
        url(claims.as_bytes())
    )
}

/// Signed by [`SECRET`].
fn signed(kid: Option<&str>) -> String {
    let mut header = json!({"alg": "HS256"});
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    let text = compact(&header, "{}");
    let (said, _) = text.rsplit_once('.').expect("three parts");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"a");
    let tag = aws_lc_rs::hmac::sign(&key, said.as_bytes());
    format!("{said}.{}", url(tag.as_ref()))
}

fn failure(text: &str) -> Option<Failure> {
    Token::parse(text.as_bytes()).err()
}

// === Tokens ===

#[test]
fn a_token_has_three_parts_and_a_length() {
    let header = json!({"alg": "HS256"});
    assert_eq!(failure(&compact(&header, "{}")), None);
    for text in ["", ".", "..", "a..c", ".b.c", "a.b.", "a.b", "a.b.c.d", "a.b.c."] {
        assert_eq!(failure(text), Some(Failure::BadFormat), "{text:?}");
    }
    let room = MOST_TOKEN - compact(&header, "{}").len();
    let claims = |blanks: usize| format!("{{{}}}", " ".repeat(blanks));
    assert_eq!(failure(&compact(&header, &claims(room * 3 / 4 - 4))), None);
    assert_eq!(
        failure(&compact(&header, &claims(room * 3 / 4 + 4))),
        Some(Failure::BadFormat)
    );
}

#[test]
fn an_algorithm_that_signs_nothing_is_refused() {
    for algorithm in ["none", "None", "NONE", "", "HS1", "rs256"] {
        let text = compact(&json!({"alg": algorithm}), "{}");
        assert_eq!(failure(&text), Some(Failure::AlgNotSupported), "{algorithm}");
    }
}

#[test]
fn objects_within_objects_end_somewhere() {
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let header = json!({"alg": "HS256"});
    assert_eq!(failure(&compact(&header, &deep(100))), None);
    assert_eq!(
        failure(&compact(&header, &deep(1000))),
        Some(Failure::PayloadBadJson)
    );
}

#[test]
fn times_at_their_limits_overflow_nothing() {
    let header = json!({"alg": "HS256"});
    let text = compact(&header, r#"{"exp": 1e19, "nbf": 0}"#);
    let token = Token::parse(text.as_bytes()).expect("a token");
    assert_eq!(token.check_times(u64::MAX, u64::MAX), Ok(()));
    assert_eq!(token.check_times(0, 0), Ok(()));
    let text = compact(&header, r#"{"exp": 0}"#);
    let token = Token::parse(text.as_bytes()).expect("a token");
    // A time that is said counts, also the first of all.
    assert_eq!(token.check_times(61, 60), Err(Failure::Expired));
}

// === Key sets ===

#[test]
fn what_has_no_key_that_can_be_used_is_no_key_set() {
    assert!(KeySet::parse(SECRET.as_bytes()).is_some());
    for text in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"keys": {}}"#,
        r#"{"keys": []}"#,
        r#"{"keys": [5, {}]}"#,
        r#"{"keys": [{"kty": "oct", "k": ""}]}"#,
        r#"{"keys": [{"kty": "oct", "k": "a+/b"}]}"#,
        r#"{"keys": [{"kty": "oct", "k": "YQ", "alg": "RS256"}]}"#,
        r#"{"keys": [{"kty": "RSA", "n": "YQ"}]}"#,
        r#"{"keys": [{"kty": "RSA", "n": "YQ", "e": "Ag"}]}"#,
        r#"{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES384", "x": "YQ", "y": "YQ"}]}"#,
        r#"{"keys": [{"kty": "EC", "crv": "secp256k1", "x": "YQ", "y": "YQ"}]}"#,
        r#"{"keys": [{"kty": "OKP", "crv": "X25519", "x": "YQ"}]}"#,
        r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "YQ"}]}"#,
    ] {
        assert!(KeySet::parse(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn a_key_set_has_a_size() {
    let key = json!({"kty": "oct", "k": "YQ"});
    let many = json!({"keys": vec![key; 1000]}).to_string();
    let set = KeySet::parse(many.as_bytes()).expect("keys");
    assert!(set.len() < 1000);
    let padded = format!("{SECRET}{}", " ".repeat(MOST_SET));
    assert!(KeySet::parse(padded.as_bytes()).is_none());
}

#[test]
fn a_token_without_a_name_is_tried_with_few_keys() {
    let other = json!({"kty": "oct", "k": "Yg"});
    let good = json!({"kty": "oct", "k": "YQ"});
    let verify = |before: usize| {
        let mut keys = vec![other.clone(); before];
        keys.push(good.clone());
        let set = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).expect("keys");
        set.verify(&Token::parse(signed(None).as_bytes()).expect("a token"))
    };
    assert_eq!(verify(5), Ok(()));
    assert_eq!(verify(200), Err(Failure::VerificationFails));
}

// === Fetched key sets ===

fn place() -> Place {
    Place {
        cluster: "keys".to_owned(),
        secure: true,
        authority: "keys.example".to_owned(),
        path: "/".to_owned(),
        timeout: Duration::from_secs(1),
        retries: 0,
        pause: (Duration::ZERO, Duration::ZERO),
        keep: Duration::from_secs(300),
        back_off: Duration::from_secs(5),
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn take(remote: &Remote) -> Turn<'_> {
    match remote.poll_turn(&mut None, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(turn)) => turn,
        other => panic!("not the turn: {other:?}"),
    }
}

fn answers(remote: &Remote, answer: Option<&str>, now: Instant) -> bool {
    take(remote).answered(answer.map(str::as_bytes), now)
}

#[test]
fn a_key_set_is_fetched_once_in_its_time() {
    let (remote, start) = (Remote::new(place()), Instant::now());
    assert!(matches!(remote.find(start, false), Found::Fetch));
    assert!(answers(&remote, Some(SECRET), start));
    let after = |seconds| remote.find(start + Duration::from_secs(seconds), false);
    assert!(matches!(after(299), Found::Keys(_)));
    assert!(matches!(after(300), Found::Fetch));
}

#[test]
fn the_last_good_keys_outlive_failures_and_lies() {
    let (remote, start) = (Remote::new(place()), Instant::now());
    assert!(answers(&remote, Some(SECRET), start));
    let mut now = start;
    for lie in [None, Some("<html>"), Some("{}"), Some(r#"{"keys":[]}"#)] {
        now += Duration::from_secs(301);
        assert!(matches!(remote.find(now, false), Found::Fetch));
        assert!(!answers(&remote, lie, now));
        // It is not asked again at once, and nobody is without keys.
        assert!(matches!(remote.find(now, false), Found::Keys(_)));
        assert!(matches!(remote.find(now, true), Found::Keys(_)));
    }
}

#[test]
fn who_has_failed_is_not_asked_again_at_once() {
    let (remote, start) = (Remote::new(place()), Instant::now());
    assert!(!answers(&remote, None, start));
    let after = |seconds| remote.find(start + Duration::from_secs(seconds), false);
    assert!(matches!(after(4), Found::Failed));
    assert!(matches!(after(5), Found::Fetch));
    // Who has waited once does not wait again.
    assert!(matches!(
        remote.find(start + Duration::from_secs(5), true),
        Found::Failed
    ));
}

#[test]
fn many_wait_for_one() {
    let remote = Remote::new(place());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut seen = None;
    let turn = take(&remote);
    assert!(
        remote
            .poll_turn(&mut seen, &mut Context::from_waker(&waker))
            .is_pending()
    );
    assert!(turn.answered(Some(SECRET.as_bytes()), Instant::now()));
    assert_eq!(woken.0.load(SeqCst), 1);
    let next = remote.poll_turn(&mut seen, &mut Context::from_waker(&waker));
    assert!(matches!(next, Poll::Ready(None)));
}

#[test]
fn a_turn_that_is_given_up_is_the_next_ones() {
    let remote = Remote::new(place());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut seen = None;
    let turn = take(&remote);
    assert!(
        remote
            .poll_turn(&mut seen, &mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(turn);
    assert_eq!(woken.0.load(SeqCst), 1);
    let next = remote.poll_turn(&mut seen, &mut Context::from_waker(&waker));
    assert!(matches!(next, Poll::Ready(Some(_))));
}

#[test]
fn while_new_keys_come_the_old_ones_hold() {
    let (remote, start) = (Remote::new(place()), Instant::now());
    assert!(answers(&remote, Some(SECRET), start));
    let later = start + Duration::from_secs(301);
    let turn = take(&remote);
    assert!(matches!(remote.find(later, false), Found::Keys(_)));
    drop(turn);
    assert!(matches!(remote.find(later, false), Found::Fetch));
}

#[test]
fn a_key_that_is_not_there_is_sought_now_and_then() {
    let (remote, start) = (Remote::new(place()), Instant::now());
    assert!(answers(&remote, Some(SECRET), start));
    let after = |seconds| remote.may_have_changed(start + Duration::from_secs(seconds));
    assert!(!after(9));
    assert!(after(10));
    assert!(!answers(&remote, None, start + Duration::from_secs(10)));
    assert!(!after(19));
    assert!(after(20));
}

#[test]
fn configurations_share_what_they_fetch() {
    let remotes = Remotes::default();
    let one = remotes.at(place());
    assert!(Arc::ptr_eq(&one, &remotes.clone().at(place())));
    let elsewhere = Place {
        path: "/other".to_owned(),
        ..place()
    };
    assert!(!Arc::ptr_eq(&one, &remotes.at(elsewhere)));
}
