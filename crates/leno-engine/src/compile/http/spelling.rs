//! `header_key_format`: how HTTP/1 writes header names.

use crate::compile::Rejection;
use crate::compile::at::{At, silent};
use crate::compile::pb::{core, preserve_case as pb};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderCase {
    #[default]
    Lower,
    /// With a capital at the beginning of each word, where it is not known how they were received.
    Proper,
    /// What is received is noted, and sent so by whatever connection takes it on.
    Preserved {
        /// Names that were not received are written with capitals.
        proper: bool,
        /// Reason phrases are passed on.
        reason: bool,
    },
}

pub(crate) fn header_case(
    at: &At<'_>,
    message: Option<&core::http1_protocol_options::HeaderKeyFormat>,
) -> Result<HeaderCase, Rejection> {
    use core::http1_protocol_options::HeaderKeyFormat;
    use core::http1_protocol_options::header_key_format::{HeaderFormat, ProperCaseWords};
    let Some(HeaderKeyFormat { header_format }) = message else {
        return Ok(HeaderCase::Lower);
    };
    let at = at.field("header_key_format");
    match at.required("header_format", header_format)? {
        HeaderFormat::ProperCaseWords(ProperCaseWords {}) => Ok(HeaderCase::Proper),
        HeaderFormat::StatefulFormatter(extension) => {
            let at = at.field("stateful_formatter");
            let core::TypedExtensionConfig { name, typed_config } = extension;
            silent!("names are for people"; name);
            let any = at.required("typed_config", typed_config)?;
            preserved(&at.field("typed_config"), &at.field("typed_config").unpack(any)?)
        }
    }
}

fn preserved(at: &At<'_>, message: &pb::PreserveCaseFormatterConfig) -> Result<HeaderCase, Rejection> {
    use pb::preserve_case_formatter_config::FormatterTypeOnEnvoyHeaders as Others;
    let pb::PreserveCaseFormatterConfig {
        forward_reason_phrase,
        formatter_type_on_envoy_headers,
    } = message;
    let others: Others = at.choice(
        "formatter_type_on_envoy_headers",
        *formatter_type_on_envoy_headers,
    )?;
    Ok(HeaderCase::Preserved {
        proper: others == Others::ProperCase,
        reason: *forward_reason_phrase,
    })
}

impl HeaderCase {
    /// What is written without a note of how it was received has capitals.
    #[inline]
    pub fn is_proper(self) -> bool {
        self == Self::Proper
    }
}
