//! Rules of VirtualServices that nothing reaches, and destinations of which one cannot tell the port.

use leno_api::kinds::Labels;
use leno_api::kinds::virtual_service::{Destination, HttpMatch, HttpRule, StringMatch, VirtualServiceSpec};
use leno_api::{Code, Object, Severity, Spec};
use std::collections::BTreeMap;

use super::Mesh;
use crate::build::number;

pub(super) fn look(mesh: &mut Mesh<'_>) {
    let specs = mesh.of_kind(|spec| match spec {
        Spec::VirtualService(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (object, spec) in specs {
        shadowed(mesh, object, spec);
        ports(mesh, object, spec);
        claims(mesh, object, spec);
    }
}

// === what is shadowed ===

fn shadowed(mesh: &mut Mesh<'_>, object: &Object, spec: &VirtualServiceSpec) {
    // What is behind a rule without matches has been told: the object shows that by itself.
    let takes_all = spec.http.iter().position(|rule| rule.matches.is_empty());
    let reached = takes_all.map_or(spec.http.len(), |at| at + 1);
    for (i, rule) in spec.http[..reached].iter().enumerate() {
        let earlier: Vec<(usize, &HttpRule)> = spec.http[..i]
            .iter()
            .enumerate()
            .filter(|(_, rule)| ends(rule))
            .collect();
        let covering = |later: Option<&HttpMatch>| {
            let covers = |(_, rule): &&(usize, &HttpRule)| rule_covers(rule, later, &spec.gateways);
            earlier.iter().find(covers).map(|(at, _)| *at)
        };
        let at = format!("spec.http[{i}]");
        if rule.matches.is_empty() {
            if let Some(first) = covering(None) {
                let message = format!(
                    "rule {} is never reached: rule {} takes everything",
                    number(i),
                    number(first)
                );
                mesh.warn(object, Code::RuleShadowed, &at, message, MOVE_UP);
            }
            continue;
        }
        let covered: Vec<Option<usize>> = rule.matches.iter().map(|m| covering(Some(m))).collect();
        if let Some(first) = covered.iter().copied().min().flatten()
            && covered.iter().all(Option::is_some)
        {
            let message = format!(
                "rule {} is never reached: rule {} takes what it matches",
                number(i),
                number(first)
            );
            mesh.warn(object, Code::RuleShadowed, &at, message, MOVE_UP);
            continue;
        }
        for (m, first) in covered.iter().enumerate() {
            if let Some(first) = first {
                let message = format!(
                    "match {} of rule {} has no effect: rule {} takes it",
                    number(m),
                    number(i),
                    number(*first)
                );
                let at = format!("{at}.match[{m}]");
                mesh.tell(
                    object,
                    (Code::MatchShadowed, Severity::Info),
                    &at,
                    message,
                    "remove it",
                );
            }
        }
    }
}

const MOVE_UP: &str = "rules are tried in the order in which they are written: move it up, or remove it";

/// Whether what it matches goes nowhere else. A rule that only hands on (`delegate`) may leave some to the next.
fn ends(rule: &HttpRule) -> bool {
    !rule.route.is_empty() || rule.redirect.is_some() || rule.direct_response.is_some()
}

/// Whether a rule takes all that this match of a later one (none: everything) would.
fn rule_covers(rule: &HttpRule, later: Option<&HttpMatch>, gateways: &[String]) -> bool {
    let everything = HttpMatch::default();
    let later = later.unwrap_or(&everything);
    rule.matches.is_empty()
        || rule
            .matches
            .iter()
            .any(|earlier| covers(earlier, later, gateways))
}

fn covers(earlier: &HttpMatch, later: &HttpMatch, gateways: &[String]) -> bool {
    // Every path begins with a slash.
    let is_condition = |uri: &&StringMatch| uri.prefix.as_deref() != Some("/");
    let earlier_uri = earlier.uri.as_ref().filter(is_condition);
    let uri = match (earlier.ignore_uri_case, later.ignore_uri_case) {
        (false, true) => earlier_uri.is_none(),
        (insensitive, _) => implied(earlier_uri, later.uri.as_ref(), insensitive),
    };
    let same_case = |earlier: &Option<StringMatch>, later: &Option<StringMatch>| {
        implied(earlier.as_ref(), later.as_ref(), false)
    };
    uri && same_case(&earlier.scheme, &later.scheme)
        && same_case(&earlier.method, &later.method)
        && same_case(&earlier.authority, &later.authority)
        && all_implied(&earlier.headers, &later.headers)
        && all_implied(&earlier.query_params, &later.query_params)
        && earlier
            .without_headers
            .iter()
            .all(|(name, value)| later.without_headers.get(name) == Some(value))
        && earlier.port.is_none_or(|port| later.port == Some(port))
        && is_part(&earlier.source_labels, &later.source_labels)
        && earlier
            .source_namespace
            .as_ref()
            .is_none_or(|namespace| later.source_namespace.as_ref() == Some(namespace))
        && of_gateways(&earlier.gateways, &later.gateways, gateways)
}

/// No gateways are all those of the VirtualService.
fn of_gateways(earlier: &[String], later: &[String], all: &[String]) -> bool {
    let of_mesh = ["mesh".to_owned()];
    let all = if all.is_empty() { &of_mesh[..] } else { all };
    let earlier = if earlier.is_empty() { all } else { earlier };
    let later = if later.is_empty() { all } else { later };
    later.iter().all(|gateway| earlier.contains(gateway))
}

fn is_part(earlier: &Labels, later: &Labels) -> bool {
    earlier.iter().all(|(key, value)| later.get(key) == Some(value))
}

/// Each condition of the earlier one is one of the later one too, or follows from one. Names have no case.
fn all_implied(earlier: &BTreeMap<String, StringMatch>, later: &BTreeMap<String, StringMatch>) -> bool {
    earlier.iter().all(|(name, wanted)| {
        let same = later.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        implied(Some(wanted), same.map(|(_, value)| value), false)
    })
}

/// Whether whatever the later one matches is matched by the earlier one.
fn implied(earlier: Option<&StringMatch>, later: Option<&StringMatch>, insensitive: bool) -> bool {
    let Some(earlier) = earlier else {
        return true;
    };
    let Some(later) = later else {
        return false;
    };
    let cased = |text: &String| {
        if insensitive {
            text.to_lowercase()
        } else {
            text.clone()
        }
    };
    let later_text = later.exact.as_ref().or(later.prefix.as_ref()).map(cased);
    if let Some(exact) = &earlier.exact {
        return later.exact.as_ref().map(cased) == Some(cased(exact));
    }
    if let Some(prefix) = &earlier.prefix {
        return later_text.is_some_and(|text| text.starts_with(&cased(prefix)));
    }
    match &earlier.regex {
        // Whether one language is part of another is not looked into.
        Some(_) => earlier == later,
        None => true,
    }
}

// === what is not said ===

/// The port of a destination may only be left out where the service has one.
fn ports(mesh: &mut Mesh<'_>, object: &Object, spec: &VirtualServiceSpec) {
    let http = spec.http.iter().enumerate().flat_map(|(i, rule)| {
        let each = rule.route.iter().enumerate();
        each.map(move |(r, route)| {
            (
                format!("spec.http[{i}].route[{r}].destination"),
                &route.destination,
            )
        })
    });
    let tcp = spec.tcp.iter().enumerate().flat_map(|(i, rule)| {
        let each = rule.route.iter().enumerate();
        each.map(move |(r, route)| {
            (
                format!("spec.tcp[{i}].route[{r}].destination"),
                &route.destination,
            )
        })
    });
    let tls = spec.tls.iter().enumerate().flat_map(|(i, rule)| {
        let each = rule.route.iter().enumerate();
        each.map(move |(r, route)| {
            (
                format!("spec.tls[{i}].route[{r}].destination"),
                &route.destination,
            )
        })
    });
    let all: Vec<(String, &Destination)> = http.chain(tcp).chain(tls).collect();
    for (path, destination) in all {
        let Some(service) = mesh.service(&destination.host, &object.key.namespace) else {
            continue;
        };
        if destination.port.is_some() || service.ports.len() < 2 {
            continue;
        }
        let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
        let message = format!(
            "{} has the ports {}, and none is chosen",
            service.host,
            ports.join(", ")
        );
        let hint = "say which: port: {number: …}; else it is the port that the client called";
        mesh.warn(object, Code::PortNotChosen, &path, message, hint);
    }
}

const CLAIMS: &str = "@request.auth.claims";

/// Without anybody who verifies tokens no request has claims, and rules by them match nothing.
fn claims(mesh: &mut Mesh<'_>, object: &Object, spec: &VirtualServiceSpec) {
    if mesh.snapshot.authentication.all().next().is_some() {
        return;
    }
    for (i, rule) in spec.http.iter().enumerate() {
        for (m, found) in rule.matches.iter().enumerate() {
            let by_claim = found.headers.keys().find(|name| name.starts_with(CLAIMS));
            if let Some(name) = by_claim {
                let message = format!("{name} is in no request: no RequestAuthentication verifies tokens");
                let hint = "add a RequestAuthentication that selects the gateway";
                let path = format!("spec.http[{i}].match[{m}].headers");
                mesh.warn(object, Code::ClaimsNotVerified, &path, message, hint);
            }
        }
    }
}
