//! `envoy.config.route.v3.RateLimit`: what a request is counted as.

use std::sync::Arc;

use ipnet::IpNet;
use leno_proto::google::protobuf::UInt32Value;

use super::Rejection;
use super::address;
use super::at::{At, no_effect, refuse};
use super::matcher::{self, HeaderMatcher, QueryMatcher};
use super::pb::matcher as matcher_pb;
use super::pb::route as pb;

/// A descriptor of requests: its entries, one made by each action.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// From 0 to 10.
    pub stage: u32,
    pub actions: Vec<Action>,
    /// How many tokens a request takes.
    pub hits: u64,
    /// Whether the client is told what is left; None: as the filter says.
    pub tell: Option<bool>,
}

/// What a route has of them, and its virtual host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteLimits {
    pub route: Vec<RateLimit>,
    pub host: Arc<[RateLimit]>,
    /// The host's count beside the route's own.
    pub include_host: bool,
}

/// Makes one entry. A request for which it can make none has not this descriptor, or, where that is said, has it
/// without the entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `destination_cluster`
    Cluster,
    Header {
        name: String,
        key: String,
        skip: bool,
    },
    Query {
        name: String,
        key: String,
        skip: bool,
    },
    /// `remote_address`
    Remote,
    /// `masked_remote_address`: how many bits of it count.
    MaskedRemote {
        v4: u8,
        v6: u8,
    },
    Fixed {
        key: String,
        value: String,
    },
    Headers {
        key: String,
        value: String,
        wanted: bool,
        headers: Vec<HeaderMatcher>,
    },
    QueryMatch {
        key: String,
        value: String,
        wanted: bool,
        parameters: Vec<QueryMatcher>,
    },
    RemoteIn {
        key: String,
        value: String,
        wanted: bool,
        ranges: Vec<IpNet>,
    },
}

pub(crate) fn rate_limit(at: &At<'_>, message: &pb::RateLimit) -> Result<RateLimit, Rejection> {
    let pb::RateLimit {
        stage,
        disable_key,
        actions,
        limit,
        hits_addend,
        apply_on_stream_done,
        x_ratelimit_option,
    } = message;
    refuse!(at; limit, apply_on_stream_done);
    no_effect!(at, "only Envoy's global rate limit reads it"; disable_key);
    use pb::rate_limit::XRateLimitOption as Tell;
    if actions.is_empty() {
        return Err(at.field("actions").reject("required"));
    }
    let stage = stage.as_ref().map_or(0, |stage| stage.value);
    if stage > 10 {
        return Err(at.field("stage").reject(format!("0 to 10, not {stage}")));
    }
    Ok(RateLimit {
        stage,
        actions: at.each("actions", actions, action)?,
        hits: match hits_addend {
            None => 1,
            Some(hits) => self::hits(&at.field("hits_addend"), hits)?,
        },
        tell: match at.choice("x_ratelimit_option", *x_ratelimit_option)? {
            Tell::Unspecified => None,
            Tell::Off => Some(false),
            Tell::DraftVersion03 => Some(true),
        },
    })
}

fn hits(at: &At<'_>, message: &pb::rate_limit::HitsAddend) -> Result<u64, Rejection> {
    let pb::rate_limit::HitsAddend {
        number,
        format,
        is_negative_hits,
    } = message;
    refuse!(at; format, is_negative_hits);
    match number.as_ref().map_or(1, |number| number.value) {
        many if many > 1_000_000_000 => Err(at.field("number").reject("1000000000 at most")),
        number => Ok(number),
    }
}

fn action(at: &At<'_>, message: &pb::rate_limit::Action) -> Result<Action, Rejection> {
    use pb::rate_limit::action::ActionSpecifier as A;
    use pb::rate_limit::action::{self, DestinationCluster, RemoteAddress};
    let pb::rate_limit::Action { action_specifier } = message;
    Ok(match at.required("action_specifier", action_specifier)? {
        A::DestinationCluster(DestinationCluster {}) => Action::Cluster,
        A::RequestHeaders(action::RequestHeaders {
            header_name,
            descriptor_key,
            skip_if_absent,
        }) => {
            let at = at.field("request_headers");
            Action::Header {
                name: at.field("header_name").header_name(header_name)?,
                key: needed(&at, "descriptor_key", descriptor_key)?,
                skip: *skip_if_absent,
            }
        }
        A::QueryParameters(action::QueryParameters {
            query_parameter_name,
            descriptor_key,
            skip_if_absent,
        }) => {
            let at = at.field("query_parameters");
            Action::Query {
                name: needed(&at, "query_parameter_name", query_parameter_name)?,
                key: needed(&at, "descriptor_key", descriptor_key)?,
                skip: *skip_if_absent,
            }
        }
        A::RemoteAddress(RemoteAddress {}) => Action::Remote,
        A::MaskedRemoteAddress(action::MaskedRemoteAddress {
            v4_prefix_mask_len,
            v6_prefix_mask_len,
        }) => {
            let at = at.field("masked_remote_address");
            let bits = |field, said: &Option<UInt32Value>, most: u8| match said {
                None => Ok(most),
                Some(bits) if bits.value <= most.into() => Ok(bits.value as u8),
                Some(bits) => Err(at
                    .field(field)
                    .reject(format!("{most} bits at most, not {}", bits.value))),
            };
            Action::MaskedRemote {
                v4: bits("v4_prefix_mask_len", v4_prefix_mask_len, 32)?,
                v6: bits("v6_prefix_mask_len", v6_prefix_mask_len, 128)?,
            }
        }
        A::GenericKey(action::GenericKey {
            descriptor_value,
            default_value,
            descriptor_key,
        }) => {
            let at = at.field("generic_key");
            silent_default(&at, default_value);
            Action::Fixed {
                key: named(descriptor_key, "generic_key"),
                value: needed(&at, "descriptor_value", descriptor_value)?,
            }
        }
        A::HeaderValueMatch(action::HeaderValueMatch {
            descriptor_value,
            default_value,
            descriptor_key,
            expect_match,
            headers,
        }) => {
            let at = at.field("header_value_match");
            silent_default(&at, default_value);
            if headers.is_empty() {
                return Err(at.field("headers").reject("required"));
            }
            Action::Headers {
                key: named(descriptor_key, "header_match"),
                value: needed(&at, "descriptor_value", descriptor_value)?,
                wanted: expect_match.as_ref().is_none_or(|wanted| wanted.value),
                headers: at.each("headers", headers, matcher::header)?,
            }
        }
        A::QueryParameterValueMatch(action::QueryParameterValueMatch {
            descriptor_value,
            default_value,
            descriptor_key,
            expect_match,
            query_parameters,
        }) => {
            let at = at.field("query_parameter_value_match");
            silent_default(&at, default_value);
            if query_parameters.is_empty() {
                return Err(at.field("query_parameters").reject("required"));
            }
            Action::QueryMatch {
                key: named(descriptor_key, "query_match"),
                value: needed(&at, "descriptor_value", descriptor_value)?,
                wanted: expect_match.as_ref().is_none_or(|wanted| wanted.value),
                parameters: at.each("query_parameters", query_parameters, matcher::query)?,
            }
        }
        A::RemoteAddressMatch(message) => remote_in(&at.field("remote_address_match"), message)?,
        A::SourceCluster(_) => return Err(at.field("source_cluster").reject("not supported")),
        A::DynamicMetadata(_) => return Err(at.field("dynamic_metadata").reject("not supported")),
        A::Metadata(_) => return Err(at.field("metadata").reject("not supported")),
        A::Extension(_) => return Err(at.field("extension").reject("not supported")),
    })
}

fn needed(at: &At<'_>, field: &'static str, text: &str) -> Result<String, Rejection> {
    at.not_empty(field, text)?;
    Ok(text.to_owned())
}

fn named(key: &str, default: &str) -> String {
    if key.is_empty() { default } else { key }.to_owned()
}

/// A value is text and no format, as in Envoy unless its runtime says otherwise.
fn silent_default(at: &At<'_>, default_value: &String) {
    no_effect!(at, "the value is never empty: it is taken as it stands"; default_value);
}

fn remote_in(at: &At<'_>, message: &pb::rate_limit::action::RemoteAddressMatch) -> Result<Action, Rejection> {
    let pb::rate_limit::action::RemoteAddressMatch {
        descriptor_value,
        descriptor_key,
        default_value,
        address_matcher,
    } = message;
    silent_default(at, default_value);
    let matcher_pb::AddressMatcher { ranges, invert_match } =
        at.required("address_matcher", address_matcher)?;
    Ok(Action::RemoteIn {
        key: named(descriptor_key, "remote_address_match"),
        value: needed(at, "descriptor_value", descriptor_value)?,
        wanted: !invert_match,
        ranges: at
            .field("address_matcher")
            .each("ranges", ranges, address::xds_cidr)?,
    })
}
