//! `leno validate`: each object by itself: syntax, schema, rules. `leno analyze`: the configuration as a whole besides.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use leno_api::{Diagnostic, Object, Severity};
use leno_model::{Change, VipTable, World};

use crate::output;

/// Each object by itself: syntax, schema, rules (exit 1 on any error)
#[derive(Debug, Args)]
pub struct Validate {
    /// Files, or directories with *.yaml, *.yml and *.json below them
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
}

/// The configuration as a whole: references, conflicts, what lets through (exit 1 on any error)
#[derive(Debug, Args)]
pub struct Analyze {
    /// Files, or directories with *.yaml, *.yml and *.json below them
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// A warning is an error
    #[arg(long)]
    strict: bool,
}

/// What was read of files, and what is to be said of it.
struct Read {
    files: Vec<(PathBuf, Vec<Object>)>,
    /// Those that were refused, too.
    objects: usize,
    found: Vec<Diagnostic>,
}

pub fn run(args: &Validate) -> anyhow::Result<ExitCode> {
    let read = read(&args.files)?;
    told(read.objects, read.files.len(), &read.found, false)
}

/// As the control plane would see it with these files and without workloads.
pub fn analyze(args: &Analyze) -> anyhow::Result<ExitCode> {
    let Read {
        files,
        objects,
        mut found,
    } = read(&args.files)?;
    let count = files.len();
    let changes = files.into_iter().map(|(path, objects)| Change::File {
        file: Arc::from(path.display().to_string()),
        objects,
    });
    let outcome = World::new(VipTable::default()).apply(changes, Duration::ZERO);
    found.extend(outcome.diagnostics);
    told(objects, count, &found, args.strict)
}

fn read(roots: &[PathBuf]) -> anyhow::Result<Read> {
    let mut paths = Vec::new();
    for path in roots {
        collect(path, &mut paths)?;
    }
    let mut read = Read {
        files: Vec::new(),
        objects: 0,
        found: Vec::new(),
    };
    for path in paths {
        let bytes = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let parsed = leno_api::read(&path.display().to_string(), &bytes);
        read.objects += parsed.objects.len() + parsed.rejected.len();
        read.found.extend(parsed.diagnostics);
        read.files.push((path, parsed.objects));
    }
    Ok(read)
}

fn told(objects: usize, files: usize, found: &[Diagnostic], strict: bool) -> anyhow::Result<ExitCode> {
    for diagnostic in found {
        show(diagnostic);
    }
    let count = |severity| found.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    output::text(format!(
        "{} in {}: {}, {}\n",
        counted(objects, "object"),
        counted(files, "file"),
        counted(errors, "error"),
        counted(warnings, "warning")
    ))?;
    Ok(match errors == 0 && !(strict && warnings > 0) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn show(diagnostic: &Diagnostic) {
    eprintln!("{diagnostic}");
    if let Some(line) = &diagnostic.snippet {
        let place = &diagnostic.place;
        let indent = usize::try_from(place.column.saturating_sub(1)).unwrap_or(0);
        eprintln!("{:>6} | {line}\n       | {}^", place.line, " ".repeat(indent));
    }
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
