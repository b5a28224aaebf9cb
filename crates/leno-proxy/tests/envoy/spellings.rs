//! `docs/security/path-spellings.md`: what becomes of each spelling of a path that a policy denies, in each of Istio's modes.
//! Made of the facts of the cases `path-spellings`, which Envoy and leno are both held to; `UPDATE=1` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = "../../docs/security/path-spellings.md";
const FACTS: &str = "tests/envoy/cases/path-spellings.txt";
const MODES: [(&str, &str); 4] = [
    ("none", "NONE"),
    ("base", "BASE"),
    ("merge-slashes", "MERGE_SLASHES"),
    ("decode-and-merge-slashes", "DECODE_AND_MERGE_SLASHES"),
];
const HEAD: &str = "# Paths that are spelled otherwise

A policy denies `/admin` and what is below it (`action: DENY`, `paths: [/admin, /admin/*]`). This is what becomes of requests
that spell the path otherwise, by `pathNormalization` of the MeshConfig
([authorization.md](../authorization.md#paths-that-are-spelled-otherwise)): **denied**, refused as malformed (a status), or the
path that the application gets. Whether that is `/admin` to it is the application's affair; where it might be, deny by what you
allow instead. Each cell is tried on leno and on Envoy 1.40, which do the same
(`cargo test -p leno-proxy --test envoy config::`, cases `path-spellings`; this page is written by the test beside them).

";

/// `/admin`, or the request line where there is more to it.
fn spelling(told: &str) -> String {
    let told = told.strip_prefix("GET ").unwrap_or(told);
    // Of bytes: without what every request has.
    told.replace("\\r\\nHost: a.example\\r\\nConnection: close\\r\\n\\r\\n", "")
        .replace("\\r\\nConnection: close\\r\\n\\r\\n", "")
        .replace("\\r\\n\\r\\n", "")
        .replace('|', "\\|")
}

fn outcome(lines: &[&str]) -> String {
    let status = lines.iter().find_map(|line| {
        let (_, rest) = line
            .split_once("HTTP/1.1 ")
            .or_else(|| line.split_once("HTTP/2 "))?;
        rest.split(' ').next().filter(|word| word.len() == 3)
    });
    let got = lines.iter().find_map(|line| {
        let (_, request) = line.split_once(" gets ")?;
        request.split(' ').nth(1)
    });
    match (status, got) {
        (Some("403"), None) => "**denied**".to_owned(),
        (_, Some(path)) => format!("`{path}`"),
        (Some(status), None) => status.to_owned(),
        (None, None) => "closed".to_owned(),
    }
}

fn page(facts: &str) -> String {
    let mut found: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    for section in facts.split("\n# ").skip(1) {
        let (name, rest) = section.split_once('\n').unwrap();
        let requests = rest.split("> ").skip(1).map(|one| {
            let mut lines = one.lines();
            let told = spelling(lines.next().unwrap());
            (told, outcome(&lines.collect::<Vec<_>>()))
        });
        found.insert(name, requests.collect());
    }
    let mut page = HEAD.to_owned();
    writeln!(page, "| request | {} |", MODES.map(|(_, mode)| mode).join(" | ")).unwrap();
    writeln!(page, "|---|{}", "---|".repeat(MODES.len())).unwrap();
    for (row, (told, _)) in found["base"].iter().enumerate() {
        let cells = MODES.map(|(case, _)| found[case][row].1.clone());
        writeln!(page, "| `{told}` | {} |", cells.join(" | ")).unwrap();
    }
    page
}

#[test]
fn the_page_of_spellings_says_what_the_cases_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = page(&std::fs::read_to_string(root.join(FACTS)).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(root.join(PAGE).parent().unwrap()).unwrap();
        std::fs::write(root.join(PAGE), &page).unwrap();
    }
    let written = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    assert!(
        page == written,
        "docs/security/path-spellings.md: run this test with UPDATE=1"
    );
}
