//! `leno validate`: each object by itself: syntax, schema, rules. `leno analyze`: the configuration as a whole besides.

mod report;
mod sarif;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use leno_api::{Diagnostic, Object};
use leno_model::{Change, VipTable, World};

use report::Report;

/// Each object by itself: syntax, schema, rules (exit 1 on any error)
#[derive(Debug, Args)]
pub struct Validate {
    #[command(flatten)]
    files: Files,
}

/// The configuration as a whole: references, shadowed rules, conflicts, what lets through (exit 1 on any error)
#[derive(Debug, Args)]
pub struct Analyze {
    #[command(flatten)]
    files: Files,
    /// A warning is an error
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
struct Files {
    /// Files, or directories with *.yaml, *.yml and *.json below them; - is the standard input
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// For people, for programs, or for those that show findings of many tools (SARIF 2.1.0)
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Sarif,
}

/// What was read of files, and what is to be said of it.
struct Read {
    files: Vec<(String, Vec<Object>)>,
    /// Those that were refused, too.
    objects: usize,
    found: Vec<Diagnostic>,
    texts: BTreeMap<String, String>,
}

const STDIN: &str = "stdin";

pub fn run(args: &Validate) -> anyhow::Result<ExitCode> {
    let read = read(&args.files.files)?;
    told(&args.files, read, false)
}

/// As the control plane would see it with these files and without workloads.
pub fn analyze(args: &Analyze) -> anyhow::Result<ExitCode> {
    let mut read = read(&args.files.files)?;
    let objects = read.files.iter().flat_map(|(_, objects)| objects.iter().cloned());
    let objects: Vec<Arc<Object>> = objects.map(Arc::new).collect();
    let changes = read.files.iter_mut().map(|(file, objects)| Change::File {
        file: Arc::from(file.as_str()),
        objects: std::mem::take(objects),
    });
    let outcome = World::new(VipTable::default()).apply(changes, Duration::ZERO);
    read.found.extend(outcome.diagnostics);
    read.found
        .extend(leno_model::analyze(&objects, &outcome.snapshot));
    told(&args.files, read, args.strict)
}

fn read(roots: &[PathBuf]) -> anyhow::Result<Read> {
    let mut paths = Vec::new();
    for path in roots {
        match path.as_os_str() == "-" {
            true => paths.push(None),
            false => {
                let mut below = Vec::new();
                collect(path, &mut below)?;
                paths.extend(below.into_iter().map(Some));
            }
        }
    }
    let mut read = Read {
        files: Vec::new(),
        objects: 0,
        found: Vec::new(),
        texts: BTreeMap::new(),
    };
    for path in paths {
        let (name, bytes) = content(path.as_deref())?;
        let parsed = leno_api::read(&name, &bytes);
        read.objects += parsed.objects.len() + parsed.rejected.len();
        read.found.extend(parsed.diagnostics);
        read.texts
            .insert(name.clone(), String::from_utf8_lossy(&bytes).into_owned());
        read.files.push((name, parsed.objects));
    }
    Ok(read)
}

/// None is the standard input.
fn content(path: Option<&Path>) -> anyhow::Result<(String, Vec<u8>)> {
    let most = leno_api::MAX_FILE_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    match path {
        None => {
            let mut input = std::io::stdin().lock().take(most);
            input
                .read_to_end(&mut bytes)
                .context("the standard input cannot be read")?;
            Ok((STDIN.to_owned(), bytes))
        }
        Some(path) => {
            let unreadable = || format!("{} cannot be read", path.display());
            // More than this is refused by its length alone.
            let file = fs::File::open(path).with_context(unreadable)?;
            file.take(most).read_to_end(&mut bytes).with_context(unreadable)?;
            Ok((path.display().to_string(), bytes))
        }
    }
}

fn told(args: &Files, read: Read, strict: bool) -> anyhow::Result<ExitCode> {
    let report = Report::new(read);
    match args.output {
        Output::Text => report.print_text()?,
        Output::Json => crate::output::print(crate::output::Format::Json, &report.json())?,
        Output::Sarif => crate::output::print(crate::output::Format::Json, &sarif::log(&report.found))?,
    }
    Ok(match report.passes(strict) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let kind = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if !kind.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))? {
        entries.push(entry?.path());
    }
    entries.sort();
    for entry in entries {
        let wanted = entry
            .extension()
            .is_some_and(|e| matches!(e.to_str(), Some("yaml" | "yml" | "json")));
        if wanted || entry.is_dir() {
            collect(&entry, into)?;
        }
    }
    Ok(())
}
