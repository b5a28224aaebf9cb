//! Formats, as configurations have them.

use leno_proto::FromAny;

use super::format::Format;
use super::operator::Operator;
use super::parse::{Brought, Reading};
use super::zone::Zone;
use super::{Json, LogFormat};
use crate::compile::Rejection;
use crate::compile::at::{At, Wants, no_effect, silent};
use crate::compile::expression;
use crate::compile::pb::{core, formatter, protobuf};

/// Envoy's default line.
const DEFAULT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
    r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "#,
    "\"%UPSTREAM_HOST%\"\n",
);

pub(super) fn log_format(
    at: &At<'_>,
    message: Option<&core::SubstitutionFormatString>,
) -> Result<LogFormat, Rejection> {
    let at = &at.field("log_format");
    let Some(message) = message else {
        return text_format(at, DEFAULT, false, Brought::default());
    };
    let core::SubstitutionFormatString {
        omit_empty_values,
        content_type,
        formatters,
        json_format_options,
        format: said,
    } = message;
    let options = self::formatters(at, formatters)?;
    no_effect!(at, "not used in access logs"; content_type);
    no_effect!(at, "keys are always in their order"; json_format_options);
    format_of(at, at.required("format", said)?, *omit_empty_values, options)
}

pub(crate) fn format_of(
    at: &At<'_>,
    said: &core::substitution_format_string::Format,
    omit_empty: bool,
    options: Brought,
) -> Result<LogFormat, Rejection> {
    use core::substitution_format_string::Format as F;
    match said {
        F::TextFormat(text) => text_format(&at.field("text_format"), text, omit_empty, options),
        F::JsonFormat(fields) => json(&at.field("json_format"), fields, omit_empty, options),
        F::TextFormatSource(source) => {
            let at = at.field("text_format_source");
            let text = String::from_utf8(at.data_source(source)?);
            let text = text.map_err(|_| at.reject("not UTF-8"))?;
            text_format(&at, &text, omit_empty, options)
        }
    }
}

/// A format with what the environment says now.
pub(crate) fn format(at: &At<'_>, text: &str) -> Result<Format, Rejection> {
    format_with(at, text, Brought::default())
}

/// `options`: what formatters have brought.
pub(crate) fn format_with(at: &At<'_>, text: &str, options: Brought) -> Result<Format, Rejection> {
    let hostname = at.hostname();
    let reading = Reading {
        environment: &|name| at.environment(name),
        hostname: hostname.as_deref(),
        file: &|path| at.file(path),
        time_zone: &|| Zone::new(at.time_zone().as_deref()),
        brought: options,
    };
    let format = Format::read(text, &reading).map_err(|why| at.reject(why))?;
    for operator in format.operators() {
        at.want(Wants {
            on_demand: operator.is_on_demand(),
            trailers: operator.names_trailers(),
            istio_stats: false,
            wire: matches!(operator, Operator::WireBytes(..)),
        });
    }
    Ok(format)
}

/// What formatters bring; operators that are always there need none.
pub(crate) fn formatters(
    at: &At<'_>,
    formatters: &[core::TypedExtensionConfig],
) -> Result<Brought, Rejection> {
    let mut options = Brought::default();
    for (i, one) in formatters.iter().enumerate() {
        let at = at.item("formatters", i);
        let core::TypedExtensionConfig { name, typed_config } = one;
        silent!("names are for people"; name);
        let any = at.required("typed_config", typed_config)?;
        let at = at.field("typed_config");
        if any.is::<formatter::cel::Cel>() {
            let formatter::cel::Cel { cel_config } = at.unpack(any)?;
            options.expressions = expression::options(cel_config.as_ref());
        } else if any.is::<formatter::req_without_query::ReqWithoutQuery>() {
            options.without_query = true;
        } else if any.is::<formatter::file_content::FileContent>() {
            options.file_content = true;
        } else if !any.is::<formatter::metadata::Metadata>() {
            return Err(at.unknown_extension(any));
        }
    }
    Ok(options)
}

pub(super) fn text_format(
    at: &At<'_>,
    text: &str,
    omit_empty: bool,
    options: Brought,
) -> Result<LogFormat, Rejection> {
    Ok(LogFormat::Text {
        format: format_with(at, text, options)?,
        omit_empty,
    })
}

pub(super) fn json(
    at: &At<'_>,
    message: &protobuf::Struct,
    omit_empty: bool,
    options: Brought,
) -> Result<LogFormat, Rejection> {
    Ok(LogFormat::Json {
        value: object(at, message, options)?,
        omit_empty,
    })
}

/// Keys sorted: a protobuf map has no order of its own.
fn object(at: &At<'_>, message: &protobuf::Struct, options: Brought) -> Result<Json, Rejection> {
    let protobuf::Struct { fields } = message;
    let mut keys = Vec::with_capacity(fields.len());
    for (key, field) in fields {
        keys.push((key.clone(), value(&at.entry("fields", key), field, options)?));
    }
    keys.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Json::Object(keys))
}

fn value(at: &At<'_>, message: &protobuf::Value, options: Brought) -> Result<Json, Rejection> {
    use protobuf::value::Kind;
    Ok(match &message.kind {
        None | Some(Kind::NullValue(_)) => Json::Fixed("null".into()),
        Some(Kind::BoolValue(value)) => Json::Fixed(value.to_string()),
        // As JSON writes them: 5, not 5.0.
        Some(Kind::NumberValue(value)) if value.is_finite() => Json::Fixed(value.to_string()),
        Some(Kind::NumberValue(value)) => return Err(at.reject(format!("not a number of JSON: {value}"))),
        Some(Kind::StringValue(text)) => Json::Format(format_with(at, text, options)?),
        Some(Kind::ListValue(list)) => {
            Json::List(at.each("values", &list.values, |at, item| value(at, item, options))?)
        }
        Some(Kind::StructValue(inner)) => object(at, inner, options)?,
    })
}
