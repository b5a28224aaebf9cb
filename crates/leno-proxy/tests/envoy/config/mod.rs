//! One configuration, both proxies: every file of `cases/CATEGORY/` is a fragment of a bootstrap with the requests that
//! go through it, and what the client gets, which backend got what, is the same from Envoy and from leno.
//!
//! A new case is one file. What Envoy 1.40 does is kept beside the categories, in `CATEGORY.txt`, so that leno is held to
//! it where there is no Envoy, and that file is held to Envoy where there is one. `UPDATE=1` writes it. Where leno does
//! otherwise on purpose, the file's `intent` says why, and what it does then is kept in `CATEGORY.leno.txt`. What a file
//! may say is in `cases/README.md`. `CASES=CATEGORY` or `CASES=CATEGORY/NAME` tries only those.

mod backend;
mod case;
mod collected;
mod exchange;
mod generated;
mod grpc;
pub(crate) mod pki;
mod request;
mod spans;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use leno_engine::compile::NoFiles;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;

use crate::envoy::{Envoy, Leno, program};
pub(crate) use backend::Backends;
use case::{Case, Place};
pub(crate) use exchange::{believing_anybody, names_shown};
pub(crate) use pki::Pki;
use serde_json::Value;

/// What there is to be at least, in each category.
const ENOUGH: usize = 8;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/envoy/cases")
}

struct Category {
    name: String,
    cases: Vec<Case>,
    /// Fields of the bootstrap, for all its cases: `CATEGORY.yaml`.
    bootstrap: Value,
}

fn categories() -> Vec<Category> {
    let wanted = std::env::var("CASES").unwrap_or_default();
    let (wanted, one) = wanted.split_once('/').unwrap_or((&wanted, ""));
    let mut all = Vec::new();
    for directory in entries(&directory()).into_iter().filter(|path| path.is_dir()) {
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        if !wanted.is_empty() && name != wanted {
            continue;
        }
        let files = entries(&directory).into_iter().map(|file| Case::read(&file));
        let common = std::fs::read_to_string(directory.with_extension("yaml"));
        if name == "grpc" && !grpc::is_there() {
            leno_testkit::skip("the cases of grpc", "no grpcio: set LENO_GRPC_PYTHON");
            continue;
        }
        all.push(Category {
            cases: files.filter(|case| one.is_empty() || case.name == one).collect(),
            bootstrap: common.map_or(Value::Null, |text| serde_saphyr::from_str(&text).unwrap()),
            name,
        });
    }
    all
}

/// The listeners and clusters of all cases.
pub(crate) fn fragments(backends: &Backends) -> (Vec<Value>, Vec<Value>) {
    let place = Place {
        backends,
        directory: Path::new("/tmp"),
    };
    let cases: Vec<Case> = categories()
        .into_iter()
        .flat_map(|category| category.cases)
        .collect();
    let listeners = cases.iter().map(|case| case.listener(0, place)).collect();
    (
        listeners,
        cases.iter().flat_map(|case| case.clusters(place)).collect(),
    )
}

fn is_filtered() -> bool {
    std::env::var_os("CASES").is_some()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_category_has_enough_cases() {
    for Category { name, cases, .. } in categories() {
        assert!(cases.len() >= ENOUGH || is_filtered(), "{name}: {}", cases.len());
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len(), "{name}: names are used once");
    }
}

#[tokio::test]
async fn the_facts_of_the_cases_are_what_envoy_does() {
    let Some(program) = program("the_facts_of_the_cases_are_what_envoy_does") else {
        return;
    };
    let backends = Backends::start().await;
    let mut wrong = Vec::new();
    for category in categories() {
        let files = tempfile::tempdir().unwrap();
        let place = Place {
            backends: &backends,
            directory: files.path(),
        };
        let bootstrap = category.bootstrap(&category.cases, place);
        // It asks the backends how they are before it is there.
        let program = program.clone();
        let starting = tokio::task::spawn_blocking(move || Envoy::start(&program, &bootstrap));
        let envoy = starting.await.unwrap();
        let outcomes = run("e", category.cases.iter(), place, &envoy.listeners, &envoy.admin).await;
        let title = "What Envoy 1.40 does. Written by the test beside it.\n";
        let text = facts(title, category.cases.iter().zip(&outcomes));
        let file = directory().join(format!("{}.txt", category.name));
        if updating() {
            write(&file, &text);
        }
        wrong.extend(differences(&category.name, &read(&file), &parse(&text)));
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
    for category in categories() {
        let name = &category.name;
        let outcomes = by_leno(&category, &backends).await;
        let both = || category.cases.iter().zip(&outcomes);
        let own = directory().join(format!("{name}.leno.txt"));
        if updating() {
            let intended: Vec<_> = both().filter(|(case, _)| case.intent.is_some()).collect();
            let title = "What leno does otherwise than Envoy. Written by the test beside it.\n";
            if !intended.is_empty() {
                write(&own, &facts(title, intended.into_iter()));
            } else if !is_filtered() {
                let _ = std::fs::remove_file(&own);
            }
        }
        let (envoy, leno) = (read(&directory().join(format!("{name}.txt"))), read(&own));
        for (case, outcome) in both() {
            let got = BTreeMap::from([(case.name.clone(), outcome.trim_end().to_owned())]);
            let like_envoy = differences(name, &envoy, &got);
            match &case.intent {
                None => wrong.extend(like_envoy),
                Some(_) if like_envoy.is_empty() => {
                    wrong.push(format!("{name}: {}: there is no difference any more", case.name));
                }
                Some(_) => wrong.extend(differences(name, &leno, &got)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What Envoy's `/stats/prometheus` says when the cases of these categories have been tried, category by category: those
/// that leno takes.
pub(crate) async fn told_by_envoy(program: &str, wanted: &[&str]) -> Vec<String> {
    let backends = Backends::start().await;
    let mut told = Vec::new();
    for category in categories().iter().filter(|one| wanted.contains(&&*one.name)) {
        let files = tempfile::tempdir().unwrap();
        let place = Place {
            backends: &backends,
            directory: files.path(),
        };
        let cases = category.taken(place);
        let bootstrap = category.bootstrap(cases.iter().copied(), place);
        let program = program.to_owned();
        let starting = tokio::task::spawn_blocking(move || Envoy::start(&program, &bootstrap));
        let envoy = starting.await.unwrap();
        run("e", cases.into_iter(), place, &envoy.listeners, &envoy.admin).await;
        told.push(prometheus(&envoy.admin).await);
    }
    told
}

/// The same of leno.
pub(crate) async fn told_by_leno(wanted: &[&str]) -> Vec<String> {
    let backends = Backends::start().await;
    let mut told = Vec::new();
    for category in categories().iter().filter(|one| wanted.contains(&&*one.name)) {
        let files = tempfile::tempdir().unwrap();
        let place = Place {
            backends: &backends,
            directory: files.path(),
        };
        let cases = category.taken(place);
        let leno = Leno::start(&category.bootstrap(cases.iter().copied(), place));
        run("l", cases.into_iter(), place, &leno.listeners, &leno.admin).await;
        told.push(prometheus(&leno.admin).await);
    }
    told
}

async fn prometheus(admin: &str) -> String {
    let admin = admin.to_owned();
    let asked = tokio::task::spawn_blocking(move || crate::envoy::ask(&admin, "/stats/prometheus"));
    asked.await.unwrap().unwrap()
}

/// What leno does not have it says by the field's name.
async fn by_leno(category: &Category, backends: &Backends) -> Vec<String> {
    let files = tempfile::tempdir().unwrap();
    let place = Place {
        backends,
        directory: files.path(),
    };
    let rejections = category.cases.iter().map(|case| {
        let alone = category.bootstrap([case], place);
        let compiled = leno_proxy::Bootstrap::compile(&alone, &NoFiles);
        compiled.err().map(|why| format!("rejected: {why}\n"))
    });
    let rejections: Vec<Option<String>> = rejections.collect();
    let both = || category.cases.iter().zip(&rejections);
    let taken: Vec<&Case> = both()
        .filter(|(_, why)| why.is_none())
        .map(|(case, _)| case)
        .collect();
    let leno = Leno::start(&category.bootstrap(taken.iter().copied(), place));
    let outcomes = run("l", taken.into_iter(), place, &leno.listeners, &leno.admin).await;
    let mut outcomes = outcomes.into_iter();
    let outcome = |why: &Option<String>| why.clone().or_else(|| outcomes.next());
    rejections.iter().filter_map(outcome).collect()
}

impl Category {
    /// The cases that leno takes.
    fn taken(&self, place: Place<'_>) -> Vec<&Case> {
        let takes = |case: &&Case| {
            let alone = self.bootstrap([*case], place);
            leno_proxy::Bootstrap::compile(&alone, &NoFiles).is_ok()
        };
        self.cases.iter().filter(takes).collect()
    }

    /// The n-th listener is the n-th case's.
    fn bootstrap<'c>(&self, cases: impl IntoIterator<Item = &'c Case>, place: Place<'_>) -> Bootstrap {
        let cases: Vec<&Case> = cases.into_iter().collect();
        let schema = &place.backends.schema;
        let listeners = cases.iter().enumerate();
        let mut listeners: Vec<_> = listeners.map(|(n, case)| case.listener(n, place)).collect();
        listeners.extend(cases.iter().flat_map(|case| case.listeners(place)));
        let mut clusters = place.backends.clusters();
        clusters.extend(cases.iter().flat_map(|case| case.clusters(place)));
        let secrets: Vec<_> = cases.iter().flat_map(|case| case.secrets(place)).collect();
        let mut text = serde_json::json!({
            "admin": {"address": case::socket(([127, 0, 0, 1], 0).into())},
            "static_resources": {"listeners": listeners, "clusters": clusters, "secrets": secrets},
        });
        let mut common = self.bootstrap.clone();
        if let Some(case) = cases.first() {
            case.fill(&mut common, place);
        }
        if let (Value::Object(fields), Value::Object(mut common)) = (&mut text, common) {
            if let Some(Value::Array(more)) = common.remove("clusters")
                && let Value::Array(clusters) = &mut fields["static_resources"]["clusters"]
            {
                clusters.extend(more);
            }
            fields.extend(common);
        }
        match schema.from_text(&text.to_string()) {
            Ok(bootstrap) => bootstrap,
            // Which of them it is.
            Err(error) if cases.len() == 1 => panic!("{}/{}: {error}", self.name, cases[0].name),
            Err(error) => {
                for case in cases {
                    self.bootstrap([case], place);
                }
                panic!("{}: {error}", self.name)
            }
        }
    }
}

async fn run<'c>(
    proxy: &str,
    cases: impl Iterator<Item = &'c Case>,
    place: Place<'_>,
    listeners: &[SocketAddr],
    admin: &str,
) -> Vec<String> {
    place.backends.forget();
    let each = cases.zip(listeners).map(|(case, listener)| async move {
        let run = format!("{proxy} {}", case.name);
        let told = exchange::all(case, place, &run, *listener).await;
        told + &statistics(case, admin).await
    });
    futures_util::future::join_all(each).await
}

/// A case's statistics, once all of its connections have ended.
async fn statistics(case: &Case, admin: &str) -> String {
    let names = case.stats();
    if names.is_empty() {
        return String::new();
    }
    let (admin, active) = (
        admin.to_owned(),
        format!("http.{}.downstream_cx_active: ", case.name),
    );
    let asked = tokio::task::spawn_blocking(move || {
        leno_testkit::eventually("all connections have ended", || {
            let text = crate::envoy::ask(&admin, "/stats")?;
            let lines = text.lines().filter_map(|line| line.split_once(": "));
            let values: BTreeMap<&str, &str> = lines.collect();
            match text.lines().find_map(|line| line.strip_prefix(&active)) {
                None | Some("0") => {}
                Some(open) => return Err(format!("{open} are open")),
            }
            let told = names.iter().map(|name| match values.get(name.as_str()) {
                Some(value) => format!("{name}: {value}\n"),
                None => format!("{name}: there is none\n"),
            });
            Ok(told.collect::<String>())
        })
    });
    asked.await.unwrap()
}

/// What is known of other cases stays.
fn write(file: &Path, text: &str) {
    let mut known = match is_filtered() {
        true => read(file),
        false => BTreeMap::new(),
    };
    known.extend(parse(text));
    let title = text.lines().next().unwrap_or_default();
    let sections = known.iter().map(|(name, text)| format!("\n# {name}\n{text}\n"));
    std::fs::write(file, format!("{title}\n{}", sections.collect::<String>())).unwrap();
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
