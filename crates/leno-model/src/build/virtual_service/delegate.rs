//! Rules of one VirtualService in place of a rule of another's, as Istio merges them.
//!
//! Each of the delegate's rules holds where both match. What the delegate's rule leaves out is the other's; where both
//! say something the delegate's holds, but its matches must lie within the other's: a rule of which one does not, by
//! what is written, is left out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::kinds::virtual_service::{Delegate, HttpMatch, HttpRule, StringMatch, VirtualServiceSpec};
use leno_api::{Code, Object, Severity};

use crate::build::Context;
use crate::visibility::Exported;

/// VirtualServices without hosts.
pub(crate) struct Delegates<'o> {
    by_name: BTreeMap<(Arc<str>, Arc<str>), Found<'o>>,
}

struct Found<'o> {
    object: &'o Object,
    spec: &'o VirtualServiceSpec,
    exported: Exported,
}

/// A rule, and where it is written.
pub(in crate::build) struct Written<'o> {
    pub(in crate::build) object: &'o Object,
    /// Which of the object's rules.
    pub(in crate::build) index: usize,
    pub(in crate::build) rule: Cow<'o, HttpRule>,
}

impl<'o> Delegates<'o> {
    pub(super) fn new(context: &Context<'_>, specs: Vec<(&'o Object, &'o VirtualServiceSpec)>) -> Self {
        let by_name = specs.into_iter().map(|(object, spec)| {
            let found = Found {
                object,
                spec,
                exported: context.exported(object, spec),
            };
            ((object.key.namespace.clone(), object.key.name.clone()), found)
        });
        Self {
            by_name: by_name.collect(),
        }
    }
}

/// The rules of a VirtualService, with those of its delegates in the places where they are called for.
pub(in crate::build) fn written_rules<'o>(
    context: &mut Context<'_>,
    object: &'o Object,
    spec: &'o VirtualServiceSpec,
    delegates: &Delegates<'o>,
) -> Vec<Written<'o>> {
    let mut written = Vec::new();
    for (index, rule) in spec.http.iter().enumerate() {
        match &rule.delegate {
            None => written.push(Written {
                object,
                index,
                rule: Cow::Borrowed(rule),
            }),
            Some(to) => {
                if let Some(found) = find(context, (object, index), to, delegates) {
                    delegated(context, (object, rule), found, &mut written);
                }
            }
        }
    }
    written
}

fn find<'d, 'o>(
    context: &mut Context<'_>,
    (object, index): (&Object, usize),
    to: &Delegate,
    delegates: &'d Delegates<'o>,
) -> Option<&'d Found<'o>> {
    let own = &*object.key.namespace;
    let namespace = to.namespace.as_deref().unwrap_or(own);
    let name = (namespace.into(), to.name.as_str().into());
    let found = delegates.by_name.get(&name);
    let (message, hint) = match found {
        Some(found) if found.exported.to(own) => return Some(found),
        Some(found) => (
            format!("{} is not exported to the namespace {own}", found.object.key),
            format!("add {own} to its exportTo"),
        ),
        None => {
            let known = delegates.by_name.keys();
            let names: Vec<String> = known
                .map(|(namespace, name)| format!("{namespace}/{name}"))
                .collect();
            let wanted = format!("{namespace}/{}", to.name);
            let near = leno_api::nearest(&wanted, names.iter().map(String::as_str));
            (
                format!(
                    "there is no VirtualService {wanted} without hosts; the rule is left out until there is"
                ),
                near.map_or_else(
                    || "add one with http rules only".to_owned(),
                    |near| format!("did you mean {near}?"),
                ),
            )
        }
    };
    let path = format!("spec.http[{index}].delegate");
    context.report(
        object,
        (Code::DelegateNotFound, Severity::Warning),
        &path,
        message,
        hint,
    );
    None
}

fn delegated<'o>(
    context: &mut Context<'_>,
    (object, root): (&'o Object, &'o HttpRule),
    found: &Found<'o>,
    written: &mut Vec<Written<'o>>,
) {
    for (index, rule) in found.spec.http.iter().enumerate() {
        match merged(context, (object, root), (found.object, rule)) {
            Some(rule) => written.push(Written {
                object: found.object,
                index,
                rule: Cow::Owned(rule),
            }),
            None => {
                let message = format!(
                    "its matches do not lie within those of the rule of {} that delegates to it; it is left out",
                    object.key
                );
                let hint = "match the same path or a longer one, and nothing that contradicts; expressions cannot be combined";
                let conflict = (Code::DelegateConflict, Severity::Warning);
                context.report(
                    found.object,
                    conflict,
                    &format!("spec.http[{index}]"),
                    message,
                    hint,
                );
            }
        }
    }
}

fn merged(
    context: &Context<'_>,
    (root_object, root): (&Object, &HttpRule),
    (object, rule): (&Object, &HttpRule),
) -> Option<HttpRule> {
    let mut merged = rule.clone();
    merged.matches = merged_matches(
        &qualified(&root.matches, root_object),
        &qualified(&rule.matches, object),
    )?;
    merged.name = joined(root.name.as_deref(), rule.name.as_deref());
    // Where the rule is written decides what a short name means.
    let mut root = root.clone();
    let own = &root_object.key.namespace;
    let mirrors = root.mirrors.iter_mut().map(|mirror| &mut mirror.destination);
    for destination in root.mirror.iter_mut().chain(mirrors) {
        destination.host = context.resolve(&destination.host, own).to_string();
    }
    merged.rewrite = merged.rewrite.or(root.rewrite);
    merged.direct_response = merged.direct_response.or(root.direct_response);
    merged.timeout = merged.timeout.or(root.timeout);
    merged.retries = merged.retries.or(root.retries);
    merged.fault = merged.fault.or(root.fault);
    merged.mirror = merged.mirror.or(root.mirror);
    merged.mirror_percent = merged.mirror_percent.or(root.mirror_percent);
    merged.mirror_percentage = merged.mirror_percentage.or(root.mirror_percentage);
    if merged.mirrors.is_empty() {
        merged.mirrors = root.mirrors;
    }
    merged.cors_policy = merged.cors_policy.or(root.cors_policy);
    merged.headers = merged.headers.or(root.headers);
    Some(merged)
}

/// With the Gateways' namespaces, since the two may be of different ones.
fn qualified(matches: &[HttpMatch], object: &Object) -> Vec<HttpMatch> {
    let mut matches = matches.to_vec();
    let names = matches.iter_mut().flat_map(|matching| &mut matching.gateways);
    for name in names.filter(|name| *name != "mesh" && !name.contains('/')) {
        *name = format!("{}/{name}", object.key.namespace);
    }
    matches
}

fn joined(root: Option<&str>, own: Option<&str>) -> Option<String> {
    match (root, own) {
        (Some(root), Some(own)) => Some(format!("{root}-{own}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// None: one of the delegate's lies within none of the other's.
fn merged_matches(root: &[HttpMatch], own: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() {
        return Some(own.to_vec());
    }
    if own.is_empty() {
        return Some(root.to_vec());
    }
    let mut all = Vec::new();
    for matching in own {
        let before = all.len();
        let within = root.iter().filter(|root| !conflict(root, matching));
        all.extend(within.map(|root| merged_match(root, matching)));
        if all.len() == before {
            return None;
        }
    }
    Some(all)
}

fn merged_match(root: &HttpMatch, own: &HttpMatch) -> HttpMatch {
    let mut merged = own.clone();
    merged.name = joined(root.name.as_deref(), own.name.as_deref());
    merged.uri = merged.uri.or_else(|| root.uri.clone());
    merged.scheme = merged.scheme.or_else(|| root.scheme.clone());
    merged.method = merged.method.or_else(|| root.method.clone());
    merged.authority = merged.authority.or_else(|| root.authority.clone());
    let maps = [
        (&mut merged.headers, &root.headers),
        (&mut merged.without_headers, &root.without_headers),
        (&mut merged.query_params, &root.query_params),
    ];
    for (merged, root) in maps {
        for (name, value) in root {
            merged.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    merged.port = merged.port.or(root.port);
    for (name, value) in &root.source_labels {
        merged
            .source_labels
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    merged.source_namespace = merged.source_namespace.or_else(|| root.source_namespace.clone());
    if merged.gateways.is_empty() {
        merged.gateways = root.gateways.clone();
    }
    merged.stat_prefix = merged.stat_prefix.or_else(|| root.stat_prefix.clone());
    merged
}

fn conflict(root: &HttpMatch, own: &HttpMatch) -> bool {
    let texts = [
        (&root.uri, &own.uri),
        (&root.scheme, &own.scheme),
        (&root.method, &own.method),
        (&root.authority, &own.authority),
    ];
    let maps = [
        (&root.headers, &own.headers),
        (&root.query_params, &own.query_params),
    ];
    // What must not be there is said by one of the two, or by both alike: the narrower would let more through.
    let without = own.without_headers.iter();
    let mut without = without.filter_map(|(name, own)| Some((root.without_headers.get(name)?, own)));
    let in_maps = maps.into_iter().any(|(root, own)| {
        let mut both = own.iter().filter_map(|(name, own)| Some((root.get(name)?, own)));
        both.any(|(root, own)| texts_conflict(root, own))
    });
    let differ =
        |root: Option<&str>, own: Option<&str>| matches!((root, own), (Some(root), Some(own)) if root != own);
    let labels = own.source_labels.iter();
    let mut labels = labels.filter_map(|(name, own)| Some((root.source_labels.get(name)?, own)));
    let mut gateways = own.gateways.iter();
    in_maps
        || without.any(|(root, own)| root != own)
        || texts
            .into_iter()
            .any(|(root, own)| matches!((root, own), (Some(root), Some(own)) if texts_conflict(root, own)))
        || root.ignore_uri_case != own.ignore_uri_case
        || matches!((root.port, own.port), (Some(root), Some(own)) if root != own)
        || differ(root.source_namespace.as_deref(), own.source_namespace.as_deref())
        || differ(root.stat_prefix.as_deref(), own.stat_prefix.as_deref())
        || labels.any(|(root, own)| root != own)
        || (!root.gateways.is_empty() && gateways.any(|gateway| !root.gateways.contains(gateway)))
}

/// Whether what the delegate matches does not lie within the other's. Of expressions nobody can tell.
fn texts_conflict(root: &StringMatch, own: &StringMatch) -> bool {
    match (root, own) {
        (
            StringMatch {
                exact: Some(root), ..
            },
            StringMatch { exact: Some(own), .. },
        ) => root != own,
        (
            StringMatch {
                prefix: Some(root), ..
            },
            StringMatch {
                prefix: Some(own), ..
            },
        )
        | (
            StringMatch {
                prefix: Some(root), ..
            },
            StringMatch { exact: Some(own), .. },
        ) => !own.starts_with(root.as_str()),
        (StringMatch { exact: Some(_), .. }, StringMatch { prefix: Some(_), .. }) => true,
        (StringMatch { regex: Some(_), .. }, own) => *own != StringMatch::default(),
        (root, StringMatch { regex: Some(_), .. }) => *root != StringMatch::default(),
        // One of the two says only that it is there.
        (root, own) => *own == StringMatch::default() && *root != *own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(said: &str) -> StringMatch {
        let (kind, value) = said.split_once(' ').unwrap_or((said, ""));
        let value = |wanted: &str| (kind == wanted).then(|| value.to_owned());
        StringMatch {
            exact: value("exact"),
            prefix: value("prefix"),
            regex: value("regex"),
        }
    }

    #[test]
    fn a_delegates_match_must_lie_within_the_one_that_delegates() {
        for (root, own, conflicts) in [
            ("exact /a", "exact /a", false),
            ("exact /a", "exact /b", true),
            ("exact /a", "prefix /a", true),
            ("prefix /a", "prefix /a/b", false),
            ("prefix /a", "exact /a/b", false),
            ("prefix /a/b", "prefix /a", true),
            ("prefix /a", "exact /b", true),
            ("prefix /a", "regex /a.*", true),
            ("regex /a.*", "prefix /a", true),
            ("regex /a.*", "regex /a.*", true),
            ("present", "exact 1", false),
            ("exact 1", "present", true),
            ("present", "present", false),
        ] {
            assert_eq!(
                texts_conflict(&text(root), &text(own)),
                conflicts,
                "{root}, {own}"
            );
        }
    }
}
