//! Istio's metadata exchange over TCP (`envoy.tcp.metadataexchange`): on listeners and on clusters.

use prost::Message;

use super::Rejection;
use super::at::At;
use super::pb::protobuf::Any;

/// Istio's message, as much of it as is used.
#[derive(Clone, PartialEq, Message)]
struct MetadataExchange {
    /// The ALPN name that says both sides do it.
    #[prost(string, tag = "1")]
    protocol: String,
    #[prost(bool, tag = "2")]
    enable_discovery: bool,
}

pub(crate) fn is_one(any: &Any) -> bool {
    any.type_url
        .ends_with("/envoy.tcp.metadataexchange.config.MetadataExchange")
}

/// Peers say by ALPN that they do it, and do without where it is not negotiated: leno never negotiates it.
pub(crate) fn check(at: &At<'_>, any: &Any) -> Result<(), Rejection> {
    let decoded = MetadataExchange::decode(any.value.as_slice());
    let MetadataExchange {
        protocol,
        enable_discovery,
    } = decoded.map_err(|error| at.reject(error.to_string()))?;
    if protocol != "istio-peer-exchange" {
        return Err(at
            .field("protocol")
            .reject(format!("{protocol:?} is not supported")));
    }
    at.ignored(
        "enable_discovery",
        &enable_discovery,
        "peers are told by endpoint metadata",
    );
    at.warn("peer metadata is not exchanged over TCP: istio-peer-exchange is not negotiated");
    Ok(())
}
