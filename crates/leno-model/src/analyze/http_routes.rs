//! HTTPRoutes: matches that are the same as others for the same parent and host. Which of these holds is decided by
//! the standard (the older, here the first by name); the other one never does.

use leno_api::kinds::http_route::{HttpRouteSpec, Match, ParentRef};
use leno_api::{Code, Object, Severity, Spec};

use super::Mesh;
use crate::build::number;

/// A match that was met, with what it is of.
struct Met<'a> {
    object: &'a Object,
    spec: &'a HttpRouteSpec,
    rule: usize,
    found: Match,
}

pub(super) fn look(mesh: &mut Mesh<'_>) {
    let specs = mesh.of_kind(|spec| match spec {
        Spec::HttpRoute(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut met: Vec<Met<'_>> = Vec::new();
    for (object, spec) in specs {
        for (rule, said) in spec.rules.iter().enumerate() {
            // No match is one of everything.
            let everything = [Match::default()];
            let matches = if said.matches.is_empty() {
                &everything[..]
            } else {
                &said.matches
            };
            for (at, found) in matches.iter().enumerate() {
                let same = met.iter().find(|other| {
                    other.found == *found
                        && (std::ptr::eq(other.spec, spec)
                            || meets(&other.spec.hostnames, &spec.hostnames)
                                && parent_in_common(other, object, spec))
                });
                if let Some(first) = same {
                    let of = match std::ptr::eq(first.spec, spec) {
                        true => format!("rule {}", number(first.rule)),
                        false => format!("rule {} of {}", number(first.rule), first.object.key),
                    };
                    let message = format!("rule {} matches the same as {of}, which holds", number(rule));
                    let path = match said.matches.is_empty() {
                        true => format!("spec.rules[{rule}]"),
                        false => format!("spec.rules[{rule}].matches[{at}]"),
                    };
                    let hint = "remove one of them, or weigh the backends of one rule";
                    mesh.tell(
                        object,
                        (Code::MatchShadowed, Severity::Warning),
                        &path,
                        message,
                        hint,
                    );
                    continue;
                }
                met.push(Met {
                    object,
                    spec,
                    rule,
                    found: found.clone(),
                });
            }
        }
    }
}

fn meets(one: &[String], other: &[String]) -> bool {
    one.is_empty() && other.is_empty() || one.iter().any(|name| other.contains(name))
}

fn parent_in_common(other: &Met<'_>, object: &Object, spec: &HttpRouteSpec) -> bool {
    let of = |parent: &ParentRef, object: &Object| {
        let namespace = parent.namespace.clone();
        (
            parent.kind.clone().unwrap_or_else(|| "Gateway".to_owned()),
            namespace.unwrap_or_else(|| object.key.namespace.to_string()),
            parent.name.clone(),
            parent.section_name.clone(),
            parent.port,
        )
    };
    let others = other
        .spec
        .parent_refs
        .iter()
        .map(|parent| of(parent, other.object));
    let others: Vec<_> = others.collect();
    spec.parent_refs
        .iter()
        .any(|parent| others.contains(&of(parent, object)))
}
