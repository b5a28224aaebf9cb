//! Hash policies: by what of requests they stick together.

use std::time::Duration;

use super::Rejection;
use super::at::At;
use super::matcher::{self, RegexRewrite};
use super::pb::route as pb;

#[derive(Clone, Debug, PartialEq)]
pub enum HashPolicy {
    Header {
        name: String,
        /// What of the value is hashed.
        rewrite: Option<RegexRewrite>,
        terminal: bool,
    },
    Cookie {
        name: String,
        path: Option<String>,
        ttl: Option<Duration>,
        /// Names and values, of a cookie that is made here.
        attributes: Vec<(String, String)>,
        terminal: bool,
    },
    SourceIp {
        terminal: bool,
    },
    Query {
        name: String,
        terminal: bool,
    },
    /// An object that filters have noted, of a kind that can be hashed.
    FilterState {
        key: String,
        terminal: bool,
    },
}

impl HashPolicy {
    /// Where nobody is to get a new cookie.
    pub(crate) fn without_cookie(mut self) -> Self {
        if let Self::Cookie { ttl, .. } = &mut self {
            *ttl = None;
        }
        self
    }
}

pub(crate) fn hash_policy(
    at: &At<'_>,
    message: &pb::route_action::HashPolicy,
) -> Result<HashPolicy, Rejection> {
    use pb::route_action::hash_policy::{
        ConnectionProperties, Cookie, FilterState, Header, PolicySpecifier as P, QueryParameter,
    };
    let pb::route_action::HashPolicy {
        terminal,
        policy_specifier,
    } = message;
    let terminal = *terminal;
    Ok(match at.required("policy_specifier", policy_specifier)? {
        P::Header(Header {
            header_name,
            regex_rewrite,
        }) => {
            let at = at.field("header");
            HashPolicy::Header {
                name: at.field("header_name").header_name(header_name)?,
                rewrite: match regex_rewrite {
                    None => None,
                    Some(rewrite) => Some(matcher::substitution(&at.field("regex_rewrite"), rewrite)?),
                },
                terminal,
            }
        }
        P::Cookie(Cookie {
            name,
            ttl,
            path,
            attributes,
        }) => {
            let at = at.field("cookie");
            at.not_empty("name", name)?;
            if path.contains(|c: char| c.is_control() || c == ';') {
                return Err(at.field("path").reject("not a path"));
            }
            HashPolicy::Cookie {
                name: at.field("name").header_name(name).map(|_| name.clone())?,
                path: Some(path.clone()).filter(|path| !path.is_empty()),
                ttl: at.duration("ttl", ttl)?,
                attributes: at.each("attributes", attributes, cookie_attribute)?,
                terminal,
            }
        }
        P::ConnectionProperties(ConnectionProperties { source_ip: true }) => {
            HashPolicy::SourceIp { terminal }
        }
        P::ConnectionProperties(_) => {
            return Err(at.field("connection_properties").reject("source_ip is required"));
        }
        P::QueryParameter(QueryParameter { name }) => {
            at.field("query_parameter").not_empty("name", name)?;
            HashPolicy::Query {
                name: name.clone(),
                terminal,
            }
        }
        P::FilterState(FilterState { key }) => {
            at.field("filter_state").not_empty("key", key)?;
            HashPolicy::FilterState {
                key: key.clone(),
                terminal,
            }
        }
    })
}

fn cookie_attribute(
    at: &At<'_>,
    message: &pb::route_action::hash_policy::CookieAttribute,
) -> Result<(String, String), Rejection> {
    let pb::route_action::hash_policy::CookieAttribute { name, value } = message;
    at.not_empty("name", name)?;
    for (field, text) in [("name", name), ("value", value)] {
        if text.contains(|c: char| c.is_control() || c == ';') {
            return Err(at.field(field).reject(format!("not of a cookie: {text:?}")));
        }
    }
    Ok((name.clone(), value.clone()))
}
