//! One configuration, both proxies: every file of `cases/CATEGORY/` is a fragment of a bootstrap with the requests that
//! go through it, and what the client gets, which backend got what, is the same from Envoy and from leno.
//!
//! A new case is one file. What Envoy 1.40 does is kept beside the categories, in `CATEGORY.txt`, so that leno is held to
//! it where there is no Envoy, and that file is held to Envoy where there is one. `UPDATE=1` writes it. Where leno does
//! otherwise on purpose, the file's `intent` says why, and what it does then is kept in `CATEGORY.leno.txt`.

mod backend;
mod case;
mod exchange;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use leno_engine::compile::NoFiles;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;

use crate::envoy::{Envoy, Leno, program};
use backend::Backends;
use case::Case;

/// What there is to be at least, in each category.
const ENOUGH: usize = 8;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/envoy/cases")
}

/// By category.
fn cases() -> BTreeMap<String, Vec<Case>> {
    let mut all = BTreeMap::<String, Vec<Case>>::new();
    for category in entries(&directory()).into_iter().filter(|path| path.is_dir()) {
        let name = category.file_name().unwrap().to_string_lossy().into_owned();
        let files = entries(&category).into_iter();
        all.insert(name, files.map(|file| Case::read(&file)).collect());
    }
    all
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_category_has_enough_cases() {
    for (category, cases) in cases() {
        assert!(cases.len() >= ENOUGH, "{category}: {}", cases.len());
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len(), "{category}: names are used once");
    }
}

#[tokio::test]
async fn the_facts_of_the_cases_are_what_envoy_does() {
    let Some(program) = program("the_facts_of_the_cases_are_what_envoy_does") else {
        return;
    };
    let backends = Backends::start().await;
    let mut wrong = Vec::new();
    for (category, cases) in cases() {
        let bootstrap = bootstrap(&cases, &backends);
        let envoy = Envoy::start(&program, &bootstrap);
        let outcomes = run(cases.iter(), &envoy.listeners).await;
        let title = "What Envoy 1.40 does. Written by the test beside it.\n";
        let text = facts(title, cases.iter().zip(&outcomes));
        let file = directory().join(format!("{category}.txt"));
        if updating() {
            std::fs::write(&file, &text).unwrap();
        }
        wrong.extend(differences(&category, &read(&file), &parse(&text)));
    }
    assert!(
        wrong.is_empty(),
        "Envoy is another (UPDATE=1 writes it down):\n{}",
        wrong.join("\n")
    );
}

#[tokio::test]
async fn leno_does_in_every_case_what_envoy_does() {
    let backends = Backends::start().await;
    let mut wrong = Vec::new();
    for (category, cases) in cases() {
        let outcomes = by_leno(&cases, &backends).await;
        let both = || cases.iter().zip(&outcomes);
        let own = directory().join(format!("{category}.leno.txt"));
        if updating() {
            let intended: Vec<_> = both().filter(|(case, _)| case.intent.is_some()).collect();
            match intended.is_empty() {
                true => drop(std::fs::remove_file(&own)),
                false => {
                    let title = "What leno does otherwise than Envoy. Written by the test beside it.\n";
                    std::fs::write(&own, facts(title, intended.into_iter())).unwrap();
                }
            }
        }
        let (envoy, leno) = (read(&directory().join(format!("{category}.txt"))), read(&own));
        for (case, outcome) in both() {
            let got = BTreeMap::from([(case.name.clone(), outcome.trim_end().to_owned())]);
            let like_envoy = differences(&category, &envoy, &got);
            match &case.intent {
                None => wrong.extend(like_envoy),
                Some(_) if like_envoy.is_empty() => {
                    wrong.push(format!(
                        "{category}: {}: there is no difference any more",
                        case.name
                    ));
                }
                Some(_) => wrong.extend(differences(&category, &leno, &got)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What leno does not have it says by the field's name.
async fn by_leno(cases: &[Case], backends: &Backends) -> Vec<String> {
    let rejections: Vec<Option<String>> = cases
        .iter()
        .map(|case| {
            let alone = bootstrap([case], backends);
            let compiled = leno_proxy::Bootstrap::compile(&alone, &NoFiles);
            compiled.err().map(|why| format!("rejected: {why}\n"))
        })
        .collect();
    let both = || cases.iter().zip(&rejections);
    let taken: Vec<&Case> = both()
        .filter(|(_, why)| why.is_none())
        .map(|(case, _)| case)
        .collect();
    let leno = Leno::start(&bootstrap(taken.iter().copied(), backends));
    let mut outcomes = run(taken.into_iter(), &leno.listeners).await.into_iter();
    let outcome = |why: &Option<String>| why.clone().or_else(|| outcomes.next());
    rejections.iter().filter_map(outcome).collect()
}

/// The n-th listener is the n-th case's.
fn bootstrap<'c>(cases: impl IntoIterator<Item = &'c Case>, backends: &Backends) -> Bootstrap {
    let cases: Vec<&Case> = cases.into_iter().collect();
    let schema = &backends.schema;
    let listeners: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(n, case)| case.listener(n))
        .collect();
    let text = serde_json::json!({
        "admin": {"address": case::socket(([127, 0, 0, 1], 0).into())},
        "static_resources": {"listeners": listeners, "clusters": backends.clusters()},
    });
    match schema.from_text(&text.to_string()) {
        Ok(bootstrap) => bootstrap,
        Err(all) => {
            // Which of them it is.
            for case in cases {
                let alone = schema.from_text::<leno_proto::envoy::config::listener::v3::Listener>(
                    &case.listener(0).to_string(),
                );
                if let Err(error) = alone {
                    panic!("{}: {error}", case.name);
                }
            }
            panic!("{all}")
        }
    }
}

async fn run<'c>(cases: impl Iterator<Item = &'c Case>, listeners: &[SocketAddr]) -> Vec<String> {
    let each = cases.zip(listeners);
    futures_util::future::join_all(each.map(|(case, listener)| exchange::all(case, *listener))).await
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

fn facts<'c>(title: &str, outcomes: impl Iterator<Item = (&'c Case, &'c String)>) -> String {
    let sections = outcomes.map(|(case, outcome)| format!("\n# {}\n{outcome}", case.name));
    title.to_owned() + &sections.collect::<String>()
}

fn read(file: &Path) -> BTreeMap<String, String> {
    parse(&std::fs::read_to_string(file).unwrap_or_default())
}

/// By the case's name.
fn parse(text: &str) -> BTreeMap<String, String> {
    let sections = text.split("\n# ").skip(1);
    sections
        .filter_map(|section| section.split_once('\n'))
        .map(|(name, rest)| (name.to_owned(), rest.trim_end().to_owned()))
        .collect()
}

fn differences(
    category: &str,
    want: &BTreeMap<String, String>,
    got: &BTreeMap<String, String>,
) -> Vec<String> {
    let wrong = got.iter().filter_map(|(name, got)| {
        let want = want.get(name).map_or("nothing is known", String::as_str);
        let lines = want.lines().zip(got.lines());
        let first = lines
            .filter(|(want, got)| want != got)
            .map(|(want, got)| format!("  - {want}\n  + {got}"));
        let first: Vec<String> = first.take(6).collect();
        (want != got).then(|| format!("\n{category}: {name}\n{}", first.join("\n")))
    });
    wrong.collect()
}
