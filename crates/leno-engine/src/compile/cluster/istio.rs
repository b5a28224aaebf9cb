//! What Istio's control plane says of a cluster in its metadata (`filter_metadata["istio"]`).

use super::ServiceName;
use crate::compile::pb::{core, protobuf};

fn istio(metadata: Option<&core::Metadata>) -> Option<&protobuf::Struct> {
    metadata?.filter_metadata.get("istio")
}

/// `filter_metadata["istio"].services[0]`
pub(super) fn service(metadata: Option<&core::Metadata>) -> Option<ServiceName> {
    use protobuf::value::Kind;
    let Some(Kind::ListValue(services)) = &istio(metadata)?.fields.get("services")?.kind else {
        return None;
    };
    let Some(Kind::StructValue(first)) = &services.values.first()?.kind else {
        return None;
    };
    let text = |name: &str| match first.fields.get(name).and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text.clone(),
        _ => String::new(),
    };
    Some(ServiceName {
        host: text("host"),
        name: text("name"),
        namespace: text("namespace"),
    })
}

/// Istio's word that the names of the cluster's own context are offered, whatever a request asks for.
pub(super) fn keeps_alpn(metadata: Option<&core::Metadata>) -> bool {
    let said = istio(metadata).and_then(|istio| istio.fields.get("alpn_override"));
    let is_false = |kind: &protobuf::value::Kind| match kind {
        protobuf::value::Kind::StringValue(text) => text == "false",
        _ => false,
    };
    said.and_then(|value| value.kind.as_ref()).is_some_and(is_false)
}

/// `filter_metadata["istio"].external`
pub(super) fn is_external(metadata: Option<&core::Metadata>) -> bool {
    let external = istio(metadata).and_then(|istio| istio.fields.get("external"));
    external.and_then(|value| value.kind.as_ref()) == Some(&protobuf::value::Kind::BoolValue(true))
}
