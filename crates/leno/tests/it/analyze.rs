//! `leno validate` and `leno analyze`: what is found, as text, JSON and SARIF.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use leno_testkit::{OrdinaryUser, shared_binary};
use serde_json::{Value, json};

use crate::support::{LENO, stdout};

const SHADOWED: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /}}]
    route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /v2}}]
    route: [{destination: {host: reviews}}]
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{port: 9080, name: http}]
";

fn leno(user: &OrdinaryUser, args: &[&str], input: &str) -> Output {
    let mut command = user.command(shared_binary(Path::new(LENO)));
    let mut running = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    running.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    running.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_rule_that_nothing_reaches_is_shown_with_its_line_and_a_remedy() {
    let user = OrdinaryUser::new();
    user.write("mesh/reviews.yaml", SHADOWED);
    let found = leno(&user, &["analyze", "-f", "mesh"], "");
    assert_eq!(
        stderr(&found),
        "warning[LN0340]: rule 2 is never reached: rule 1 takes what it matches — mesh/reviews.yaml:9:5 \
         (VirtualService default/reviews, spec.http[1]) — rules are tried in the order in which they are written: move \
         it up, or remove it\n     9 |   - match: [{uri: {prefix: /v2}}]\n       |     ^\n"
    );
    assert_eq!(stdout(&found), "2 objects in 1 file: 0 errors, 1 warning\n");
    assert!(found.status.success());
    let strict = leno(&user, &["analyze", "--strict", "-f", "mesh"], "");
    assert_eq!(strict.status.code(), Some(1));
}

#[test]
fn the_standard_input_is_read_and_json_says_all_of_it() {
    let user = OrdinaryUser::new();
    let found = leno(&user, &["analyze", "-o", "json", "-f", "-"], SHADOWED);
    assert!(found.status.success() && stderr(&found).is_empty(), "{found:?}");
    let said: Value = serde_json::from_str(&stdout(&found)).unwrap();
    assert_eq!(
        said,
        json!({
            "objects": 2, "files": 1, "errors": 0, "warnings": 1,
            "findings": [{
                "code": "LN0340", "title": "rule never reached", "severity": "warning",
                "message": "rule 2 is never reached: rule 1 takes what it matches",
                "hint": "rules are tried in the order in which they are written: move it up, or remove it",
                "file": "stdin", "line": 9, "column": 5,
                "object": { "kind": "VirtualService", "namespace": "default", "name": "reviews" },
                "path": "spec.http[1]",
                "snippet": "  - match: [{uri: {prefix: /v2}}]",
            }],
        })
    );
    let broken = leno(
        &user,
        &["validate", "-o", "json", "-f", "-"],
        &SHADOWED.replace("hosts", "hots"),
    );
    assert_eq!(broken.status.code(), Some(1));
    let said: Value = serde_json::from_str(&stdout(&broken)).unwrap();
    let codes = said["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].as_str());
    assert!(codes.flatten().any(|code| code == "LN0102"), "{said:#}");
}

/// The part of the standard's schema that is used, closed as there.
const SCHEMA: &str = include_str!("sarif.json");

#[test]
fn findings_are_a_log_of_sarif_for_either_verb() {
    let user = OrdinaryUser::new();
    user.write("mesh/with a space/reviews.yaml", SHADOWED);
    user.write("mesh/broken.yaml", "kind: [");
    user.write(
        "mesh/info.yaml",
        &SHADOWED
            .replace("reviews", "other")
            .replace("name: http}", "name: http}, {port: 81}"),
    );
    for verb in ["validate", "analyze"] {
        let found = leno(&user, &[verb, "-o", "sarif", "-f", "mesh"], "");
        assert_eq!(found.status.code(), Some(1), "{found:?}");
        let log: Value = serde_json::from_str(&stdout(&found)).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap();
        for result in results {
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(
                log["runs"][0]["tool"]["driver"]["rules"][index]["id"],
                result["ruleId"]
            );
        }
        let uris = results
            .iter()
            .map(|r| &r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]);
        assert_eq!(
            verb == "analyze",
            uris.clone()
                .any(|uri| uri == "mesh/with%20a%20space/reviews.yaml")
        );
        conforms(&log);
    }
}

/// By the JSON Schema of the standard.
fn conforms(log: &Value) {
    let script = "import json, sys\ntry:\n  import jsonschema\nexcept ImportError:\n  sys.exit(77)\n\
                  both = json.load(sys.stdin)\njsonschema.validate(both['log'], both['schema'])\n";
    let python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        return leno_testkit::skip("findings_are_a_log_of_sarif_for_either_verb", "no python3");
    };
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let both = json!({ "log": log, "schema": schema }).to_string();
    python.stdin.take().unwrap().write_all(both.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    match output.status.code() {
        Some(77) => leno_testkit::skip(
            "findings_are_a_log_of_sarif_for_either_verb",
            "no python package jsonschema",
        ),
        code => assert_eq!(code, Some(0), "{}", stderr(&output)),
    }
}

#[test]
fn wrong_usage_of_either_verb_exits_with_2() {
    let user = OrdinaryUser::new();
    for verb in ["validate", "analyze"] {
        assert_eq!(leno(&user, &[verb], "").status.code(), Some(2));
        assert_eq!(
            leno(&user, &[verb, "-f", "-", "-o", "xml"], "").status.code(),
            Some(2)
        );
    }
}
