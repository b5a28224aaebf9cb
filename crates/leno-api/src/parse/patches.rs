//! The values of an EnvoyFilter's patches: messages of Envoy's, by what they are applied to.

use leno_proto_text::{Error, Problem as Wrong, Schema};

use crate::codes::Code;
use crate::decode::Problem;
use crate::diagnostic::Severity;
use crate::kinds::envoy_filter::EnvoyFilterSpec;
use crate::node::Node;

/// What is wrong with them; those that are well-formed are compiled.
pub(super) fn compile(spec: &mut EnvoyFilterSpec, schema: &Schema, tree: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, said) in spec.config_patches.iter_mut().enumerate() {
        let (Some(apply_to), Some(patch)) = (said.apply_to, &mut said.patch) else {
            continue;
        };
        let Some(value) = patch.value.take() else {
            continue;
        };
        let at = format!("spec.configPatches[{i}].patch.value");
        match schema.patch(value.clone(), apply_to.message()) {
            Ok(change) => patch.change = Some(change),
            Err(error) => problems.push(problem(&at, error, tree)),
        }
        patch.value = Some(value);
    }
    problems
}

fn problem(at: &str, error: Error, tree: &Node) -> Problem {
    let (path, message, hint) = match error {
        Error::Field { path, problem, .. } => {
            let hint = match &*problem {
                Wrong::UnknownType(name) if name.contains(".v2.") => "Envoy has its API in version 3",
                Wrong::UnknownType(_) => {
                    "leno knows the types of Envoy's API, not those of its contrib build"
                }
                _ => "the value is in Envoy's words: https://www.envoyproxy.io/docs/envoy/latest/api-v3/api",
            };
            let path = match path.is_empty() {
                true => at.to_owned(),
                false => format!("{at}.{path}"),
            };
            (path, problem.to_string(), hint)
        }
        other => (at.to_owned(), other.to_string(), ""),
    };
    Problem {
        code: Code::BadPatch,
        severity: Severity::Error,
        pos: tree.pos_of(&path),
        path,
        message,
        hint: hint.into(),
    }
}
