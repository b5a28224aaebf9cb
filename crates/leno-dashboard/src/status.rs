//! What is well and what is not.

use std::collections::HashMap;

use serde::Serialize;

use crate::cards::{Card, CardKind, Row};
use crate::history::Measures;

/// From the best to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is known or nothing happens.
    #[default]
    Idle,
    Ok,
    Warning,
    Error,
}

/// A share of failures from which on it is more than an accident.
const MANY_FAIL: f64 = 0.05;

/// By how many of the requests fail.
pub fn share_status(measures: &Measures) -> (Status, Vec<String>) {
    match measures.success {
        None => (Status::Idle, Vec::new()),
        Some(success) if success >= 1.0 => (Status::Ok, Vec::new()),
        Some(success) => {
            let failing = 1.0 - success;
            let status = if failing >= MANY_FAIL {
                Status::Error
            } else {
                Status::Warning
            };
            (status, vec![format!("{} of the requests fail", percent(failing))])
        }
    }
}

/// Never rounds to nothing.
fn percent(share: f64) -> String {
    match (share * 1000.0).round() / 10.0 {
        percent if percent < 0.1 => "less than 0.1 %".to_owned(),
        percent if percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// `rejecting` by workload instance, as `leno status` names it.
pub fn row_status(
    card: &Card,
    row: &Row,
    inbound: &Measures,
    rejecting: &HashMap<&str, Vec<String>>,
) -> (Status, Vec<String>) {
    let (mut status, mut reasons) = share_status(inbound);
    let healthy = row.instances.iter().filter(|w| w.healthy).count();
    let all = row.instances.len();
    let mut add = |worse: Status, why: String| {
        status = status.max(worse);
        reasons.push(why);
    };
    match card.kind {
        CardKind::Workloads | CardKind::Namespace => match (healthy, all) {
            (0, 0) => add(Status::Warning, "no instance is left".to_owned()),
            (0, _) => add(Status::Error, "no instance is ready".to_owned()),
            (healthy, all) if healthy < all => {
                add(
                    Status::Warning,
                    format!("{} of {all} instances are not ready", all - healthy),
                );
            }
            _ => add(Status::Ok, String::new()),
        },
        CardKind::Service => add(Status::Warning, "no workload stands behind it".to_owned()),
        CardKind::External | CardKind::Outside => {}
    }
    for instance in &row.instances {
        for said in rejecting.get(&*instance.id.0).into_iter().flatten() {
            add(Status::Error, said.clone());
        }
    }
    reasons.retain(|reason| !reason.is_empty());
    (status, reasons)
}
