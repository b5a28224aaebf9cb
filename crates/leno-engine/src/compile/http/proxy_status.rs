//! `proxy_status_config`: what answers of the proxy's own say of their cause (RFC 9209).

use crate::compile::Rejection;
use crate::compile::at::{At, silent};
use crate::compile::pb::hcm::http_connection_manager as pb;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyStatus {
    pub name: ProxyName,
    pub details: bool,
    pub flags: bool,
    /// The status that goes with the cause takes the place of the answer's own.
    pub recommended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyName {
    /// `server_name`
    Server(String),
    NodeId,
    Literal(String),
}

pub(super) fn proxy_status(
    at: &At<'_>,
    message: &pb::ProxyStatusConfig,
    server_name: &str,
) -> Result<ProxyStatus, Rejection> {
    use pb::proxy_status_config::ProxyName as Said;
    let pb::ProxyStatusConfig {
        remove_details,
        remove_connection_termination_details,
        remove_response_flags,
        set_recommended_response_code,
        proxy_name,
    } = message;
    silent!("what ends a connection is not told by an answer on it"; remove_connection_termination_details);
    let name = match proxy_name {
        Some(Said::UseNodeId(true)) => ProxyName::NodeId,
        Some(Said::LiteralProxyName(name)) if name.contains(|c: char| c.is_control()) => {
            return Err(at
                .field("literal_proxy_name")
                .reject("control characters in a header"));
        }
        Some(Said::LiteralProxyName(name)) if !name.is_empty() => ProxyName::Literal(name.clone()),
        _ => ProxyName::Server(server_name.to_owned()),
    };
    Ok(ProxyStatus {
        name,
        details: !remove_details,
        flags: !remove_response_flags,
        recommended: *set_recommended_response_code,
    })
}
