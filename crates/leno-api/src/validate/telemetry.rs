//! Telemetry.

use super::{Check, policy_target};
use crate::codes::Code;
use crate::kinds::telemetry::{
    AccessLogging, CustomTag, MetricMatch, Metrics, ProviderRef, TagOperation, TelemetrySpec, Tracing,
};

pub(super) fn check(check: &mut Check<'_>, spec: &TelemetrySpec) {
    policy_target::target(
        check,
        spec.selector.as_ref(),
        spec.target_ref.as_ref(),
        &spec.target_refs,
    );
    for (i, tracing) in spec.tracing.iter().enumerate() {
        self::tracing(check, &format!("spec.tracing[{i}]"), tracing);
    }
    for (i, metrics) in spec.metrics.iter().enumerate() {
        self::metrics(check, &format!("spec.metrics[{i}]"), metrics);
    }
    for (i, logging) in spec.access_logging.iter().enumerate() {
        access_logging(check, &format!("spec.accessLogging[{i}]"), logging);
    }
}

fn tracing(check: &mut Check<'_>, at: &str, said: &Tracing) {
    providers(check, at, &said.providers);
    if said.providers.len() > 1 {
        let message = "a request is traced by one provider: the first one is used";
        check.warning(Code::NoEffect, format!("{at}.providers"), message, "keep one");
    }
    if let Some(percent) = said.random_sampling_percentage {
        check.percent(format!("{at}.randomSamplingPercentage"), percent);
    }
    for (name, tag) in &said.custom_tags {
        custom_tag(check, &format!("{at}.customTags.{name}"), name, tag);
    }
}

fn custom_tag(check: &mut Check<'_>, at: &str, name: &str, said: &CustomTag) {
    if name.is_empty() {
        check.error(Code::Empty, at, "a tag without a name", "");
    }
    check.one_of(
        at,
        &[
            ("literal", said.literal.is_some()),
            ("environment", said.environment.is_some()),
            ("header", said.header.is_some()),
            ("formatter", said.formatter.is_some()),
        ],
    );
    let mut needs = |field: &str, value: Option<&str>| {
        if value.is_some_and(str::is_empty) {
            let path = format!("{at}.{field}");
            check.error(Code::Empty, path, format!("{field} is empty"), "");
        }
    };
    needs(
        "literal.value",
        said.literal.as_ref().map(|tag| tag.value.as_str()),
    );
    needs(
        "environment.name",
        said.environment.as_ref().map(|tag| tag.name.as_str()),
    );
    needs("header.name", said.header.as_ref().map(|tag| tag.name.as_str()));
    needs(
        "formatter.value",
        said.formatter.as_ref().map(|tag| tag.value.as_str()),
    );
}

fn metrics(check: &mut Check<'_>, at: &str, said: &Metrics) {
    let message =
        "proxies count all of Istio's standard metrics: what is said of them here is without effect";
    check.warning(Code::Ignored, at, message, "");
    providers(check, at, &said.providers);
    for (i, change) in said.overrides.iter().enumerate() {
        let at = format!("{at}.overrides[{i}]");
        let MetricMatch {
            metric,
            custom_metric,
            mode: _,
        } = &change.r#match;
        if metric.is_some() && custom_metric.is_some() {
            let message = "metric and customMetric are given together";
            check.error(
                Code::BadCombination,
                format!("{at}.match"),
                message,
                "keep one of them",
            );
        }
        if custom_metric.as_ref().is_some_and(String::is_empty) {
            let path = format!("{at}.match.customMetric");
            check.error(Code::Empty, path, "customMetric is empty", "");
        }
        for (name, tag) in &change.tag_overrides {
            let at = format!("{at}.tagOverrides.{name}");
            match (tag.operation, tag.value.as_str()) {
                (TagOperation::Upsert, "") => {
                    let message = "UPSERT needs a value";
                    check.error(Code::MissingField, at, message, "add value: an expression in CEL");
                }
                (TagOperation::Remove, "") => {}
                (TagOperation::Remove, _) => {
                    let message = "a tag that is removed has no value";
                    check.error(
                        Code::BadCombination,
                        format!("{at}.value"),
                        message,
                        "leave it out",
                    );
                }
                (TagOperation::Upsert, value) => expression(check, &format!("{at}.value"), value),
            }
        }
    }
}

fn access_logging(check: &mut Check<'_>, at: &str, said: &AccessLogging) {
    providers(check, at, &said.providers);
    if let Some(filter) = said
        .filter
        .as_ref()
        .filter(|filter| !filter.expression.is_empty())
    {
        expression(check, &format!("{at}.filter.expression"), &filter.expression);
    }
}

fn expression(check: &mut Check<'_>, path: &str, text: &str) {
    if let Err(error) = leno_cel::parse(text) {
        let message = format!("the expression {text:?} is refused: {error}");
        check.error(
            Code::BadExpression,
            path,
            message,
            "expressions are in CEL: https://cel.dev",
        );
    }
}

fn providers(check: &mut Check<'_>, at: &str, said: &[ProviderRef]) {
    for (i, provider) in said.iter().enumerate() {
        if provider.name.is_empty() {
            let path = format!("{at}.providers[{i}].name");
            check.error(Code::Empty, path, "a provider without a name", "add name");
        }
    }
}
