//! Locality settings, of a DestinationRule or of the mesh: Istio's rules.

use super::Check;
use crate::codes::Code;
use crate::kinds::destination_rule::LocalityLb;

/// Labels that say the same as a locality's parts.
const TOPOLOGY: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

pub(super) fn check(check: &mut Check<'_>, at: &str, setting: &LocalityLb) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        let message = "distribute and failover are given together";
        return check.error(Code::BadCombination, at, message, "keep one of them");
    }
    if !setting.failover.is_empty() {
        for (i, label) in setting.failover_priority.iter().enumerate() {
            if TOPOLOGY.contains(&label.as_str()) {
                let message = format!("failover and the label {label} both say which region comes next");
                check.error(
                    Code::BadCombination,
                    format!("{at}.failoverPriority[{i}]"),
                    message,
                    "keep one of them",
                );
            }
        }
    }
    let sources: Vec<&str> = setting.distribute.iter().map(|one| one.from.as_str()).collect();
    localities(check, &format!("{at}.distribute"), &sources);
    for (i, distribute) in setting.distribute.iter().enumerate() {
        let at = format!("{at}.distribute[{i}].to");
        for (name, weight) in &distribute.to {
            check.range(format!("{at}.{name}"), *weight, 1..=100);
        }
        let total: i64 = distribute
            .to
            .values()
            .fold(0, |sum, weight| sum.saturating_add(*weight));
        if total != 100 {
            let message = format!("the shares are {total} percent together");
            check.error(Code::BadWeights, &at, message, "they must be 100");
        }
        let destinations: Vec<&str> = distribute.to.keys().map(String::as_str).collect();
        localities(check, &at, &destinations);
    }
    for (i, failover) in setting.failover.iter().enumerate() {
        let at = format!("{at}.failover[{i}]");
        if failover.from == failover.to {
            let message = format!("{:?} would come after itself", failover.from);
            check.error(Code::BadCombination, &at, message, "name two regions");
        }
        for (field, region) in [("from", &failover.from), ("to", &failover.to)] {
            if region.is_empty() || region.contains(['/', '*']) {
                let message = format!("{region:?} is not the name of a region");
                check.error(
                    Code::WrongValue,
                    format!("{at}.{field}"),
                    message,
                    "give the region alone, without zone and *",
                );
            }
        }
    }
}

/// `region/zone/subzone`, of which the end may be left out or be `*`; none may be a part of another.
fn localities(check: &mut Check<'_>, at: &str, names: &[&str]) {
    for name in names {
        let parts: Vec<&str> = name.split('/').collect();
        let stars_end = parts.iter().rev().skip(1).all(|part| !part.contains('*'));
        let last = parts.last().copied().unwrap_or_default();
        let whole = last == "*" || !last.contains('*');
        if parts.len() > 3 || !stars_end || !whole || parts.iter().any(|part| part.is_empty()) {
            let message = format!("{name:?} is not a locality");
            check.error(
                Code::WrongValue,
                at,
                message,
                "write region/zone/subzone, region/zone/* or region/*",
            );
        }
    }
    let fixed = |name: &str| {
        name.strip_suffix('*')
            .unwrap_or(name)
            .trim_end_matches('/')
            .to_owned()
    };
    for (i, one) in names.iter().enumerate() {
        for other in names.iter().skip(i + 1) {
            let (a, b) = (fixed(one), fixed(other));
            let within = |inner: &str, outer: &str| {
                outer.is_empty()
                    || inner
                        .strip_prefix(outer)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if within(&a, &b) || within(&b, &a) {
                let message = format!("{one} and {other} have localities in common");
                check.error(
                    Code::BadCombination,
                    at,
                    message,
                    "let each locality be named once",
                );
            }
        }
    }
}
