//! `LocalReplyConfig`: what becomes of answers that the proxy itself gives.

use bytes::Bytes;

use crate::compile::Rejection;
use crate::compile::access_log::{LogFormat, flags_of, format_of};
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::header::{self, HeaderOps};
use crate::compile::matcher::{self, HeaderMatcher};
use crate::compile::pb::hcm as pb;
use crate::compile::pb::{accesslog, core};
use crate::flags::Flags;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalReplies {
    /// The first whose filter takes the answer.
    pub mappers: Vec<Mapper>,
    pub format: Option<BodyFormat>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mapper {
    pub filter: ReplyFilter,
    pub status: Option<u16>,
    pub body: Option<Bytes>,
    /// Instead of the one for all.
    pub format: Option<BodyFormat>,
    pub headers: HeaderOps,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ReplyFilter {
    Status {
        comparison: Comparison,
        value: u16,
    },
    Header(HeaderMatcher),
    /// Any of them.
    Flags(Flags),
    And(Vec<ReplyFilter>),
    Or(Vec<ReplyFilter>),
    /// Health checks are no requests of leno's.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
}

/// What a body is made of; `%LOCAL_REPLY_BODY%` is the one that was to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyFormat {
    pub format: LogFormat,
    pub content_type: String,
}

pub(crate) fn local_replies(at: &At<'_>, message: &pb::LocalReplyConfig) -> Result<LocalReplies, Rejection> {
    let pb::LocalReplyConfig { mappers, body_format } = message;
    Ok(LocalReplies {
        mappers: at.each("mappers", mappers, mapper)?,
        format: optional_format(&at.field("body_format"), body_format.as_ref())?,
    })
}

fn mapper(at: &At<'_>, message: &pb::ResponseMapper) -> Result<Mapper, Rejection> {
    let pb::ResponseMapper {
        filter,
        status_code,
        body,
        body_format_override,
        headers_to_add,
    } = message;
    let status = match status_code.as_ref().map(|status| status.value) {
        None => None,
        Some(status) => match u16::try_from(status) {
            Ok(status @ 200..600) => Some(status),
            _ => {
                return Err(at
                    .field("status_code")
                    .reject(format!("200 to 599, not {status}")));
            }
        },
    };
    Ok(Mapper {
        filter: self::filter(&at.field("filter"), at.required("filter", filter)?)?,
        status,
        body: match body {
            None => None,
            Some(body) => Some(at.field("body").data_source(body)?.into()),
        },
        format: optional_format(&at.field("body_format_override"), body_format_override.as_ref())?,
        headers: header::edits(at, &header::added("headers_to_add", headers_to_add))?,
    })
}

fn filter(at: &At<'_>, message: &accesslog::AccessLogFilter) -> Result<ReplyFilter, Rejection> {
    use accesslog::access_log_filter::FilterSpecifier as F;
    let accesslog::AccessLogFilter { filter_specifier } = message;
    Ok(match at.required("filter_specifier", filter_specifier)? {
        F::StatusCodeFilter(accesslog::StatusCodeFilter { comparison }) => {
            let at = at.field("status_code_filter");
            status(&at.field("comparison"), at.required("comparison", comparison)?)?
        }
        F::HeaderFilter(accesslog::HeaderFilter { header }) => {
            let at = at.field("header_filter");
            let header = at.required("header", header)?;
            ReplyFilter::Header(matcher::header(&at.field("header"), header)?)
        }
        F::ResponseFlagFilter(flags) => {
            ReplyFilter::Flags(flags_of(&at.field("response_flag_filter"), flags))
        }
        F::AndFilter(accesslog::AndFilter { filters }) => {
            ReplyFilter::And(at.field("and_filter").each("filters", filters, filter)?)
        }
        F::OrFilter(accesslog::OrFilter { filters }) => {
            ReplyFilter::Or(at.field("or_filter").each("filters", filters, filter)?)
        }
        F::NotHealthCheckFilter(accesslog::NotHealthCheckFilter {}) => ReplyFilter::Any,
        _ => {
            return Err(at.reject(
                "only status_code_filter, header_filter, response_flag_filter, not_health_check_filter, \
                 and_filter and or_filter are supported",
            ));
        }
    })
}

fn status(at: &At<'_>, message: &accesslog::ComparisonFilter) -> Result<ReplyFilter, Rejection> {
    use accesslog::comparison_filter::Op;
    let accesslog::ComparisonFilter { op, value } = message;
    let core::RuntimeUInt32 {
        default_value,
        runtime_key,
    } = at.required("value", value)?;
    no_effect!(at.field("value"), "there is no runtime: the default value holds"; runtime_key);
    Ok(ReplyFilter::Status {
        comparison: match at.choice("op", *op)? {
            Op::Eq => Comparison::Equal,
            Op::Ge => Comparison::AtLeast,
            Op::Le => Comparison::AtMost,
            Op::Ne => Comparison::NotEqual,
        },
        value: u16::try_from(*default_value).unwrap_or(u16::MAX),
    })
}

fn optional_format(
    at: &At<'_>,
    message: Option<&core::SubstitutionFormatString>,
) -> Result<Option<BodyFormat>, Rejection> {
    message.map(|message| body_format(at, message)).transpose()
}

pub(crate) fn body_format(
    at: &At<'_>,
    message: &core::SubstitutionFormatString,
) -> Result<BodyFormat, Rejection> {
    let core::SubstitutionFormatString {
        omit_empty_values,
        content_type,
        formatters,
        json_format_options,
        format,
    } = message;
    silent!("each brings operators: one that is used and not known is rejected where it stands"; formatters);
    refuse!(at; omit_empty_values);
    no_effect!(at, "keys are always in their order"; json_format_options);
    let format = format_of(at, at.required("format", format)?)?;
    let usual = match format {
        LogFormat::Text(_) => "text/plain",
        LogFormat::Json(_) => "application/json",
    };
    Ok(BodyFormat {
        format,
        content_type: match content_type.as_str() {
            "" => usual.to_owned(),
            said => said.to_owned(),
        },
    })
}
