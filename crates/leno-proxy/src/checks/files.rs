//! Files that events are written to, a line of JSON each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Written at once: events are rare, and nobody but checks waits for them.
#[derive(Debug, Default)]
pub(super) struct Files {
    open: RefCell<HashMap<PathBuf, File>>,
}

// === impl Files ===

impl Files {
    pub(super) fn append(&self, path: &Path, lines: &str) {
        if lines.is_empty() {
            return;
        }
        if let Err(error) = self.write(path, lines) {
            tracing::warn!(path = %path.display(), %error, "events are not written");
        }
    }

    fn write(&self, path: &Path, lines: &str) -> io::Result<()> {
        let mut open = self.open.borrow_mut();
        if let Some(file) = open.get_mut(path) {
            return file.write_all(lines.as_bytes());
        }
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(lines.as_bytes())?;
        open.insert(path.to_owned(), file);
        Ok(())
    }
}

pub(super) fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // Writing to a string does not fail.
            c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
