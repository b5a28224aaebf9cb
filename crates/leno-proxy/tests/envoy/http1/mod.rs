//! HTTP/1.1 byte for byte: every case of [`cases`] goes to Envoy and to leno, and what the client and the upstream
//! get from them is the same, but for what [`intent`] names.
//!
//! What Envoy 1.40 does is kept in `envoy-1.40.txt`, so that leno is held to it where there is no Envoy, and that
//! file is held to Envoy where there is one. What leno does otherwise is in `leno.txt`. `UPDATE=1` writes both.

mod case;
mod cases;
mod exchange;
mod intent;
mod outcome;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::bootstrap::bootstrap;
use crate::envoy::{Envoy, Leno, program};
use case::Subject;
use exchange::exchange;
use intent::{by_intent, intended};
use upstream::Upstream;

const ENVOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/envoy/http1/envoy-1.40.txt");
const LENO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/envoy/http1/leno.txt");

#[tokio::test]
async fn the_facts_are_what_envoy_does() {
    let Some(program) = program("the_facts_are_what_envoy_does") else {
        return;
    };
    let subjects = cases::all();
    let upstreams = upstreams(&subjects).await;
    let envoy = Envoy::start(&program, &bootstrap(&addresses(&upstreams)));
    let outcomes = run(&subjects, &upstreams, &envoy.listeners).await;
    let text = facts("What Envoy 1.40 does.", &subjects, &outcomes);
    if updating() {
        std::fs::write(ENVOY, &text).unwrap();
    }
    let (want, got) = (read(ENVOY), parse(&text));
    let wrong: Vec<String> = got
        .iter()
        .filter_map(|(name, got)| difference(name, known(&want, name), got))
        .collect();
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
    let outcomes = run(&subjects, &upstreams, &leno.listeners).await;
    let got = parse(&facts("", &subjects, &outcomes));
    if updating() {
        std::fs::write(LENO, otherwise(&got)).unwrap();
    }
    let (envoy, leno) = (read(ENVOY), read(LENO));
    let mut wrong = Vec::new();
    for (name, got) in &got {
        let like_envoy = difference(name, known(&envoy, name), got);
        match by_intent(name) {
            None => wrong.extend(like_envoy),
            Some(_) if like_envoy.is_none() => {
                wrong.push(format!("# {name}: there is no difference any more"))
            }
            Some(why) => wrong.extend(difference(name, known(&leno, name), &format!("{why}\n{got}"))),
        }
    }
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
    assert!(intended().all(|name| names.contains(&name)));
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

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

fn facts(title: &str, subjects: &[Subject], outcomes: &[String]) -> String {
    let mut text = format!("{title} Written by the test beside it.\n");
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

/// What `leno.txt` holds.
fn otherwise(got: &BTreeMap<String, String>) -> String {
    let mut text = String::from("What leno does otherwise than Envoy. Written by the test beside it.\n");
    for (name, got) in got {
        if let Some(why) = by_intent(name) {
            text.push_str(&format!("\n# {name}\n{why}\n{got}\n"));
        }
    }
    text
}

fn known<'a>(outcomes: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    outcomes.get(name).map_or("nothing is known", String::as_str)
}

fn difference(name: &str, want: &str, got: &str) -> Option<String> {
    (want != got).then(|| format!("\n# {name}\n--- expected\n{want}\n--- here\n{got}"))
}
