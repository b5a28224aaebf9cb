//! `envoy.config.accesslog.v3.AccessLogFilter`: which requests are logged, and which answers of the proxy's own a mapper
//! takes.

use leno_cel::Program;

use super::Rejection;
use super::at::{At, Wants, no_effect, silent};
use super::expression;
use super::matcher::metadata::MetadataMatcher;
use super::matcher::{self, HeaderMatcher};
use super::pb::{accesslog as pb, accesslog_data as data, cel_filter, core};
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
    Metadata {
        /// None: nothing is looked for.
        matcher: Option<MetadataMatcher>,
        /// Where what is looked for is not there.
        otherwise: bool,
    },
    /// Any of them, or with `exclude` none.
    Types {
        types: Vec<LogType>,
        exclude: bool,
    },
    /// Where it comes to `true`.
    Expression(Program),
}

/// When a record is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogType {
    #[default]
    NotSet,
    TcpUpstreamConnected,
    TcpPeriodic,
    TcpConnectionEnd,
    DownstreamStart,
    DownstreamPeriodic,
    DownstreamEnd,
    UpstreamPoolReady,
    UpstreamPeriodic,
    UpstreamEnd,
    DownstreamTunnelSuccessfullyEstablished,
    UdpTunnelUpstreamConnected,
    UdpPeriodic,
    UdpSessionEnd,
    TcpConnectionStart,
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
        F::MetadataFilter(filter) => self::metadata(&at.field("metadata_filter"), filter)?,
        F::LogTypeFilter(pb::LogTypeFilter { types, exclude }) => LogFilter::Types {
            types: at.field("log_type_filter").each("types", types, |at, log_type| {
                let log_type = data::AccessLogType::try_from(*log_type).ok().map(LogType::from);
                log_type.ok_or_else(|| at.reject("unknown value"))
            })?,
            exclude: *exclude,
        },
        F::ExtensionFilter(extension) => self::extension(&at.field("extension_filter"), extension)?,
    })
}

/// Where nothing of the kind is noted, the filter takes the request unless it says otherwise.
fn metadata(at: &At<'_>, message: &pb::MetadataFilter) -> Result<LogFilter, Rejection> {
    let pb::MetadataFilter {
        matcher,
        match_if_key_not_found,
    } = message;
    let matcher = match matcher {
        None => None,
        Some(said) => {
            let at = at.field("matcher");
            at.ignored("invert", &said.invert, "as in Envoy");
            let matcher = matcher::metadata::metadata(&at, said)?;
            Some(MetadataMatcher {
                invert: false,
                ..matcher
            })
        }
    };
    Ok(LogFilter::Metadata {
        matcher,
        otherwise: match_if_key_not_found.as_ref().is_none_or(|it| it.value),
    })
}

fn extension(at: &At<'_>, message: &pb::ExtensionFilter) -> Result<LogFilter, Rejection> {
    let pb::ExtensionFilter { name, config_type } = message;
    silent!("names are for people"; name);
    let pb::extension_filter::ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    let at = at.field("typed_config");
    let cel_filter::ExpressionFilter {
        expression: text,
        cel_config,
    } = &at.unpack(any)?;
    let options = expression::options(cel_config.as_ref());
    let program = expression::text(&at.field("expression"), text, options)?;
    at.want(Wants {
        on_demand: expression::names_on_demand(&program),
        trailers: expression::names_trailers(&program),
        istio_stats: false,
        wire: false,
    });
    Ok(LogFilter::Expression(program))
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

// === impl LogType ===

impl LogType {
    pub fn name(self) -> &'static str {
        data::AccessLogType::from(self).as_str_name()
    }
}

macro_rules! log_types {
    ($($name:ident = $of_message:ident,)*) => {
        impl From<data::AccessLogType> for LogType {
            fn from(log_type: data::AccessLogType) -> Self {
                match log_type { $(data::AccessLogType::$of_message => Self::$name,)* }
            }
        }

        impl From<LogType> for data::AccessLogType {
            fn from(log_type: LogType) -> Self {
                match log_type { $(LogType::$name => Self::$of_message,)* }
            }
        }
    };
}

log_types! {
    NotSet = NotSet,
    TcpUpstreamConnected = TcpUpstreamConnected,
    TcpPeriodic = TcpPeriodic,
    TcpConnectionEnd = TcpConnectionEnd,
    DownstreamStart = DownstreamStart,
    DownstreamPeriodic = DownstreamPeriodic,
    DownstreamEnd = DownstreamEnd,
    UpstreamPoolReady = UpstreamPoolReady,
    UpstreamPeriodic = UpstreamPeriodic,
    UpstreamEnd = UpstreamEnd,
    DownstreamTunnelSuccessfullyEstablished = DownstreamTunnelSuccessfullyEstablished,
    UdpTunnelUpstreamConnected = UdpTunnelUpstreamConnected,
    UdpPeriodic = UdpPeriodic,
    UdpSessionEnd = UdpSessionEnd,
    TcpConnectionStart = TcpConnectionStart,
}
