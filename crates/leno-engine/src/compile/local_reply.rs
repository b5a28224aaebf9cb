//! `LocalReplyConfig`: what becomes of answers that the proxy itself gives.

use bytes::Bytes;

use crate::compile::Rejection;
use crate::compile::access_log::{LogFormat, format_of, formatters};
use crate::compile::at::{At, no_effect};
use crate::compile::header::{self, HeaderOps};
use crate::compile::log_filter::{self, LogFilter};
use crate::compile::pb::core;
use crate::compile::pb::hcm as pb;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalReplies {
    /// The first whose filter takes the answer.
    pub mappers: Vec<Mapper>,
    pub format: Option<BodyFormat>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mapper {
    pub filter: LogFilter,
    pub status: Option<u16>,
    pub body: Option<Bytes>,
    /// Instead of the one for all.
    pub format: Option<BodyFormat>,
    pub headers: HeaderOps,
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
        filter: log_filter::filter(&at.field("filter"), at.required("filter", filter)?)?,
        status,
        body: match body {
            None => None,
            Some(body) => Some(at.field("body").data_source(body)?.into()),
        },
        format: optional_format(&at.field("body_format_override"), body_format_override.as_ref())?,
        headers: header::edits(at, &header::added("headers_to_add", headers_to_add))?,
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
    let options = self::formatters(at, formatters)?;
    no_effect!(at, "keys are always in their order"; json_format_options);
    let format = format_of(at, at.required("format", format)?, *omit_empty_values, options)?;
    let usual = match format {
        LogFormat::Text { .. } => "text/plain",
        LogFormat::Json { .. } => "application/json",
    };
    Ok(BodyFormat {
        format,
        content_type: match content_type.as_str() {
            "" => usual.to_owned(),
            said => said.to_owned(),
        },
    })
}
