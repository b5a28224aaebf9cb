//! The PROXY protocol, as listeners read it (`envoy.extensions.filters.listener.proxy_protocol.v3`) and as upstreams
//! are told it (`envoy.config.core.v3.ProxyProtocolConfig`).

use super::Rejection;
use super::at::{At, no_effect, refuse, silent};
use super::pb::{core, proxy_protocol as pb};

/// Of metadata that rules make.
const NAMESPACE: &str = "envoy.filters.listener.proxy_protocol";

/// What a listener makes of a header before the client's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Clients may do without.
    pub optional: bool,
    pub v1: bool,
    pub v2: bool,
    /// Extensions that upstreams may be told.
    pub passed: TlvTypes,
    /// What is noted of extensions.
    pub rules: Vec<TlvRule>,
}

/// An extension that becomes metadata of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvRule {
    pub kind: u8,
    pub namespace: String,
    pub key: String,
    /// As Base64; else as a text.
    pub base64: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlvTypes {
    All,
    Some(Vec<u8>),
}

/// What an upstream is told before a client's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introduction {
    V1,
    V2 {
        /// Those of the client's own header that go on.
        passed: TlvTypes,
        /// In place of the client's of the same type.
        added: Vec<Tlv>,
    },
}

/// An extension of version 2.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlv {
    pub kind: u8,
    pub value: Vec<u8>,
}

pub(super) fn introduction(
    at: &At<'_>,
    message: &core::ProxyProtocolConfig,
) -> Result<Introduction, Rejection> {
    use core::proxy_protocol_config::Version;
    let core::ProxyProtocolConfig {
        version,
        pass_through_tlvs,
        added_tlvs,
    } = message;
    match at.choice("version", *version)? {
        Version::V1 => {
            no_effect!(at, "version 1 has no extensions"; pass_through_tlvs, added_tlvs);
            Ok(Introduction::V1)
        }
        Version::V2 => Ok(Introduction::V2 {
            passed: passed(at, pass_through_tlvs.as_ref())?,
            added: at.each("added_tlvs", added_tlvs, tlv)?,
        }),
    }
}

fn tlv(at: &At<'_>, message: &core::TlvEntry) -> Result<Tlv, Rejection> {
    let core::TlvEntry {
        r#type,
        value,
        format_string,
    } = message;
    refuse!(at; format_string);
    let kind = u8::try_from(*r#type).map_err(|_| at.field("type").reject(format!("0 to 255, not {type}")))?;
    // With all of a header's addresses there must be room in a length of 16 bits.
    if value.len() > 0x7fff {
        return Err(at.field("value").reject("more than 32767 bytes"));
    }
    Ok(Tlv {
        kind,
        value: value.clone(),
    })
}

pub(super) fn listener_filter(at: &At<'_>, message: &pb::ProxyProtocol) -> Result<ProxyProtocol, Rejection> {
    let pb::ProxyProtocol {
        rules,
        allow_requests_without_proxy_protocol,
        pass_through_tlvs,
        disallowed_versions,
        stat_prefix,
        tlv_location,
    } = message;
    refuse!(at; tlv_location);
    silent!("leno has its own statistics"; stat_prefix);
    let disallowed = at.each("disallowed_versions", disallowed_versions, |at, version| {
        core::proxy_protocol_config::Version::try_from(*version)
            .map_err(|_| at.reject(format!("unknown value {version}")))
    })?;
    let allowed = |version| !disallowed.contains(&version);
    Ok(ProxyProtocol {
        optional: *allow_requests_without_proxy_protocol,
        v1: allowed(core::proxy_protocol_config::Version::V1),
        v2: allowed(core::proxy_protocol_config::Version::V2),
        passed: passed(at, pass_through_tlvs.as_ref())?,
        rules: at.each("rules", rules, rule)?.into_iter().flatten().collect(),
    })
}

/// None: it says nothing of what to do.
fn rule(at: &At<'_>, message: &pb::proxy_protocol::Rule) -> Result<Option<TlvRule>, Rejection> {
    use pb::proxy_protocol::key_value_pair::ValueStringEncoding as Encoding;
    let pb::proxy_protocol::Rule {
        tlv_type,
        on_tlv_present,
    } = message;
    let kind = u8::try_from(*tlv_type)
        .map_err(|_| at.field("tlv_type").reject(format!("0 to 255, not {tlv_type}")))?;
    let Some(pb::proxy_protocol::KeyValuePair {
        metadata_namespace,
        key,
        value_string_encoding,
    }) = on_tlv_present
    else {
        return Ok(None);
    };
    let at = at.field("on_tlv_present");
    at.not_empty("key", key)?;
    Ok(Some(TlvRule {
        kind,
        namespace: match metadata_namespace.as_str() {
            "" => NAMESPACE.to_owned(),
            said => said.to_owned(),
        },
        key: key.clone(),
        base64: match at.choice("value_string_encoding", *value_string_encoding)? {
            Encoding::Unspecified | Encoding::SanitizedUtf8 => false,
            Encoding::Base64 => true,
        },
    }))
}

fn passed(at: &At<'_>, message: Option<&core::ProxyProtocolPassThroughTlVs>) -> Result<TlvTypes, Rejection> {
    use core::proxy_protocol_pass_through_tl_vs::PassTlVsMatchType;
    let Some(core::ProxyProtocolPassThroughTlVs { match_type, tlv_type }) = message else {
        return Ok(TlvTypes::Some(Vec::new()));
    };
    let at = at.field("pass_through_tlvs");
    let types = at.each("tlv_type", tlv_type, |at, kind| {
        u8::try_from(*kind).map_err(|_| at.reject(format!("0 to 255, not {kind}")))
    })?;
    Ok(match at.choice("match_type", *match_type)? {
        PassTlVsMatchType::IncludeAll => {
            no_effect!(at, "all are passed: match_type is INCLUDE_ALL"; tlv_type);
            TlvTypes::All
        }
        PassTlVsMatchType::Include => TlvTypes::Some(types),
    })
}
