//! The small parts that every xDS message is made of.

use std::net::IpAddr;
use std::time::Duration;

use leno_proto::ToAny;

use crate::pb::protobuf::value::Kind;
use crate::pb::protobuf::{self, Any, BoolValue, Struct, UInt32Value, Value};
use crate::pb::{core, listener, matcher, types};

pub(crate) fn u32_value(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) fn bool_value(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(crate) fn duration(value: Duration) -> Option<protobuf::Duration> {
    Some(protobuf::Duration {
        // 10,000 years is the most that protobuf's Duration may say.
        seconds: i64::try_from(value.as_secs())
            .unwrap_or(i64::MAX)
            .min(315_576_000_000),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    })
}

pub(crate) fn socket_address(address: &str, port: u16) -> Option<core::Address> {
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.into(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    })
}

/// A socket in the file system, or of the abstract namespace: `@name`.
pub(crate) fn pipe(path: &str) -> core::Address {
    core::Address {
        address: Some(core::address::Address::Pipe(core::Pipe {
            path: path.into(),
            ..Default::default()
        })),
    }
}

pub(crate) fn cidr(prefix: &str, length: u32) -> core::CidrRange {
    core::CidrRange {
        address_prefix: prefix.into(),
        prefix_len: u32_value(length),
    }
}

/// As it stands in a listener's name or in a Host header: IPv6 in brackets.
pub(crate) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// From the stream that the resource itself came by; no timeout, as in Istio (a proxy that starts without its
/// routes would answer 404).
pub(crate) fn ads() -> Option<core::ConfigSource> {
    Some(core::ConfigSource {
        initial_fetch_timeout: duration(Duration::ZERO),
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    })
}

pub(crate) fn network_filter(name: &str, config: &impl ToAny) -> listener::Filter {
    listener::Filter {
        name: name.into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config.to_any())),
    }
}

pub(crate) fn string(value: impl Into<String>) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.into())),
    }
}

pub(crate) fn number(value: u32) -> Value {
    Value {
        kind: Some(Kind::NumberValue(value.into())),
    }
}

pub(crate) fn structure<const N: usize>(fields: [(&str, Value); N]) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect(),
    }
}

pub(crate) fn nested(value: Struct) -> Value {
    Value {
        kind: Some(Kind::StructValue(value)),
    }
}

pub(crate) fn list(values: Vec<Value>) -> Value {
    Value {
        kind: Some(Kind::ListValue(protobuf::ListValue { values })),
    }
}

pub(crate) fn metadata<const N: usize>(filters: [(&str, Struct); N]) -> Option<core::Metadata> {
    Some(core::Metadata {
        filter_metadata: filters
            .into_iter()
            .map(|(name, fields)| (name.into(), fields))
            .collect(),
        ..Default::default()
    })
}

pub(crate) fn transport_socket(name: &str, config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

pub(crate) fn regex(pattern: impl Into<String>) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: pattern.into(),
        ..Default::default()
    }
}

pub(crate) fn exact(value: impl Into<String>) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(value.into())),
        ..Default::default()
    }
}

pub(crate) fn per_million(share: u32) -> Option<types::FractionalPercent> {
    Some(types::FractionalPercent {
        numerator: share.min(1_000_000),
        denominator: types::fractional_percent::DenominatorType::Million.into(),
    })
}
