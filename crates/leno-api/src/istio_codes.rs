//! What `istioctl analyze` tells of a configuration, and what leno tells of the same.
//!
//! The list is that of Istio's `pkg/config/analysis/msg/messages.yaml`.

use crate::codes::Code;

/// A message of Istio's.
#[derive(Clone, Copy, Debug)]
pub struct IstioCode {
    /// `IST0101`
    pub code: &'static str,
    pub name: &'static str,
    /// What leno tells in its place; none: see `why`.
    pub codes: &'static [Code],
    /// Why there is no such message here, or where it differs.
    pub why: &'static str,
}

const fn same(code: &'static str, name: &'static str, codes: &'static [Code]) -> IstioCode {
    IstioCode {
        code,
        name,
        codes,
        why: "",
    }
}

const fn none(code: &'static str, name: &'static str, why: &'static str) -> IstioCode {
    IstioCode {
        code,
        name,
        codes: &[],
        why,
    }
}

const INJECTION: &str = "nothing is injected: `leno run` starts a process with its sidecar";
const PODS: &str = "of pods and deployments, which say nothing to the mesh (LN0109)";
const KUBERNETES: &str = "of a Kubernetes cluster";
const NOT_SERVED: &str = "the kind is not served (LN0107)";
const NOT_LOOKED_FOR: &str = "not looked for yet";

pub const ALL: &[IstioCode] = &[
    none("IST0001", "InternalError", "an error of the tool itself"),
    same("IST0002", "Deprecated", &[Code::Outdated]),
    same(
        "IST0101",
        "ReferencedResourceNotFound",
        &[
            Code::HostNotFound,
            Code::SubsetNotFound,
            Code::ParentNotFound,
            Code::GatewayNotFound,
            Code::SecretNotFound,
            Code::ProviderNotFound,
        ],
    ),
    none("IST0102", "NamespaceNotInjected", INJECTION),
    none("IST0103", "PodMissingProxy", INJECTION),
    IstioCode {
        code: "IST0106",
        name: "SchemaValidationError",
        codes: &[Code::UnknownField, Code::WrongValue, Code::MissingField],
        why: "and all of LN01 and LN02",
    },
    none(
        "IST0107",
        "MisplacedAnnotation",
        "annotations of Istio that leno does not read are not looked at",
    ),
    none(
        "IST0108",
        "UnknownAnnotation",
        "annotations of Istio that leno does not read are not looked at",
    ),
    same(
        "IST0109",
        "ConflictingMeshGatewayVirtualServiceHosts",
        &[Code::RouteConflict],
    ),
    same(
        "IST0110",
        "ConflictingSidecarWorkloadSelectors",
        &[Code::PolicyConflict],
    ),
    same(
        "IST0111",
        "MultipleSidecarsWithoutWorkloadSelectors",
        &[Code::PolicyConflict],
    ),
    same(
        "IST0112",
        "VirtualServiceDestinationPortSelectorRequired",
        &[Code::PortNotChosen],
    ),
    same("IST0113", "MTLSPolicyConflict", &[Code::MtlsConflict]),
    same(
        "IST0116",
        "DeploymentAssociatedToMultipleServices",
        &[Code::PortsDisagree],
    ),
    same(
        "IST0118",
        "PortNameIsNotUnderNamingConvention",
        &[Code::PortWithoutProtocol],
    ),
    IstioCode {
        code: "IST0119",
        name: "JwtFailureDueToInvalidServicePortPrefix",
        codes: &[Code::PortWithoutProtocol],
        why: "whether or not there are tokens",
    },
    same("IST0122", "InvalidRegexp", &[Code::BadRegex]),
    none("IST0123", "NamespaceMultipleInjectionLabels", INJECTION),
    none(
        "IST0125",
        "InvalidAnnotation",
        "annotations of Istio that leno does not read are not looked at",
    ),
    none("IST0126", "UnknownMeshNetworksServiceRegistry", NOT_SERVED),
    same("IST0127", "NoMatchingWorkloadsFound", &[Code::NothingSelected]),
    IstioCode {
        code: "IST0128",
        name: "NoServerCertificateVerificationDestinationLevel",
        codes: &[],
        why: "without caCertificates the system's are taken: there is nothing unverified to warn of",
    },
    IstioCode {
        code: "IST0129",
        name: "NoServerCertificateVerificationPortLevel",
        codes: &[],
        why: "as IST0128",
    },
    IstioCode {
        code: "IST0130",
        name: "VirtualServiceUnreachableRule",
        codes: &[Code::RuleShadowed],
        why: "also where a prefix of an earlier rule takes it",
    },
    same(
        "IST0131",
        "VirtualServiceIneffectiveMatch",
        &[Code::MatchShadowed],
    ),
    same(
        "IST0132",
        "VirtualServiceHostNotFoundInGateway",
        &[Code::RouteNotAllowed],
    ),
    same("IST0133", "SchemaWarning", &[Code::Ignored, Code::NoEffect]),
    IstioCode {
        code: "IST0134",
        name: "ServiceEntryAddressesRequired",
        codes: &[Code::AddressesNeeded],
        why: "only with resolution NONE: others get virtual addresses",
    },
    none(
        "IST0135",
        "DeprecatedAnnotation",
        "annotations of Istio that leno does not read are not looked at",
    ),
    none(
        "IST0136",
        "AlphaAnnotation",
        "annotations of Istio that leno does not read are not looked at",
    ),
    same("IST0137", "DeploymentConflictingPorts", &[Code::PortsDisagree]),
    same(
        "IST0138",
        "GatewayDuplicateCertificate",
        &[Code::CertificateShared],
    ),
    none("IST0139", "InvalidWebhook", KUBERNETES),
    none(
        "IST0140",
        "IngressRouteRulesNotAffected",
        "rules of a VirtualService hold at its gateways",
    ),
    none("IST0141", "InsufficientPermissions", KUBERNETES),
    none("IST0142", "UnsupportedKubernetesVersion", KUBERNETES),
    none("IST0143", "LocalhostListener", PODS),
    none("IST0144", "InvalidApplicationUID", PODS),
    same("IST0145", "ConflictingGateways", &[Code::PortConflict]),
    none("IST0146", "ImageAutoWithoutInjectionWarning", INJECTION),
    none("IST0147", "ImageAutoWithoutInjectionError", INJECTION),
    none("IST0148", "NamespaceInjectionEnabledByDefault", INJECTION),
    same(
        "IST0149",
        "JwtClaimBasedRoutingWithoutRequestAuthN",
        &[Code::ClaimsNotVerified],
    ),
    none(
        "IST0150",
        "ExternalNameServiceTypeInvalidPortName",
        NOT_LOOKED_FOR,
    ),
    none("IST0151", "EnvoyFilterUsesRelativeOperation", NOT_LOOKED_FOR),
    none(
        "IST0152",
        "EnvoyFilterUsesReplaceOperationIncorrectly",
        NOT_LOOKED_FOR,
    ),
    none(
        "IST0153",
        "EnvoyFilterUsesAddOperationIncorrectly",
        NOT_LOOKED_FOR,
    ),
    none(
        "IST0154",
        "EnvoyFilterUsesRemoveOperationIncorrectly",
        NOT_LOOKED_FOR,
    ),
    none(
        "IST0155",
        "EnvoyFilterUsesRelativeOperationWithProxyVersion",
        NOT_LOOKED_FOR,
    ),
    none("IST0156", "UnsupportedGatewayAPIVersion", KUBERNETES),
    same("IST0157", "InvalidTelemetryProvider", &[Code::ProviderNotFound]),
    none("IST0158", "PodsIstioProxyImageMismatchInNamespace", INJECTION),
    same(
        "IST0159",
        "ConflictingTelemetryWorkloadSelectors",
        &[Code::PolicyConflict],
    ),
    same(
        "IST0160",
        "MultipleTelemetriesWithoutWorkloadSelectors",
        &[Code::PolicyConflict],
    ),
    same("IST0161", "InvalidGatewayCredential", &[Code::SecretNotFound]),
    none(
        "IST0162",
        "GatewayPortNotDefinedOnService",
        "a gateway's ports are not behind a Service",
    ),
    none("IST0163", "InvalidExternalControlPlaneConfig", KUBERNETES),
    none("IST0164", "ExternalControlPlaneAddressIsNotAHostname", KUBERNETES),
    none(
        "IST0165",
        "MultiClusterInconsistentService",
        "a mesh has one control plane",
    ),
];
