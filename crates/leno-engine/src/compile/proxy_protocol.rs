//! The PROXY protocol, as listeners read it (`envoy.extensions.filters.listener.proxy_protocol.v3`).

use super::Rejection;
use super::at::{At, no_effect, refuse, silent};
use super::pb::{core, proxy_protocol as pb};

/// What a listener makes of a header before the client's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Clients may do without.
    pub optional: bool,
    pub v1: bool,
    pub v2: bool,
    /// Extensions that upstreams may be told.
    pub passed: TlvTypes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlvTypes {
    All,
    Some(Vec<u8>),
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
    refuse!(at; rules, tlv_location);
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
    })
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
