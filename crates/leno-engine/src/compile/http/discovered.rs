//! `ExtensionConfigSource` of an HTTP filter, and `TypedExtensionConfig`, which comes from there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::compile::at::{At, compiling};
use crate::compile::pb::{core, router};
use crate::compile::{Files, Rejection, Warnings, config_source, typed_struct};
use crate::decide::filter::{self, Discovered, Extension, FilterConfig};
use leno_proto::FromAny;
use leno_proto::google::protobuf::Any;

/// `envoy.config.core.v3.TypedExtensionConfig`: a filter's configuration, under the filter's name.
pub fn extension(
    message: &core::TypedExtensionConfig,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<Extension, Rejection> {
    compiling(files, warnings, |at| {
        let core::TypedExtensionConfig { name, typed_config } = message;
        at.not_empty("name", name)?;
        let any = at.required("typed_config", typed_config)?;
        configuration(&at.field("typed_config"), name, any)
    })
}

fn configuration(at: &At<'_>, name: &str, any: &Any) -> Result<Extension, Rejection> {
    let any = &*typed_struct::opened(at, any)?;
    if any.is::<router::Router>() {
        return Err(at.reject("the router ends the list, and is not discovered"));
    }
    let filter = match filter::only_counts(any) {
        true => FilterConfig::nothing(name),
        false => filter::config(at, name, any, false)?,
    };
    Ok(Extension {
        message: filter::type_of(any),
        filter: Arc::new(filter),
    })
}

/// A filter of the list.
pub(super) fn discovered(
    at: &At<'_>,
    name: &str,
    disabled: bool,
    message: &core::ExtensionConfigSource,
) -> Result<FilterConfig, Rejection> {
    let core::ExtensionConfigSource {
        config_source,
        default_config,
        apply_default_config_without_warming,
        type_urls,
    } = message;
    if type_urls.is_empty() {
        return Err(at.field("type_urls").reject("required"));
    }
    for (i, url) in type_urls.iter().enumerate() {
        let any = Any {
            type_url: url.clone(),
            value: Vec::new(),
        };
        if !filter::is_known(&any) && !filter::only_counts(&any) {
            return Err(at
                .item("type_urls", i)
                .reject(format!("extension {url:?} is not supported")));
        }
    }
    let types: Vec<String> = type_urls.iter().map(|url| last(url).to_owned()).collect();
    let default = match default_config {
        None => None,
        Some(any) => {
            let at = at.field("default_config");
            let extension = configuration(&at, name, any)?;
            if !types.contains(&extension.message) {
                return Err(at.reject(format!("{} is none of type_urls", extension.message)));
            }
            Some(extension.filter)
        }
    };
    let mut source = config_source::config_source(&at.field("config_source"), config_source)?;
    if *apply_default_config_without_warming {
        if default.is_none() {
            let at = at.field("apply_default_config_without_warming");
            return Err(at.reject("there is no default_config"));
        }
        source.initial_fetch_timeout = Some(Duration::ZERO);
    }
    Ok(FilterConfig::discovered(
        name,
        Bytes::from(message.encode_to_vec()),
        disabled,
        Discovered {
            source,
            types,
            default,
        },
    ))
}

/// A type URL's message.
fn last(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}
