//! `envoy.config.accesslog.v3.AccessLogFilter`: which requests are logged, and which answers of the proxy's own a mapper
//! takes.

use super::Rejection;
use super::at::{At, no_effect};
use super::matcher::{self, HeaderMatcher};
use super::pb::{accesslog as pb, core};
use crate::flags::{Flag, Flags};
use crate::runtime::{Setting, Share};

#[derive(Clone, Debug, PartialEq)]
pub enum LogFilter {
    Status {
        comparison: Comparison,
        value: Setting<u64>,
    },
    /// In milliseconds.
    Duration {
        comparison: Comparison,
        value: Setting<u64>,
    },
    Header(HeaderMatcher),
    /// Any of them.
    Flags(Flags),
    Grpc {
        /// Status codes.
        codes: Vec<u32>,
        /// All but them.
        exclude: bool,
    },
    Share(Setting<Share>),
    /// Traced because a service wants it.
    Forced,
    And(Vec<LogFilter>),
    Or(Vec<LogFilter>),
    /// It is no health check of the proxy.
    NoHealthCheck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
}

pub(crate) fn filter(at: &At<'_>, message: &pb::AccessLogFilter) -> Result<LogFilter, Rejection> {
    use pb::access_log_filter::FilterSpecifier as F;
    let pb::AccessLogFilter { filter_specifier } = message;
    Ok(match at.required("filter_specifier", filter_specifier)? {
        F::StatusCodeFilter(pb::StatusCodeFilter { comparison }) => {
            let at = at.field("status_code_filter");
            let (comparison, value) = compared(&at, comparison.as_ref())?;
            LogFilter::Status { comparison, value }
        }
        F::DurationFilter(pb::DurationFilter { comparison }) => {
            let at = at.field("duration_filter");
            let (comparison, value) = compared(&at, comparison.as_ref())?;
            LogFilter::Duration { comparison, value }
        }
        F::HeaderFilter(pb::HeaderFilter { header }) => {
            let at = at.field("header_filter");
            let header = at.required("header", header)?;
            LogFilter::Header(matcher::header(&at.field("header"), header)?)
        }
        F::ResponseFlagFilter(flags) => {
            LogFilter::Flags(self::flags(&at.field("response_flag_filter"), flags))
        }
        F::GrpcStatusFilter(pb::GrpcStatusFilter { statuses, exclude }) => LogFilter::Grpc {
            codes: at
                .field("grpc_status_filter")
                .each("statuses", statuses, |at, status| {
                    u32::try_from(*status).map_err(|_| at.reject(format!("not a status: {status}")))
                })?,
            exclude: *exclude,
        },
        F::RuntimeFilter(filter) => runtime(&at.field("runtime_filter"), filter)?,
        F::AndFilter(pb::AndFilter { filters }) => {
            LogFilter::And(at.field("and_filter").each("filters", filters, filter)?)
        }
        F::OrFilter(pb::OrFilter { filters }) => {
            LogFilter::Or(at.field("or_filter").each("filters", filters, filter)?)
        }
        F::NotHealthCheckFilter(pb::NotHealthCheckFilter {}) => LogFilter::NoHealthCheck,
        F::TraceableFilter(pb::TraceableFilter {}) => LogFilter::Forced,
        F::MetadataFilter(_) => return Err(at.field("metadata_filter").reject("not supported")),
        F::LogTypeFilter(_) => return Err(at.field("log_type_filter").reject("not supported")),
        F::ExtensionFilter(extension) => {
            let at = at.field("extension_filter");
            return Err(match &extension.config_type {
                Some(pb::extension_filter::ConfigType::TypedConfig(any)) => {
                    at.field("typed_config").unknown_extension(any)
                }
                None => at.field("typed_config").reject("required"),
            });
        }
    })
}

fn runtime(at: &At<'_>, message: &pb::RuntimeFilter) -> Result<LogFilter, Rejection> {
    let pb::RuntimeFilter {
        runtime_key,
        percent_sampled,
        use_independent_randomness,
    } = message;
    no_effect!(at, "it is always independent"; use_independent_randomness);
    let share = match percent_sampled {
        None => 0,
        Some(share) => at.field("percent_sampled").fraction(share)?,
    };
    Ok(LogFilter::Share(at.setting(Share(share), runtime_key)))
}

fn compared(
    at: &At<'_>,
    message: Option<&pb::ComparisonFilter>,
) -> Result<(Comparison, Setting<u64>), Rejection> {
    use pb::comparison_filter::Op;
    let Some(pb::ComparisonFilter { op, value }) = message else {
        return Err(at.field("comparison").reject("required"));
    };
    let at = at.field("comparison");
    let core::RuntimeUInt32 {
        default_value,
        runtime_key,
    } = at.required("value", value)?;
    let comparison = match at.choice("op", *op)? {
        Op::Eq => Comparison::Equal,
        Op::Ge => Comparison::AtLeast,
        Op::Le => Comparison::AtMost,
        Op::Ne => Comparison::NotEqual,
    };
    Ok((comparison, at.setting(u64::from(*default_value), runtime_key)))
}

fn flags(at: &At<'_>, message: &pb::ResponseFlagFilter) -> Flags {
    let pb::ResponseFlagFilter { flags: names } = message;
    let mut flags = Flags::default();
    // None named: any will do.
    let all = names.is_empty().then_some(Flag::ALL);
    for flag in all.into_iter().flatten() {
        flags.insert(*flag);
    }
    for (i, name) in names.iter().enumerate() {
        match Flag::ALL.iter().find(|flag| flag.short() == name) {
            Some(flag) => flags.insert(*flag),
            None => at.item("flags", i).warn("this flag is never set"),
        }
    }
    flags
}
