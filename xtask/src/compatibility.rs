//! `docs/envoy-compatibility.md`: what leno does with every field of Envoy's configuration, read off the code that takes
//! the messages apart.
//!
//! The code destructures each message without `..`. A field that it names and reads is supported; one inside of
//! `refuse!` is rejected; one inside of `no_effect!` or `silent!` has no effect, and the reason stands there. A field
//! that is bound to `_` and not read otherwise is a mistake, which is reported here.

mod aliases;
mod code;
mod names;
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use leno_proto_text::Schema;

use code::Reading;
use names::Names;

/// Where messages are taken apart.
const CODE: &[&str] = &["crates/leno-engine/src", "crates/leno-proxy/src"];
const PAGE: &str = "docs/envoy-compatibility.md";

/// What the code does with the fields of one message.
pub type Fields = BTreeMap<String, Treatment>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    Read,
    /// These of a oneof's members are refused, or an enum's values.
    ReadBut(Vec<String>),
    NoEffect(String),
    Refused,
    /// Bound to nothing.
    Dropped,
}

/// Writes the page; what is wrong with the code.
pub fn write(root: &Path) -> anyhow::Result<Vec<String>> {
    let (page, findings) = page(root)?;
    fs::write(root.join(PAGE), page).context(PAGE)?;
    Ok(findings)
}

/// What is wrong with the code, or with the page.
pub fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let (page, mut findings) = page(root)?;
    if fs::read_to_string(root.join(PAGE)).unwrap_or_default() != page {
        findings.push(format!(
            "{PAGE}: the code says otherwise — cargo xtask compatibility"
        ));
    }
    Ok(findings)
}

fn page(root: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let schema = Schema::load();
    let names = Names::of(schema.descriptors());
    let mut messages = BTreeMap::<String, Fields>::new();
    let mut findings = Vec::new();
    for file in files(root)? {
        let text = fs::read_to_string(&file)?;
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let readings = code::readings(root, &file, &text).with_context(|| shown.clone())?;
        for Reading { path, line, fields } in readings {
            let Some(name) = names.message(&path) else {
                continue;
            };
            for (field, treatment) in &fields {
                if *treatment == Treatment::Dropped {
                    findings.push(format!(
                        "{shown}:{line}: {name}.{field} is bound to `_` — read it, refuse! it, or say no_effect! or silent!"
                    ));
                }
            }
            merge(messages.entry(name.to_owned()).or_default(), fields);
        }
    }
    Ok((page::text(schema.descriptors(), &messages), findings))
}

/// A message that is taken apart in several places: what one of them reads is read.
fn merge(known: &mut Fields, more: Fields) {
    for (field, treatment) in more {
        match known.get(&field) {
            Some(Treatment::Read | Treatment::ReadBut(_)) => {}
            Some(Treatment::NoEffect(_)) if !matches!(treatment, Treatment::Read | Treatment::ReadBut(_)) => {
            }
            _ => drop(known.insert(field, treatment)),
        }
    }
}

fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = CODE.iter().map(|directory| root.join(directory)).collect();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}
