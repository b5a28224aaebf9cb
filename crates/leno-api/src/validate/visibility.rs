//! `exportTo`: whom an object is for.

use super::{Check, names};
use crate::codes::Code;

impl Check<'_> {
    /// `.`, `*` alone, or namespaces; `~`, nobody, where `nobody` is allowed.
    pub(super) fn export_to(&mut self, path: &str, words: &[String], nobody: bool) {
        let own = self.object.key.namespace.clone();
        let mut seen = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let known = match word.as_str() {
                "." | "*" => true,
                "~" => nobody,
                namespace => names::is_label(namespace),
            };
            if !known {
                let message = match word.as_str() {
                    "~" => "~ (to nobody) is for services only".to_owned(),
                    _ => format!("{word:?} is no namespace"),
                };
                let hint = match nobody {
                    true => "write . (the object's own namespace), * (all), ~ (none) or a namespace",
                    false => "write . (the object's own namespace), * (all) or a namespace",
                };
                self.error(Code::BadName, &path, message, hint);
            }
            let meant = if word == "." { &*own } else { word.as_str() };
            if seen.contains(&meant) {
                let message = format!("the namespace {meant} is given twice");
                self.error(Code::DuplicateName, &path, message, "keep one");
            }
            seen.push(meant);
        }
        if words.len() > 1 && words.iter().any(|word| word == "*" || word == "~") {
            let message = "* and ~ stand for themselves";
            self.error(
                Code::BadCombination,
                path,
                message,
                "give either it or namespaces",
            );
        }
    }
}
