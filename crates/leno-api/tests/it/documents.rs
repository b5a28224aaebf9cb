//! The documentation says what the code does: every field, every code, every example.
//!
//! `UPDATE=1 cargo test -p leno-api` writes what is generated (`docs/codes.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use leno_api::{Code, Diagnostic, read};

use crate::schema::{Field, KINDS, Standing, heading, schema};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// === configuration.md ===

/// What a section says: rows by field, and the three lists.
#[derive(Debug, Default)]
struct Section {
    rows: BTreeMap<String, String>,
    refused: BTreeSet<String>,
    ignored: BTreeSet<String>,
    unread: BTreeSet<String>,
}

/// Sections by kind and struct, as the headings have them.
fn sections(page: &str) -> BTreeMap<(String, String), Section> {
    let mut sections: BTreeMap<(String, String), Section> = BTreeMap::new();
    let (mut kind, mut of) = (String::new(), String::new());
    for paragraph in page.split("\n\n") {
        if let Some(heading) = paragraph.strip_prefix("## ") {
            (kind, of) = (heading.to_owned(), "Spec".to_owned());
            continue;
        }
        if let Some(heading) = paragraph.strip_prefix("### ") {
            heading.clone_into(&mut of);
            continue;
        }
        let section = sections.entry((kind.clone(), of.clone())).or_default();
        let lists = [
            ("Refused:", &mut section.refused),
            ("Without effect:", &mut section.ignored),
            ("Not read:", &mut section.unread),
        ];
        for (label, list) in lists {
            if let Some(rest) = paragraph.strip_prefix(label) {
                let names = rest.split('.').next().unwrap_or_default();
                list.extend(quoted(names));
            }
        }
        for row in paragraph.lines().filter_map(|line| line.strip_prefix("| `")) {
            let (field, effect) = row
                .split_once("` | ")
                .unwrap_or_else(|| panic!("the row {row:?}"));
            let twice = section.rows.insert(field.to_owned(), effect.to_owned());
            assert_eq!(twice, None, "{kind} {of} has two rows for {field}");
        }
    }
    sections
}

fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[test]
fn the_page_names_every_field_that_the_parser_knows_and_no_other() {
    let mut page = sections(&text("docs/configuration.md"));
    for kind in KINDS {
        for (of, fields) in schema(kind) {
            let at = format!("{} {of}", heading(kind));
            let section = page.remove(&(heading(kind), of.to_owned()));
            let section = section.unwrap_or_else(|| panic!("there is no section for {at}"));
            let with = |standing| -> BTreeSet<String> {
                let fields = fields.iter().filter(|(_, field)| field.standing == standing);
                fields.map(|(name, _)| (*name).to_owned()).collect()
            };
            assert_eq!(section.refused, with(Standing::NotServed), "{at}: refused");
            assert_eq!(section.ignored, with(Standing::Ignored), "{at}: without effect");
            assert_eq!(section.unread, with(Standing::Unread), "{at}: not read");
            let rows: BTreeSet<String> = section.rows.keys().cloned().collect();
            assert_eq!(rows, with(Standing::Served), "{at}: rows");
            for (name, effect) in &section.rows {
                says_all_of(&fields[name.as_str()], &format!("{at} {name}"), effect);
            }
        }
        let kind = heading(kind);
        let more: Vec<_> = page.keys().filter(|(of, _)| *of == kind).collect();
        assert!(more.is_empty(), "sections of nothing: {more:?}");
    }
}

/// A row names all values of an enumeration, and the section of a struct.
fn says_all_of(field: &Field, at: &str, effect: &str) {
    let said: BTreeSet<String> = quoted(effect).collect();
    for value in field.values.iter().chain(&field.of) {
        assert!(said.contains(*value), "the row of {at} does not say `{value}`");
    }
}

// === codes.md ===

fn page_of_codes() -> String {
    const FAMILIES: [(&str, &str); 4] = [
        ("LN01", "reading text"),
        ("LN02", "one object by itself"),
        ("LN03", "the mesh as a whole"),
        ("LN04", "where it comes from"),
    ];
    let mut page = String::from(
        "# Codes\n\n\
         Every message about configuration carries one of these. A code is never reused and never changes its\n\
         meaning. What stays in force meanwhile: [configuration.md](configuration.md#what-happens-to-bad-input).\n",
    );
    for (prefix, title) in FAMILIES {
        let _ = write!(
            page,
            "\n## {prefix}: {title}\n\n| code | title | what it means |\n|---|---|---|\n"
        );
        for code in Code::ALL.iter().filter(|code| code.as_str().starts_with(prefix)) {
            let _ = writeln!(page, "| {code} | {} | {} |", code.title(), code.explanation());
        }
    }
    page.push_str(
        "\n## For those who know `istioctl analyze`\n\n\
         | Istio | its name | here |\n|---|---|---|\n",
    );
    for istio in leno_api::istio_codes::ALL {
        let codes: Vec<&str> = istio.codes.iter().map(|code| code.as_str()).collect();
        let parts = [codes.join(", "), istio.why.to_owned()];
        let here: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let _ = writeln!(page, "| {} | {} | {} |", istio.code, istio.name, here.join("; "));
    }
    page
}

#[test]
fn the_page_of_codes_is_the_table_of_codes() {
    let page = page_of_codes();
    for code in Code::ALL {
        assert!(page.contains(&format!("| {code} |")), "{code} is of no family");
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join("docs/codes.md"), &page).unwrap();
    }
    assert!(
        text("docs/codes.md") == page,
        "docs/codes.md is not what codes.rs says: run UPDATE=1 cargo test -p leno-api"
    );
}

// === examples ===

/// A fenced block of YAML.
struct Example {
    /// The line of its fence.
    line: usize,
    /// `yaml bad`: the last line before the fence, which names the code.
    bad: Option<String>,
    text: String,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut before, mut lines) = ("", page.lines().enumerate());
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            if !line.trim().is_empty() {
                before = line;
            }
            continue;
        };
        let inside = lines.by_ref().map(|(_, line)| line);
        let inside: Vec<&str> = inside
            .take_while(|line| !line.trim_start().starts_with("```"))
            .collect();
        let mut words = info.split_whitespace();
        if words.next() == Some("yaml") {
            let bad = match words.next() {
                None => None,
                Some("bad") => Some(before.to_owned()),
                // Other programs' words, not the mesh's.
                Some("bootstrap" | "prometheus") => continue,
                Some(other) => panic!("line {}: a fence marked {other:?}", at + 1),
            };
            let text = inside.join("\n");
            examples.push(Example {
                line: at + 1,
                bad,
                text,
            });
        }
    }
    examples
}

/// Every page, relative to the root.
fn pages() -> Vec<String> {
    let (mut pages, mut directories) = (Vec::new(), vec![PathBuf::from("docs")]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path.display().to_string());
            }
        }
    }
    let readme = "README.md".to_owned();
    pages.extend(root().join(&readme).exists().then_some(readme));
    pages.sort();
    pages
}

#[test]
fn every_example_of_the_documentation_is_what_it_says() {
    let mut seen = 0;
    for page in pages() {
        for example in examples(&text(&page)) {
            seen += 1;
            let at = format!("{page}:{}", example.line);
            let parsed = read("example.yaml", example.text.as_bytes());
            let errors: Vec<&Diagnostic> = parsed.diagnostics.iter().filter(|d| d.is_error()).collect();
            let Some(bad) = example.bad else {
                assert!(errors.is_empty(), "{at} is no good example: {errors:#?}");
                assert!(!parsed.objects.is_empty(), "{at} says nothing");
                continue;
            };
            let found: BTreeSet<&str> = errors.iter().map(|d| d.code.as_str()).collect();
            let codes = Code::ALL.iter().map(|code| code.as_str());
            let named: BTreeSet<&str> = codes.filter(|code| bad.contains(code)).collect();
            assert!(!named.is_empty(), "{at}: no code in the line above, {bad:?}");
            assert_eq!(found, named, "{at}: not the error that is named above");
        }
    }
    assert!(seen >= 5, "only {seen} examples were found");
}

#[test]
fn a_fence_is_read_with_the_line_above_it() {
    let page = "LN0102\n\n```yaml bad\na: 1\n```\n\n```text\nb\n```\n\n```yaml\nc: 2\n\nd: 3\n```\n";
    let found = examples(page);
    let said: Vec<(usize, Option<&str>, &str)> = found
        .iter()
        .map(|example| (example.line, example.bad.as_deref(), example.text.as_str()))
        .collect();
    assert_eq!(said, [(3, Some("LN0102"), "a: 1"), (11, None, "c: 2\n\nd: 3")]);
}

// === precedence.md ===

#[test]
fn every_test_that_the_page_of_precedence_names_is_there() {
    let page = text("docs/precedence.md");
    let mut known = String::new();
    read_all(&root().join("crates"), &mut known);
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit_once('|'));
    let mut count = 0;
    for (what, tests) in cells.filter(|(_, tests)| !tests.contains("---") && !tests.contains("tested by")) {
        let functions: Vec<String> = quoted(tests).collect();
        let cases: Vec<&str> = tests.split('*').skip(1).step_by(2).collect();
        assert!(functions.len() + cases.len() > 0, "untested: {what}");
        for function in &functions {
            assert!(
                known.contains(&format!("fn {function}()")),
                "there is no test {function}"
            );
        }
        for case in &cases {
            let directory = root().join("crates/leno-translate/tests/it/cases").join(case);
            let there = known.contains(&format!("- name: {case}\n")) || directory.is_dir();
            assert!(there, "there is no case {case}");
        }
        count += 1;
    }
    assert!(count >= 30, "the page has {count} statements only");
}

/// The text of all that tests are written in.
fn read_all(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if entry.is_dir() {
            read_all(&entry, into);
        } else if entry.extension().is_some_and(|ext| ext == "rs" || ext == "yaml") {
            into.push_str(&fs::read_to_string(&entry).unwrap_or_default());
        }
    }
}
