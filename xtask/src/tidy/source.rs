//! What may not stand in a source file.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of a crate's `src`, with its tests cut off.
pub struct Source {
    pub path: PathBuf,
    pub code: String,
    lines: usize,
}

impl Source {
    pub fn new(path: PathBuf, text: &str) -> Self {
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        Self {
            lines: code.lines().count(),
            code: code.to_owned(),
            path,
        }
    }
}

const MAX_LINES: usize = 600;
const UNSAFE_CRATES: &[&str] = &["leno-run", "leno-capture"];
const PURE: &[&str] = &[
    "leno-api",
    "leno-dashboard",
    "leno-model",
    "leno-translate",
    "leno-engine",
    "leno-http2",
    "leno-dns",
    "leno-xds",
];
/// What a pure crate does not call: time, chance, files, sockets and the environment are passed in.
const IMPURE_CALLS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::env::",
    "std::fs::",
    "std::thread::",
    "TcpStream::",
    "UdpSocket::",
    "TcpListener::",
    "rand::",
];
/// For tests only.
const TEST_KIT: &str = "leno-testkit";
/// The one home of environment variables.
const ENVIRONMENT: &str = "crates/leno/src/env.rs";
/// The list of descriptors that a launcher hands to its proxy: a protocol between two processes, not a setting.
const HANDOFF: &str = "crates/leno-run/src/handoff.rs";

pub fn crate_dirs(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        dirs.push(entry?.path());
    }
    dirs.sort();
    Ok(dirs)
}

pub fn load(dir: &Path) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    let mut todo = vec![dir.join("src")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !is_test_file(&path) {
                let text = fs::read_to_string(&path)?;
                files.push(Source::new(path, &text));
            }
        }
    }
    Ok(files)
}

fn is_test_file(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    stem == "tests" || stem.ends_with("_tests") || path.components().any(|c| c.as_os_str() == "tests")
}

pub fn check(dir: &Path, files: &[Source]) -> Vec<String> {
    let krate = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let mut findings = Vec::new();
    for file in files {
        let shown = shown(&file.path);
        let stem = file.path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if matches!(stem, "utils" | "util" | "helpers" | "common" | "misc") {
            findings.push(format!(
                "{shown}: a module named `{stem}` has no subject — name what it is about"
            ));
        }
        if file.lines > MAX_LINES {
            findings.push(format!(
                "{shown}: {} lines — split by subject (at most {MAX_LINES})",
                file.lines
            ));
        }
        for (number, line) in file.code.lines().enumerate() {
            for what in line_findings(krate, &shown, line) {
                findings.push(format!("{shown}:{}: {what}", number + 1));
            }
        }
    }
    findings
}

fn line_findings(krate: &str, file: &str, line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let trimmed = code.trim_start();
    let mut found = Vec::new();
    if code.contains("unsafe ") && !UNSAFE_CRATES.contains(&krate) && !code.contains('"') {
        found.push("`unsafe` — only leno-run and leno-capture may".to_owned());
    }
    if code.contains("CryptoProvider::install_default") || code.contains("set_global_default") {
        found.push("a process-wide provider — pass it explicitly".to_owned());
    }
    let statics = ["static ", "pub static ", "pub(crate) static "];
    // The test kit shares one machine between a test binary's threads, which only a static can reach.
    let is_shared = krate != TEST_KIT && statics.iter().any(|s| trimmed.starts_with(s));
    if is_shared && is_mutable(trimmed) {
        found.push("global mutable state — pass it to those who need it".to_owned());
    }
    if trimmed.starts_with("thread_local!") {
        found.push("thread-local state — pass it to those who need it".to_owned());
    }
    if PURE.contains(&krate) {
        for call in IMPURE_CALLS.iter().filter(|c| code.contains(**c)) {
            found.push(format!("`{call}` in a pure crate — pass the value in"));
        }
    }
    let reads_environment =
        code.contains("env::var(") || code.contains("env::var_os(") || code.contains("env::vars");
    if reads_environment && file != ENVIRONMENT && file != HANDOFF && krate != TEST_KIT {
        found.push(format!("reads the environment — {ENVIRONMENT} is its one home"));
    }
    found
}

fn is_mutable(item: &str) -> bool {
    [
        "Mutex",
        "RwLock",
        "OnceLock",
        "LazyLock",
        "OnceCell",
        "Atomic",
        "static mut",
        "Once ",
    ]
    .iter()
    .any(|t| item.contains(t))
}

fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.find("crates/")
        .map_or_else(|| text.to_string(), |at| text[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, code: &str) -> usize {
        let path = Path::new(path);
        let dir = path
            .ancestors()
            .find(|dir| dir.ends_with("src"))
            .and_then(Path::parent);
        check(dir.unwrap_or(path), &[Source::new(path.to_owned(), code)]).len()
    }

    #[test]
    fn the_environment_has_one_home() {
        let code = "let home = std::env::var_os(\"HOME\");";
        assert_eq!(findings("crates/leno-proxy/src/dns.rs", code), 1);
        assert_eq!(findings(ENVIRONMENT, code), 0);
        assert_eq!(findings(HANDOFF, code), 0);
        assert_eq!(findings("crates/leno-testkit/src/user.rs", code), 0);
    }

    #[test]
    fn what_changes_is_not_static() {
        let code = "    static SEEN: OnceLock<u8> = OnceLock::new();";
        assert_eq!(findings("crates/leno-proxy/src/dns.rs", code), 1);
        assert_eq!(findings("crates/leno-testkit/src/user.rs", code), 0);
        assert_eq!(
            findings("crates/leno-proxy/src/dns.rs", "static NAME: &str = \"\";"),
            0
        );
    }

    #[test]
    fn pure_crates_ask_no_clock_but_their_tests_may() {
        let code = "let now = Instant::now();";
        assert_eq!(findings("crates/leno-engine/src/a.rs", code), 1);
        assert_eq!(findings("crates/leno-proxy/src/a.rs", code), 0);
        let test = format!("\n#[cfg(test)]\nmod tests {{ {code} }}");
        assert_eq!(findings("crates/leno-engine/src/a.rs", &test), 0);
    }

    #[test]
    fn a_module_has_a_subject() {
        assert_eq!(findings("crates/leno-proxy/src/utils.rs", ""), 1);
    }
}
