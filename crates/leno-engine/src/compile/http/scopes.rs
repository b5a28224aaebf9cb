//! `ScopedRoutes`: of several route configurations a request has the one whose key its headers make.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compile::at::{At, compiling, refuse, silent};
use crate::compile::config_source::{self, Source};
use crate::compile::pb::hcm as pb;
use crate::compile::pb::route as route_pb;
use crate::compile::route::{self, RouteTable};
use crate::compile::{Files, Rejection, Warnings};

#[derive(Clone, Debug, PartialEq)]
pub struct ScopedRoutes {
    /// For people, and in the config dump.
    pub name: String,
    pub fragments: Vec<FragmentBuilder>,
    pub scopes: Scopes,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scopes {
    Inline(HashMap<ScopeKey, Arc<RouteTable>>),
    /// By SRDS, and the route configurations that they name from there.
    Discovered {
        scopes: Source,
        routes: Source,
    },
}

/// What the headers of a request say, fragment by fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeKey(pub Vec<Vec<u8>>);

/// A fragment of the key: a part of a header's first value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentBuilder {
    /// In lower case.
    pub header: String,
    /// Between the elements of the value. Empty: there is one.
    pub separator: Vec<u8>,
    pub part: FragmentPart,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FragmentPart {
    /// The element at this place.
    Index(usize),
    /// What stands behind the separator in the first element that has the key before it.
    Element { key: Vec<u8>, separator: Vec<u8> },
}

/// A scope that came by SRDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub name: String,
    pub key: ScopeKey,
    /// Only for requests that pass the filter `on_demand`.
    pub on_demand: bool,
    /// The name of a route configuration.
    pub routes: String,
}

/// `envoy.config.route.v3.ScopedRouteConfiguration`, by SRDS.
pub fn scope(
    message: &route_pb::ScopedRouteConfiguration,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<Scope, Rejection> {
    compiling(files, warnings, |at| {
        let route_pb::ScopedRouteConfiguration {
            on_demand,
            name,
            route_configuration_name,
            route_configuration,
            key: _,
        } = message;
        refuse!(at; route_configuration);
        at.not_empty("name", name)?;
        at.not_empty("route_configuration_name", route_configuration_name)?;
        Ok(Scope {
            name: name.clone(),
            key: key(at, message)?,
            on_demand: *on_demand,
            routes: route_configuration_name.clone(),
        })
    })
}

pub(super) fn scoped_routes(at: &At<'_>, message: &pb::ScopedRoutes) -> Result<ScopedRoutes, Rejection> {
    use pb::scoped_routes::ConfigSpecifier as Specifier;
    let pb::ScopedRoutes {
        name,
        scope_key_builder,
        rds_config_source,
        config_specifier,
    } = message;
    at.not_empty("name", name)?;
    let builder = at.required("scope_key_builder", scope_key_builder)?;
    let scopes = match at.required("config_specifier", config_specifier)? {
        Specifier::ScopedRouteConfigurationsList(list) => {
            silent!("what is inline has its routes with it"; rds_config_source);
            inline(&at.field("scoped_route_configurations_list"), list)?
        }
        Specifier::ScopedRds(pb::ScopedRds {
            scoped_rds_config_source,
            srds_resources_locator,
        }) => {
            let from = at.field("scoped_rds");
            refuse!(from; srds_resources_locator);
            let from = from.field("scoped_rds_config_source");
            Scopes::Discovered {
                scopes: config_source::config_source(&from, scoped_rds_config_source)?,
                routes: config_source::config_source(&at.field("rds_config_source"), rds_config_source)?,
            }
        }
    };
    Ok(ScopedRoutes {
        name: name.clone(),
        fragments: fragments(&at.field("scope_key_builder"), builder)?,
        scopes,
    })
}

/// Of two scopes with one key the later one counts, as in Envoy.
fn inline(at: &At<'_>, message: &pb::ScopedRouteConfigurationsList) -> Result<Scopes, Rejection> {
    let pb::ScopedRouteConfigurationsList {
        scoped_route_configurations,
    } = message;
    if scoped_route_configurations.is_empty() {
        return Err(at.field("scoped_route_configurations").reject("required"));
    }
    let each = at.each(
        "scoped_route_configurations",
        scoped_route_configurations,
        |at, scope| {
            let route_pb::ScopedRouteConfiguration {
                on_demand,
                name,
                route_configuration_name,
                route_configuration,
                key: _,
            } = scope;
            silent!("its routes are here"; on_demand);
            at.not_empty("name", name)?;
            if !route_configuration_name.is_empty() {
                let at = at.field("route_configuration_name");
                return Err(
                    at.reject("a list has its routes with it: use route_configuration, or scoped_rds")
                );
            }
            let key = key(at, scope)?;
            let table = at.required("route_configuration", route_configuration)?;
            let at = at.field("route_configuration");
            let table = route::table(&at, table)?;
            if table.vhds.is_some() {
                return Err(at.field("vhds").reject("only where the routes come by rds"));
            }
            Ok((key, Arc::new(table)))
        },
    )?;
    Ok(Scopes::Inline(each.into_iter().collect()))
}

fn key(at: &At<'_>, message: &route_pb::ScopedRouteConfiguration) -> Result<ScopeKey, Rejection> {
    use route_pb::scoped_route_configuration::key::{Fragment, fragment::Type};
    let route_pb::scoped_route_configuration::Key { fragments } = at.required("key", &message.key)?;
    let at = at.field("key");
    if fragments.is_empty() {
        return Err(at.field("fragments").reject("required"));
    }
    let fragments = at.each("fragments", fragments, |at, fragment| {
        let Fragment { r#type } = fragment;
        let Type::StringKey(text) = at.required("type", r#type)?;
        Ok(text.as_bytes().to_vec())
    })?;
    Ok(ScopeKey(fragments))
}

fn fragments(
    at: &At<'_>,
    message: &pb::scoped_routes::ScopeKeyBuilder,
) -> Result<Vec<FragmentBuilder>, Rejection> {
    use pb::scoped_routes::scope_key_builder::FragmentBuilder as Message;
    use pb::scoped_routes::scope_key_builder::fragment_builder::Type;
    let pb::scoped_routes::ScopeKeyBuilder { fragments } = message;
    if fragments.is_empty() {
        return Err(at.field("fragments").reject("required"));
    }
    at.each("fragments", fragments, |at, fragment| {
        let Message { r#type } = fragment;
        let Type::HeaderValueExtractor(extractor) = at.required("type", r#type)?;
        fragment_builder(&at.field("header_value_extractor"), extractor)
    })
}

fn fragment_builder(
    at: &At<'_>,
    message: &pb::scoped_routes::scope_key_builder::fragment_builder::HeaderValueExtractor,
) -> Result<FragmentBuilder, Rejection> {
    use builder::header_value_extractor::{ExtractType, KvElement};
    use pb::scoped_routes::scope_key_builder::fragment_builder as builder;
    let builder::HeaderValueExtractor {
        name,
        element_separator,
        extract_type,
    } = message;
    let part = match at.required("extract_type", extract_type)? {
        ExtractType::Index(index) if *index > 0 && element_separator.is_empty() => {
            let reason = "there is one element where element_separator is empty";
            return Err(at.field("index").reject(reason));
        }
        ExtractType::Index(index) => FragmentPart::Index(*index as usize),
        ExtractType::Element(KvElement { separator, key }) => {
            let at = at.field("element");
            at.not_empty("separator", separator)?;
            at.not_empty("key", key)?;
            FragmentPart::Element {
                key: key.as_bytes().to_vec(),
                separator: separator.as_bytes().to_vec(),
            }
        }
    };
    Ok(FragmentBuilder {
        header: at.field("name").header_name(name)?,
        separator: element_separator.as_bytes().to_vec(),
        part,
    })
}
