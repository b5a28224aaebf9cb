//! `TypedExtensionConfig`: a filter's configuration that comes by itself (ECDS), and `ExtensionConfigSource`, which says where
//! it comes from and what holds without it.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::FromAny;

use super::at::{At, compiling};
use super::config_source::{self, Source};
use super::pb::{core, protobuf, router};
use super::{Files, Rejection, Warnings, typed_struct};
use crate::decide::filter::{self, FilterConfig};
use crate::decide::network::{self, NetworkFilterConfig};

/// A configuration that has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// The filter's name.
    pub name: String,
    /// The full name of its message.
    pub message: String,
    pub filter: Configured,
}

/// What it configures.
#[derive(Clone, Debug, PartialEq)]
pub enum Configured {
    Http(Arc<FilterConfig>),
    Network(Arc<NetworkFilterConfig>),
}

/// `envoy.config.core.v3.TypedExtensionConfig`: a filter's configuration, under the filter's name.
pub fn compile(
    message: &core::TypedExtensionConfig,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<Extension, Rejection> {
    compiling(files, warnings, |at| {
        let core::TypedExtensionConfig { name, typed_config } = message;
        at.not_empty("name", name)?;
        let any = at.required("typed_config", typed_config)?;
        let at = at.field("typed_config");
        let any = &*typed_struct::opened(&at, any)?;
        Ok(Extension {
            name: name.clone(),
            message: filter::type_of(any),
            filter: match network::is_known(any) {
                true => Configured::Network(Arc::new(network(&at, any)?)),
                false => Configured::Http(Arc::new(http(&at, name, any)?)),
            },
        })
    })
}

/// A filter's place in a list.
pub(crate) struct Place<F> {
    pub(crate) source: Source,
    /// The full names of the messages that it may be.
    pub(crate) types: Vec<String>,
    pub(crate) default: Option<F>,
}

/// `is_known`: whether it may be of this type where it stands.
pub(crate) fn place<F>(
    at: &At<'_>,
    message: &core::ExtensionConfigSource,
    is_known: impl Fn(&protobuf::Any) -> bool,
    compile: impl Fn(&At<'_>, &protobuf::Any) -> Result<F, Rejection>,
) -> Result<Place<F>, Rejection> {
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
        let any = protobuf::Any {
            type_url: url.clone(),
            value: Vec::new(),
        };
        if !is_known(&any) {
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
            let any = &*typed_struct::opened(&at, any)?;
            let compiled = compile(&at, any)?;
            let message = filter::type_of(any);
            if !types.contains(&message) {
                return Err(at.reject(format!("{message} is none of type_urls")));
            }
            Some(compiled)
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
    Ok(Place {
        source,
        types,
        default,
    })
}

pub(crate) fn http(at: &At<'_>, name: &str, any: &protobuf::Any) -> Result<FilterConfig, Rejection> {
    if any.is::<router::Router>() {
        return Err(at.reject("the router ends the list, and is not discovered"));
    }
    match filter::only_counts(any) {
        true => {
            filter::counts(at);
            Ok(FilterConfig::nothing(name))
        }
        false => filter::config(at, name, any, false),
    }
}

pub(crate) fn network(at: &At<'_>, any: &protobuf::Any) -> Result<NetworkFilterConfig, Rejection> {
    network::config(at, any)?.ok_or_else(|| at.unknown_extension(any))
}

/// A type URL's message.
fn last(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}
