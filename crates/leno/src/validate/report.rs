//! What was found, for people and for programs.

use leno_api::{Diagnostic, Severity};
use serde_json::{Value, json};

use super::Read;
use crate::output;

/// All that was found, each with the line that it is about.
pub(super) struct Report {
    objects: usize,
    files: usize,
    pub(super) found: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn new(read: Read) -> Self {
        let Read {
            files,
            objects,
            mut found,
            texts,
        } = read;
        for diagnostic in &mut found {
            let line = diagnostic.place.line.checked_sub(1).map(|line| line as usize);
            let text = texts.get(&*diagnostic.place.file);
            if let (None, Some(line), Some(text)) = (&diagnostic.snippet, line, text) {
                diagnostic.snippet = text.lines().nth(line).map(str::to_owned);
            }
        }
        Self {
            objects,
            files: files.len(),
            found,
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.found.iter().filter(|d| d.severity == severity).count()
    }

    pub(super) fn passes(&self, strict: bool) -> bool {
        self.count(Severity::Error) == 0 && !(strict && self.count(Severity::Warning) > 0)
    }

    /// Findings go to standard error, what they come to goes to standard output.
    pub(super) fn print_text(&self) -> anyhow::Result<()> {
        self.found.iter().for_each(show);
        Ok(output::text(format!(
            "{} in {}: {}, {}\n",
            counted(self.objects, "object"),
            counted(self.files, "file"),
            counted(self.count(Severity::Error), "error"),
            counted(self.count(Severity::Warning), "warning")
        ))?)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "objects": self.objects,
            "files": self.files,
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "findings": self.found.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}

fn finding(found: &Diagnostic) -> Value {
    let object = found
        .object
        .as_ref()
        .map(|key| json!({ "kind": key.kind.as_str(), "namespace": &*key.namespace, "name": &*key.name }));
    json!({
        "code": found.code.as_str(),
        "title": found.code.title(),
        "severity": found.severity.to_string(),
        "message": found.message,
        "hint": found.hint,
        "file": &*found.place.file,
        "line": found.place.line,
        "column": found.place.column,
        "object": object,
        "path": found.path,
        "snippet": found.snippet,
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
