//! `config_discovery` of an HTTP filter.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::extension::{self, Place};
use crate::compile::pb::core;
use crate::decide::filter::{self, Discovered, FilterConfig};

/// A filter of the list.
pub(super) fn discovered(
    at: &At<'_>,
    name: &str,
    disabled: bool,
    message: &core::ExtensionConfigSource,
) -> Result<FilterConfig, Rejection> {
    let is_known = |any: &_| filter::is_known(any) || filter::only_counts(any);
    let Place {
        source,
        types,
        default,
    } = extension::place(at, message, is_known, |at, any| extension::http(at, name, any))?;
    Ok(FilterConfig::discovered(
        name,
        Bytes::from(message.encode_to_vec()),
        disabled,
        Discovered {
            source,
            types,
            default: default.map(Arc::new),
        },
    ))
}
