//! `/stats`: what the workers have counted, and what is so at the moment.

use leno_telemetry::stats::{Asked, Buckets, Form, Shown, text};
use regex::Regex;

use super::answer::Answer;
use super::query::Query;
use super::{Admin, Own};
use crate::{Handle, stats};

pub(super) fn answer(admin: &Admin, own: &Own, query: &Query) -> Result<Answer, Answer> {
    let form = match query.get("format") {
        None | Some("" | "text") => Form::Text,
        Some("json") => Form::Json,
        Some("prometheus") => return prometheus(admin, own, query),
        Some(_) => {
            return Err(Answer::text(
                400,
                "usage: /stats?format=(json|prometheus|text)\n\n",
            ));
        }
    };
    let text = shown(own, query, form)?;
    Ok(match form {
        Form::Json => Answer::json(text),
        Form::Text | Form::Prometheus => Answer::text(200, text),
    })
}

/// Istio's metrics, unless statistics are picked by name, and Envoy's.
pub(super) fn prometheus(admin: &Admin, own: &Own, query: &Query) -> Result<Answer, Answer> {
    let mut text = match query.has("filter") {
        true => String::new(),
        false => admin.metrics.prometheus_text(),
    };
    text += &shown(own, query, Form::Prometheus)?;
    Ok(Answer::prometheus(text))
}

/// Of the filters that say who may do what: how often each of their rules has allowed, denied, or only missed.
pub(super) fn denials(proxy: &Handle) -> String {
    const OF: [&str; 3] = ["rbac.", "ext_authz.", "jwt_authn."];
    let asked = Asked {
        form: Form::Prometheus,
        buckets: Buckets::Unsaid,
        kind: Some(Shown::Counters),
        used: true,
        takes: &|name| OF.iter().any(|filter| name.contains(filter)),
        config: proxy.stats_config(),
    };
    text(&stats::snapshot(proxy), &asked)
}

fn shown(own: &Own, query: &Query, form: Form) -> Result<String, Answer> {
    let filter = query.regex("filter")?;
    let inverted = query.has("invert_filter");
    let used_only = query.has("usedonly");
    let kind = match query.get("type") {
        None | Some("All") => None,
        Some("Counters") => Some(Shown::Counters),
        Some("Gauges") => Some(Shown::Gauges),
        Some("Histograms") => Some(Shown::Histograms),
        Some("TextReadouts") => Some(Shown::TextReadouts),
        Some(_) => return Err(Answer::text(400, "invalid &type= param")),
    };
    let buckets = match query.get("histogram_buckets") {
        None | Some("" | "none") => Buckets::Unsaid,
        Some("summary") => Buckets::Summary,
        Some("cumulative") => Buckets::Cumulative,
        Some("disjoint") => Buckets::Disjoint,
        Some("detailed") => Buckets::Detailed,
        Some(_) => {
            let usage = "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n";
            return Err(Answer::text(400, usage));
        }
    };
    let takes = |regex: &Regex, name: &str| regex.is_match(name) != inverted;
    let asked = Asked {
        form,
        buckets,
        kind,
        used: used_only,
        takes: &|name| filter.as_ref().is_none_or(|regex| takes(regex, name)),
        config: own.proxy.stats_config(),
    };
    Ok(text(&stats::snapshot(&own.proxy), &asked))
}
