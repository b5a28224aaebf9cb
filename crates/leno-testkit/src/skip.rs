//! Tests that cannot run here, never silently.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};

/// Says that `test` does not run, and why; in CI this is a failure unless it is in the committed list.
pub fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("LENO_SKIP_LOG") {
        let log = OpenOptions::new().append(true).create(true).open(path);
        let written = log.and_then(|mut log| writeln!(log, "{line}"));
        assert!(written.is_ok(), "the skip log cannot be written: {written:?}");
    }
}

pub fn has_program(name: &str) -> bool {
    let probe = Command::new(name).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok()
}
