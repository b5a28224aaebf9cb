//! The configuration: each object with what is said of it, and its text.

use std::collections::BTreeMap;

use leno_api::Object;
use leno_proto::control::Diagnostic;
use serde::Serialize;

use crate::facts::Facts;
use crate::status::Status;

#[derive(Clone, Debug, Serialize)]
pub struct Objects {
    pub objects: Vec<Listed>,
    /// Of no object that is in force: files that cannot be read, objects that were refused and had no predecessor.
    pub others: Vec<Said>,
}

/// An object that is in force.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// `file:line:column`.
    pub place: String,
    /// The worst of what is said of it.
    pub status: Status,
    pub said: Vec<Said>,
}

/// A diagnostic.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    pub code: String,
    pub severity: String,
    pub place: String,
    pub object: String,
    pub message: String,
    pub hint: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Text {
    #[serde(flatten)]
    pub listed: Listed,
    /// As it is in force; what is secret in it is not here.
    pub yaml: String,
}

/// By the object that they name, as [`leno_api::ObjectKey`] is written.
type ByObject<'a> = BTreeMap<&'a str, Vec<&'a Diagnostic>>;

impl Objects {
    pub fn new(facts: &Facts) -> Self {
        let mut found = by_object(facts);
        let mut objects: Vec<Listed> = all(facts).map(|object| listed(object, &found)).collect();
        objects.sort_by(|a, b| (&a.kind, &a.namespace, &a.name).cmp(&(&b.kind, &b.namespace, &b.name)));
        for object in all(facts) {
            found.remove(object.key.to_string().as_str());
        }
        Self {
            objects,
            others: found.into_values().flatten().map(said).collect(),
        }
    }
}

impl Text {
    /// None: there is no such object.
    pub fn new(facts: &Facts, kind: &str, namespace: &str, name: &str) -> Option<Self> {
        let is_meant = |object: &&Object| {
            let key = &object.key;
            (key.kind.as_str(), &*key.namespace, &*key.name) == (kind, namespace, name)
        };
        let object = all(facts).find(is_meant)?;
        Some(Self {
            listed: listed(object, &by_object(facts)),
            yaml: object.yaml(),
        })
    }
}

fn all(facts: &Facts) -> impl Iterator<Item = &Object> {
    facts.objects.iter().flat_map(|of_file| of_file.iter())
}

fn by_object(facts: &Facts) -> ByObject<'_> {
    let mut found = ByObject::new();
    for diagnostic in &facts.diagnostics {
        found.entry(&diagnostic.object).or_default().push(diagnostic);
    }
    found
}

fn listed(object: &Object, found: &ByObject<'_>) -> Listed {
    let of_object = found.get(object.key.to_string().as_str()).into_iter().flatten();
    let said: Vec<Said> = of_object.map(|diagnostic| said(diagnostic)).collect();
    let status = said.iter().map(|said| match said.severity.as_str() {
        "error" => Status::Error,
        "warning" => Status::Warning,
        _ => Status::Ok,
    });
    Listed {
        kind: object.key.kind.to_string(),
        namespace: object.key.namespace.to_string(),
        name: object.key.name.to_string(),
        place: object.place().to_string(),
        status: status.max().unwrap_or(Status::Ok),
        said,
    }
}

fn said(diagnostic: &Diagnostic) -> Said {
    Said {
        code: diagnostic.code.clone(),
        severity: diagnostic.severity.clone(),
        place: diagnostic.place.clone(),
        object: diagnostic.object.clone(),
        message: diagnostic.message.clone(),
        hint: diagnostic.hint.clone(),
    }
}
