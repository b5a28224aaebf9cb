//! HTTP/1.1 byte for byte: every case of [`cases`] goes to Envoy and to leno, and what the client and the upstream
//! get from them is the same, but for what [`BY_INTENT`] names.
//!
//! What Envoy 1.40 does is kept in `envoy-1.40.txt`, so that leno is held to it where there is no Envoy, and that
//! file is held to Envoy where there is one. `UPDATE=1` writes it.

mod case;
mod cases;
mod exchange;
mod outcome;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::bootstrap::bootstrap;
use crate::envoy::{Envoy, Leno, program};
use case::Subject;
use exchange::exchange;
use upstream::Upstream;

/// Where leno differs, and why it may. None of it is laxer about where a message ends.
const BY_INTENT: &[(&str, &str)] = &[
    // Stricter where a standard says that one must be.
    ("two different Host", "RFC 9112 §3.2: 400; Envoy joins them"),
    ("two equal Host", "RFC 9112 §3.2: 400; Envoy joins them"),
    (
        "a URL and two Host",
        "RFC 9112 §3.2: 400, whatever the target says",
    ),
    (
        "more data than said",
        "RFC 9112 §7.1: a chunk ends where it says; Envoy skips what is behind",
    ),
    ("a response with too much in a chunk", "RFC 9112 §7.1, as above"),
    (
        "an extension of 100,000 bytes",
        "every length has a limit; Envoy reads any number of bytes",
    ),
    (
        "101 that was not asked for",
        "RFC 9110 §15.2.2: nobody knows what follows it",
    ),
    ("101 without Upgrade", "RFC 9110 §15.2.2: it must say to what"),
    ("a status of four digits", "RFC 9112 §4: three digits"),
    ("a status of two digits", "RFC 9112 §4: three digits"),
    ("a status with a sign", "RFC 9112 §4: three digits"),
    ("status 000", "RFC 9110 §15: 100 to 999"),
    ("status 99", "RFC 9110 §15: 100 to 999"),
    (
        "Connection as trailer",
        "RFC 9110 §6.5.1: no trailer frames or routes",
    ),
    ("Content-Length as trailer", "RFC 9110 §6.5.1"),
    ("Host as trailer", "RFC 9110 §6.5.1"),
    ("Transfer-Encoding as trailer", "RFC 9110 §6.5.1"),
    ("a response with Content-Length as trailer", "RFC 9110 §6.5.1"),
    (
        "a header that a response's Connection names",
        "RFC 9110 §7.6.1: it ends here in both directions",
    ),
    (
        "HTTP/1.0 with Expect",
        "RFC 9110 §10.1.1: HTTP/1.0 clients get no 100",
    ),
    // Another form of the same answer.
    ("HTTP/0.9 with a header", "refused with the codec's own version"),
    (
        "a simple request of HTTP/0.9",
        "refused with the codec's own version",
    ),
    (
        "length and chunked in HTTP/1.0",
        "refused with the codec's own version",
    ),
    ("no Host in HTTP/1.0", "refused with the codec's own version"),
    (
        "HEAD without Host",
        "refused with an empty body, which needs no guess at its framing",
    ),
    ("an upgrade beside keep-alive", "`Connection` is written anew"),
    ("an upgrade in capitals", "`Connection` is written anew"),
    ("Expect twice", "each of them is 100-continue"),
    (
        "an upgrade that is not taken up",
        "the upstream's answer is passed on whole, and the connection closed",
    ),
    // Not the codec's.
    ("X-Envoy-Internal", "removed at the edge of the mesh only"),
];

const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/envoy/http1/envoy-1.40.txt");

#[tokio::test]
async fn the_facts_are_what_envoy_does() {
    let Some(program) = program("the_facts_are_what_envoy_does") else {
        return;
    };
    let subjects = cases::all();
    let upstreams = upstreams(&subjects).await;
    let envoy = Envoy::start(&program, &bootstrap(&addresses(&upstreams)));
    let text = facts(&subjects, &run(&subjects, &upstreams, &envoy.listeners).await);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FACTS, &text).unwrap();
    }
    let wrong = differences(&read(FACTS), &parse(&text), &[]);
    assert!(
        wrong.is_empty(),
        "Envoy is another (UPDATE=1 writes it down):\n{}",
        wrong.join("\n")
    );
}

#[tokio::test]
async fn leno_does_what_envoy_does() {
    let subjects = cases::all();
    let upstreams = upstreams(&subjects).await;
    let leno = Leno::start(&bootstrap(&addresses(&upstreams)));
    let text = facts(&subjects, &run(&subjects, &upstreams, &leno.listeners).await);
    let wrong = differences(&read(FACTS), &parse(&text), BY_INTENT);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn names_are_used_once_and_there_are_enough() {
    let subjects = cases::all();
    let mut names: Vec<&str> = subjects.iter().flat_map(|s| &s.cases).map(|c| c.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(all >= 200, "{all}");
    assert!(BY_INTENT.iter().all(|(name, _)| names.contains(name)));
}

async fn upstreams(subjects: &[Subject]) -> Vec<Upstream> {
    let mut upstreams = Vec::new();
    for case in subjects.iter().flat_map(|s| &s.cases) {
        upstreams.push(Upstream::start(case.answer.clone()).await);
    }
    upstreams
}

fn addresses(upstreams: &[Upstream]) -> Vec<SocketAddr> {
    upstreams.iter().map(|upstream| upstream.address).collect()
}

/// Every case on its own listener, all at once.
async fn run(subjects: &[Subject], upstreams: &[Upstream], listeners: &[SocketAddr]) -> Vec<String> {
    let cases = subjects.iter().flat_map(|s| &s.cases);
    let each = cases.zip(upstreams).zip(listeners);
    futures_util::future::join_all(
        each.map(|((case, upstream), listener)| exchange(case, upstream, *listener)),
    )
    .await
}

fn facts(subjects: &[Subject], outcomes: &[String]) -> String {
    let mut text = String::from("What Envoy 1.40 does. Written by the test beside it.\n");
    let mut outcomes = outcomes.iter();
    for subject in subjects {
        text.push_str(&format!("\n=== {} ===\n", subject.name));
        for (case, outcome) in subject.cases.iter().zip(&mut outcomes) {
            text.push_str(&format!("\n# {}\n{}{outcome}", case.name, case.shown()));
        }
    }
    text
}

fn read(path: impl AsRef<Path>) -> BTreeMap<String, String> {
    parse(&std::fs::read_to_string(path).unwrap_or_default())
}

/// By the case's name.
fn parse(text: &str) -> BTreeMap<String, String> {
    let sections = text.split("\n# ").skip(1);
    sections
        .filter_map(|section| {
            let (name, rest) = section.split_once('\n')?;
            let rest = rest.split("\n===").next()?.trim_end();
            Some((name.to_owned(), rest.to_owned()))
        })
        .collect()
}

/// All of them, but for those in `by_intent`, which there must be.
fn differences(
    want: &BTreeMap<String, String>,
    got: &BTreeMap<String, String>,
    by_intent: &[(&str, &str)],
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, got) in got {
        let want = want.get(name).map_or("nothing known", String::as_str);
        let intended = by_intent.iter().any(|(case, _)| case == name);
        if want != got && !intended {
            found.push(format!("\n# {name}\n--- Envoy\n{want}\n--- here\n{got}"));
        }
        if want == got && intended {
            found.push(format!(
                "\n# {name}\nno difference any more: take it from BY_INTENT"
            ));
        }
    }
    found
}
