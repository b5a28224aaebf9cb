//! Nothing is accepted and ignored: every scalar of the bootstraps that are taken is changed, one at a time. Then the
//! compiled form is another, or the change is refused, or the field is one that has no effect, with the reason in
//! `docs/envoy-compatibility.md` or in a warning at that very field.

use std::collections::BTreeSet;
use std::path::Path;

use leno_engine::compile::{Warnings, cluster, listener};
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto_text::Schema;
use serde_json::Value;

use crate::config::{self, Backends};
use crate::corpus::{self, Roots};

/// Messages that only describe: what of them is known, and has a meaning, is read.
const DESCRIBING: [&str; 2] = ["metadata", "locality"];
/// What is read and never shown: the forms of two keys are the same text.
const HIDDEN: [&str; 2] = ["private_key", "password"];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Listener,
    Cluster,
}

/// What a text is compiled into, and the fields that it warns of.
struct Compiled {
    form: String,
    warned: BTreeSet<String>,
}

#[test]
fn no_scalar_of_others_bootstraps_is_accepted_and_ignored() {
    let Some(files) = corpus::files("no_scalar_of_others_bootstraps_is_accepted_and_ignored") else {
        return;
    };
    let mut all = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        for (list, kind) in [("listeners", Kind::Listener), ("clusters", Kind::Cluster)] {
            let items = document["static_resources"][list]
                .as_array()
                .into_iter()
                .flatten();
            all.extend(items.map(|item| (kind, item.clone())));
        }
    }
    let tried = no_scalar_is_ignored(&Schema::load(), &all);
    assert!(tried > 200, "only {tried} were tried");
}

#[tokio::test]
async fn no_scalar_of_our_cases_is_accepted_and_ignored() {
    let backends = Backends::start().await;
    let (listeners, clusters) = config::fragments(&backends);
    let listeners = listeners.into_iter().map(|listener| (Kind::Listener, listener));
    let clusters = clusters.into_iter().map(|cluster| (Kind::Cluster, cluster));
    let all: Vec<_> = listeners.chain(clusters).collect();
    let tried = no_scalar_is_ignored(&backends.schema, &all);
    assert!(tried > 300, "only {tried} were tried");
}

/// Fields are tried once each, wherever they stand first. How many there were.
fn no_scalar_is_ignored(schema: &Schema, all: &[(Kind, Value)]) -> usize {
    let silent = silent();
    let (mut seen, mut ignored) = (BTreeSet::new(), BTreeSet::new());
    for (kind, item) in all {
        let Some(original) = compile(schema, *kind, item) else {
            continue;
        };
        for path in scalars(item) {
            let shown = shown(&path, false);
            if !seen.insert(format!("{kind:?}: {shown}")) {
                continue;
            }
            let mut changed = item.clone();
            let scalar = at(&mut changed, &path);
            *scalar = mutated(scalar);
            let Some(after) = compile(schema, *kind, &changed) else {
                continue;
            };
            let place = self::shown(&path, true);
            let mut warnings = original.warned.iter().chain(&after.warned);
            let warned = warnings.any(|field| place.starts_with(field.as_str()));
            let mut fields = shown.rsplit('.');
            let named = fields.next().is_some_and(|field| silent.contains(field))
                || fields.any(|field| DESCRIBING.contains(&field) || HIDDEN.contains(&field));
            if after.form == original.form && !warned && !named {
                ignored.insert(format!("{kind:?}: {shown}"));
            }
        }
    }
    let ignored: Vec<String> = ignored.into_iter().collect();
    let count = (ignored.len(), seen.len());
    assert!(
        ignored.is_empty(),
        "{count:?} are ignored:\n{}",
        ignored.join("\n")
    );
    seen.len()
}

/// The fields of which the page says that they have no effect.
fn silent() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/envoy-compatibility.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| row.split_once("` | no effect"));
    rows.map(|(field, _)| field.to_owned()).collect()
}

/// None: it is refused.
fn compile(schema: &Schema, kind: Kind, item: &Value) -> Option<Compiled> {
    let text = item.to_string();
    let mut warnings = Warnings::default();
    let form = match kind {
        Kind::Listener => {
            let message: Listener = schema.from_text(&text).ok()?;
            format!("{:?}", listener::compile(&message, &Roots, &mut warnings).ok()?)
        }
        Kind::Cluster => {
            let message: Cluster = schema.from_text(&text).ok()?;
            format!("{:?}", cluster::compile(&message, &Roots, &mut warnings).ok()?)
        }
    };
    let warned = warnings.0.iter().map(|warning| plain(&warning.path.to_string()));
    Some(Compiled {
        form,
        warned: warned.collect(),
    })
}

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// The paths of all scalars but types and names of extensions.
fn scalars(value: &Value) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    collect(value, &mut Vec::new(), &mut found);
    found
}

fn collect(value: &Value, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(key, _)| *key != "@type") {
                path.push(Step::Key(key.clone()));
                collect(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                path.push(Step::Index(index));
                collect(value, path, found);
                path.pop();
            }
        }
        Value::Null => {}
        _ => found.push(path.clone()),
    }
}

fn at<'v>(value: &'v mut Value, path: &[Step]) -> &'v mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key],
        Step::Index(index) => &mut value[index],
    })
}

/// As the fields are called in `.proto` files.
fn shown(path: &[Step], indices: bool) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => format!(".{key}"),
        Step::Index(index) if indices => format!("[{index}]"),
        Step::Index(_) => String::new(),
    });
    plain(steps.collect::<String>().trim_start_matches('.'))
}

/// Without the marks of map keys, and in snake case.
fn plain(path: &str) -> String {
    let mut plain = String::new();
    for c in path.replace("[\"", ".").replace("\"]", "").chars() {
        if c.is_ascii_uppercase() {
            plain.push('_');
        }
        plain.push(c.to_ascii_lowercase());
    }
    plain
}

fn mutated(scalar: &Value) -> Value {
    match scalar {
        Value::Bool(value) => (!value).into(),
        Value::Number(number) => match number.as_i64() {
            // Not over the whole, where it is a share.
            Some(number) if number > 1 => (number - 1).into(),
            Some(number) => (number + 1).into(),
            None => (number.as_f64().unwrap_or_default() + 1.0).into(),
        },
        Value::String(text) => match text
            .strip_suffix('s')
            .and_then(|seconds| seconds.parse::<f64>().ok())
        {
            Some(seconds) => format!("{}s", seconds + 1.0).into(),
            None => format!("{text}x").into(),
        },
        other => other.clone(),
    }
}
