//! Bootstraps that others wrote: each is taken, or refused with the field and the extension that is why.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use leno_engine::compile::Files;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use serde_json::{Value, json};

use crate::config::Pki;
use crate::envoy::Leno;

/// Percent of those that need nothing [`LATER`], at least.
const TAKEN: usize = 75;

/// What the proxy is to have later, an extension's type a line.
const LATER: &str = include_str!("corpus-later.txt");

/// What is refused and why, one a line.
const REFUSED: &str = "tests/envoy/corpus.txt";

/// The files, where there are any.
pub(crate) fn files(test: &str) -> Option<Vec<PathBuf>> {
    let cases = std::env::var_os("LENO_CASES").map_or_else(|| "../../../shared/cases".into(), PathBuf::from);
    let directory = cases.join("envoy-bootstraps");
    let Ok(entries) = std::fs::read_dir(&directory) else {
        leno_testkit::skip(test, "LENO_CASES not found");
        return None;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    Some(files)
}

/// The machine's roots, of which not every machine has any: in their place some bytes.
pub(crate) struct Roots;

impl Files for Roots {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "/etc/ssl/certs/ca-certificates.crt" => Ok(b"roots".to_vec()),
            _ => Err("no such file".into()),
        }
    }
}

#[test]
fn each_bootstrap_is_taken_or_refused_by_name() {
    let Some(files) = files("each_bootstrap_is_taken_or_refused_by_name") else {
        return;
    };
    let schema = Schema::load();
    let mut refused = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let bootstrap = schema
            .from_text::<Bootstrap>(&text)
            .map_err(|why| why.to_string());
        let compiled = bootstrap.and_then(|bootstrap| {
            let compiled = leno_proxy::Bootstrap::compile(&bootstrap, &Roots);
            compiled.map_err(|why| why.to_string())
        });
        if let Err(why) = compiled {
            let name = file.file_stem().unwrap().to_string_lossy();
            let _ = writeln!(refused, "{name}: {why}");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REFUSED);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &refused).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (known, refused) = (lines(&known), lines(&refused));
    let changed = known.symmetric_difference(&refused).cloned().collect::<Vec<_>>();
    assert!(changed.is_empty(), "UPDATE=1 writes it:\n{}", changed.join("\n"));
    let taken = files.len() - refused.len();
    let wanted = wanted(&files);
    println!(
        "{taken} of {} are taken; {wanted} need nothing that is to come later",
        files.len()
    );
    assert!(taken * 100 >= wanted * TAKEN, "{taken} of {wanted}");
}

/// How many need nothing [`LATER`].
fn wanted(files: &[PathBuf]) -> usize {
    let needs_later = |file: &&PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        LATER.lines().any(|name| text.contains(name))
    };
    files.len() - files.iter().filter(needs_later).count()
}

/// With free ports, and certificates of this run in place of the examples.
#[tokio::test]
async fn each_bootstrap_that_is_taken_starts_and_is_shown() {
    let Some(files) = files("each_bootstrap_that_is_taken_starts_and_is_shown") else {
        return;
    };
    let (schema, directory, pki) = (Schema::load(), tempfile::tempdir().unwrap(), Pki::new());
    let mut wrong = Vec::new();
    let mut shown = 0;
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy();
        let text = std::fs::read_to_string(file).unwrap();
        let Ok(taken) = schema.from_text::<Bootstrap>(&text) else {
            continue;
        };
        if leno_proxy::Bootstrap::compile(&taken, &Roots).is_err() {
            continue;
        }
        let mut document = schema.to_json(&taken).unwrap();
        localise(&mut document, directory.path(), &pki);
        let bootstrap: Bootstrap = schema.from_text(&document.to_string()).unwrap();
        match shows(&bootstrap, &pki, &document).await {
            Ok(()) => shown += 1,
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{shown} are shown, but\n{}", wrong.join("\n"));
    let wanted = wanted(&files);
    assert!(shown * 100 >= wanted * TAKEN, "{shown} of {wanted}");
}

/// Starts it, and looks for its listeners and clusters in the dump.
async fn shows(bootstrap: &Bootstrap, pki: &Pki, document: &Value) -> Result<(), String> {
    let leno = Leno::start_with(bootstrap, &TheseRoots(pki))?;
    let resources = &document["static_resources"];
    for (list, field, inner) in [
        ("listeners", "static_listeners", "listener"),
        ("clusters", "static_clusters", "cluster"),
    ] {
        let (_, dump) = leno
            .ask("GET", &format!("/config_dump?resource={field}&mask={inner}.name"))
            .await?;
        let dump: Value = serde_json::from_str(&dump).map_err(|e| format!("{e}: {dump}"))?;
        let names = |items: &Value, name: &dyn Fn(&Value) -> Value| {
            let items = items.as_array().into_iter().flatten();
            items.map(|item| name(item).to_string()).collect::<Vec<_>>()
        };
        let wanted = names(&resources[list], &|item| item["name"].clone());
        let got = names(&dump["configs"], &|item| item[inner]["name"].clone());
        if wanted != got {
            return Err(format!("{list}: {wanted:?} is shown as {got:?}"));
        }
    }
    Ok(())
}

struct TheseRoots<'p>(&'p Pki);

impl Files for TheseRoots<'_> {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.pem("ca.crt").into())
    }
}

/// Listens on free ports of this machine and on sockets of a directory; certificates are real ones.
fn localise(value: &mut Value, directory: &Path, pki: &Pki) {
    for listener in value["static_resources"]["listeners"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        if listener["address"].get("socket_address").is_some() {
            listener["address"] = address;
        }
    }
    certify(value, directory, pki);
}

fn certify(value: &mut Value, directory: &Path, pki: &Pki) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let pem = match name.as_str() {
                    "certificate_chain" => "server.crt",
                    "private_key" => "server.key",
                    "trusted_ca" => "ca.crt",
                    "crl" => "ca.crl",
                    "path"
                        if field
                            .as_str()
                            .is_some_and(|path| path.starts_with('/') && path.ends_with(".sock")) =>
                    {
                        let file = field.as_str().unwrap_or_default().replace('/', "_");
                        *field = directory.join(file).to_string_lossy().into();
                        continue;
                    }
                    _ => {
                        certify(field, directory, pki);
                        continue;
                    }
                };
                *field = json!({"inline_string": pki.pem(pem)});
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| certify(item, directory, pki)),
        _ => {}
    }
}
