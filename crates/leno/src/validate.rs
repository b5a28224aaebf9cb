//! `leno validate`: each object by itself: syntax, schema, rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use leno_api::{Diagnostic, Severity};

/// Each object by itself: syntax, schema, rules (exit 1 on any error)
#[derive(Debug, Args)]
pub struct Validate {
    /// Files, or directories with *.yaml, *.yml and *.json below them
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
}

pub fn run(args: &Validate) -> anyhow::Result<ExitCode> {
    let mut paths = Vec::new();
    for path in &args.files {
        collect(path, &mut paths)?;
    }
    let (mut objects, mut found) = (0, Vec::new());
    for path in &paths {
        let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let parsed = leno_api::read(&path.display().to_string(), &bytes);
        objects += parsed.objects.len() + parsed.rejected.len();
        found.extend(parsed.diagnostics);
    }
    for diagnostic in &found {
        show(diagnostic);
    }
    let count = |severity| found.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    println!(
        "{} in {}: {}, {}",
        counted(objects, "object"),
        counted(paths.len(), "file"),
        counted(errors, "error"),
        counted(warnings, "warning")
    );
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
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
