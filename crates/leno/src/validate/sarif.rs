//! Findings as a log of SARIF 2.1.0 (OASIS), which editors and forges show where they are.

use std::collections::BTreeSet;

use leno_api::{Code, Diagnostic, Severity};
use serde_json::{Value, json};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(super) fn log(found: &[Diagnostic]) -> Value {
    let codes: BTreeSet<Code> = found.iter().map(|d| d.code).collect();
    let codes: Vec<Code> = codes.into_iter().collect();
    let results = found.iter().map(|d| result(d, &codes));
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "leno",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            }},
            // Columns are counted as people do, not in UTF-16.
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.as_str(),
        "shortDescription": { "text": code.title() },
        "fullDescription": { "text": code.explanation() },
    })
}

fn result(found: &Diagnostic, codes: &[Code]) -> Value {
    let level = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let text = match found.hint.as_str() {
        "" => found.message.clone(),
        hint => format!("{} — {hint}", found.message),
    };
    let mut physical = json!({ "artifactLocation": { "uri": uri(&found.place.file) } });
    // A finding about a file as a whole has no region.
    if found.place.line > 0 {
        let mut region = json!({
            "startLine": found.place.line,
            "startColumn": found.place.column.max(1),
        });
        if let Some(line) = &found.snippet {
            region["snippet"] = json!({ "text": line });
        }
        physical["region"] = region;
    }
    let mut location = json!({ "physicalLocation": physical });
    if let Some(object) = &found.object {
        location["logicalLocations"] = json!([{
            "fullyQualifiedName": object.to_string(),
            "kind": "object",
        }]);
    }
    json!({
        "ruleId": found.code.as_str(),
        "ruleIndex": codes.binary_search(&found.code).unwrap_or_default(),
        "level": level,
        "message": { "text": text },
        "locations": [location],
    })
}

/// A path as a reference of RFC 3986, with slashes as they are.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let absolute = path.starts_with('/');
    let encoded: String = path
        .bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect();
    match absolute {
        true => format!("file://{encoded}"),
        false => encoded,
    }
}
