//! What must hold of the tree as a whole, and no compiler checks: see ARCHITECTURE.md, "Invariants".

mod crates;
mod modules;
mod source;

use std::path::Path;

/// `file: what is wrong — how to mend it`, one a line.
pub fn run(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut findings = crates::check(root)?;
    for dir in source::crate_dirs(root)? {
        let files = source::load(&dir)?;
        findings.extend(source::check(&dir, &files));
        findings.extend(modules::check(&dir, &files));
    }
    findings.sort();
    Ok(findings)
}
