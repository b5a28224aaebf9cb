//! Which apiVersion and kind is what: served, not yet, Kubernetes' own, or unknown.

use crate::key::Kind;

/// How an apiVersion and kind are dealt with.
pub(crate) enum Known {
    Served(Kind),
    /// Known to Istio or the Gateway API. True: it protects something, so leaving it out is no small matter.
    NotServedYet(bool),
    Kubernetes,
    WrongVersion(&'static str),
    Unknown,
}

pub(crate) fn known(api_version: &str, kind: &str) -> Known {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    match (group, kind) {
        ("", "Service") if version == "v1" => Known::Served(Kind::Service),
        ("", "Secret") if version == "v1" => Known::Served(Kind::Secret),
        ("", "Namespace") if version == "v1" => Known::Served(Kind::Namespace),
        ("", "Node") if version == "v1" => Known::Served(Kind::Node),
        ("", "Service" | "Secret" | "Namespace" | "Node") => Known::WrongVersion("v1"),
        ("discovery.k8s.io", "EndpointSlice") if version == "v1" => Known::Served(Kind::EndpointSlice),
        ("discovery.k8s.io", "EndpointSlice") => Known::WrongVersion("v1"),
        ("gateway.networking.k8s.io", "HTTPRoute") => beta(version, Kind::HttpRoute),
        ("gateway.networking.k8s.io", "TCPRoute") => match version {
            "v1" | "v1alpha2" => Known::Served(Kind::TcpRoute),
            _ => Known::WrongVersion("v1 or v1alpha2"),
        },
        ("gateway.networking.k8s.io", "Gateway") => beta(version, Kind::KubernetesGateway),
        ("gateway.networking.k8s.io", "GatewayClass") => beta(version, Kind::GatewayClass),
        ("gateway.networking.k8s.io", "ReferenceGrant") => beta(version, Kind::ReferenceGrant),
        ("networking.istio.io", "Gateway") => istio(version, Kind::Gateway),
        ("networking.istio.io", "VirtualService") => istio(version, Kind::VirtualService),
        ("networking.istio.io", "DestinationRule") => istio(version, Kind::DestinationRule),
        ("networking.istio.io", "ServiceEntry") => istio(version, Kind::ServiceEntry),
        ("networking.istio.io", "EnvoyFilter") => match version {
            "v1alpha3" => Known::Served(Kind::EnvoyFilter),
            _ => Known::WrongVersion("v1alpha3"),
        },
        ("networking.istio.io", "ProxyConfig") => match version {
            "v1beta1" => Known::Served(Kind::ProxyConfig),
            _ => Known::WrongVersion("v1beta1"),
        },
        ("telemetry.istio.io", "Telemetry") => match version {
            "v1" | "v1alpha1" => Known::Served(Kind::Telemetry),
            _ => Known::WrongVersion("v1 or v1alpha1"),
        },
        ("extensions.istio.io", "WasmPlugin") => match version {
            "v1alpha1" => Known::Served(Kind::WasmPlugin),
            _ => Known::WrongVersion("v1alpha1"),
        },
        ("networking.istio.io", "WorkloadEntry") => istio(version, Kind::WorkloadEntry),
        ("networking.istio.io", "WorkloadGroup") => istio(version, Kind::WorkloadGroup),
        ("networking.istio.io", "Sidecar") => istio(version, Kind::Sidecar),
        ("security.istio.io", "PeerAuthentication") => beta(version, Kind::PeerAuthentication),
        ("security.istio.io", "AuthorizationPolicy") => beta(version, Kind::AuthorizationPolicy),
        ("security.istio.io", "RequestAuthentication") => beta(version, Kind::RequestAuthentication),
        (_, "MeshConfig") => Known::Served(Kind::MeshConfig),
        ("networking.istio.io" | "telemetry.istio.io" | "extensions.istio.io", _) => {
            Known::NotServedYet(false)
        }
        ("gateway.networking.k8s.io", "BackendTLSPolicy") => Known::NotServedYet(true),
        ("gateway.networking.k8s.io" | "gateway.networking.x-k8s.io", _) => Known::NotServedYet(false),
        ("networking.k8s.io", "Ingress") => match version {
            "v1" => Known::Served(Kind::Ingress),
            _ => Known::WrongVersion("v1"),
        },
        ("networking.k8s.io", "IngressClass") => match version {
            "v1" => Known::Served(Kind::IngressClass),
            _ => Known::WrongVersion("v1"),
        },
        // Of other meshes: what moves to leno and says who may come in must not be lost without a word.
        ("access.smi-spec.io", "TrafficTarget")
        | ("policy.linkerd.io", "AuthorizationPolicy" | "ServerAuthorization") => Known::NotServedYet(true),
        ("linkerd.io" | "policy.linkerd.io" | "split.smi-spec.io" | "specs.smi-spec.io", _) => {
            Known::NotServedYet(false)
        }
        _ if is_kubernetes(group, kind) => Known::Kubernetes,
        _ => Known::Unknown,
    }
}

fn istio(version: &str, kind: Kind) -> Known {
    match version {
        "v1" | "v1beta1" | "v1alpha3" => Known::Served(kind),
        _ => Known::WrongVersion("v1, v1beta1 or v1alpha3"),
    }
}

fn beta(version: &str, kind: Kind) -> Known {
    match version {
        "v1" | "v1beta1" => Known::Served(kind),
        _ => Known::WrongVersion("v1 or v1beta1"),
    }
}

fn is_kubernetes(group: &str, kind: &str) -> bool {
    const CORE: &[&str] = &[
        "ConfigMap",
        "Endpoints",
        "Event",
        "LimitRange",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Pod",
        "PodTemplate",
        "ReplicationController",
        "ResourceQuota",
        "ServiceAccount",
    ];
    match group {
        "" => CORE.contains(&kind),
        "apps" | "batch" | "autoscaling" | "policy" | "extensions" => true,
        group => group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io"),
    }
}

pub(crate) fn nearest_kind(kind: &str) -> String {
    const KINDS: &[&str] = &[
        "AuthorizationPolicy",
        "RequestAuthentication",
        "Gateway",
        "GatewayClass",
        "Namespace",
        "ReferenceGrant",
        "Secret",
        "Service",
        "ServiceEntry",
        "Sidecar",
        "HTTPRoute",
        "TCPRoute",
        "VirtualService",
        "DestinationRule",
        "PeerAuthentication",
        "MeshConfig",
        "EnvoyFilter",
        "Ingress",
        "IngressClass",
        "ProxyConfig",
        "Telemetry",
        "WasmPlugin",
        "WorkloadEntry",
        "WorkloadGroup",
        "EndpointSlice",
        "Node",
    ];
    crate::nearest(kind, KINDS.iter().copied()).map_or(String::new(), |near| format!("did you mean {near}?"))
}
