//! The crate from outside: text in, objects and diagnostics out.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod arbitrary;
mod documents;
mod edges;
mod public_cases;
mod reading;
mod rules;
mod schema;
mod traffic;

use leno_api::{Code, Diagnostic, Parsed, read};

/// Reads one file and returns the codes of its errors, with the line each points at.
fn errors(text: &str) -> Vec<(Code, u32)> {
    let parsed = read("test.yaml", text.as_bytes());
    parsed
        .diagnostics
        .iter()
        .filter(|d| d.is_error())
        .map(|d| (d.code, d.place.line))
        .collect()
}

fn only(parsed: &Parsed) -> &Diagnostic {
    assert_eq!(parsed.diagnostics.len(), 1, "{:?}", parsed.diagnostics);
    &parsed.diagnostics[0]
}
