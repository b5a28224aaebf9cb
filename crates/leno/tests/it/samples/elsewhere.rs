//! The files that no row tries, and why.

pub struct Elsewhere {
    pub file: &'static str,
    /// What leno says of a file that it does not serve whole; empty: it has nothing to say.
    pub says: &'static str,
    #[expect(dead_code, reason = "read by people")]
    why: &'static str,
}

const fn other(file: &'static str, says: &'static str, why: &'static str) -> Elsewhere {
    Elsewhere { file, says, why }
}

const CLUSTER: &str = "Deployments and the like: a cluster runs them, and leno skips them";
const TRIED: &str = "bookinfo's own table is tried with these services";
const SAME: &str = "the same services as another file, whose workloads a cluster runs";
const NOT_OBJECTS: &str = "values for another program, no objects";

pub const ELSEWHERE: &[Elsewhere] = &[
    other(
        "bookinfo/demo-profile-no-gateways.yaml",
        "unknown kind IstioOperator",
        "for istioctl",
    ),
    other("bookinfo/platform/kube/bookinfo-certificate.yaml", "", CLUSTER),
    other("bookinfo/platform/kube/bookinfo-db.yaml", "", TRIED),
    other("bookinfo/platform/kube/bookinfo-details-dualstack.yaml", "", SAME),
    other("bookinfo/platform/kube/bookinfo-details-v2.yaml", "", CLUSTER),
    other("bookinfo/platform/kube/bookinfo-details.yaml", "", SAME),
    other("bookinfo/platform/kube/bookinfo-dualstack.yaml", "", SAME),
    other(
        "bookinfo/platform/kube/bookinfo-ingress.yaml",
        "",
        "for a gateway; one like it is tried by leno-translate's cases",
    ),
    other("bookinfo/platform/kube/bookinfo-mysql.yaml", "", TRIED),
    other("bookinfo/platform/kube/bookinfo-psa.yaml", "", SAME),
    other(
        "bookinfo/platform/kube/bookinfo-ratings-discovery-dualstack.yaml",
        "",
        SAME,
    ),
    other("bookinfo/platform/kube/bookinfo-ratings-discovery.yaml", "", SAME),
    other("bookinfo/platform/kube/bookinfo-ratings-dualstack.yaml", "", SAME),
    other(
        "bookinfo/platform/kube/bookinfo-ratings-v2-mysql-vm.yaml",
        "",
        CLUSTER,
    ),
    other(
        "bookinfo/platform/kube/bookinfo-ratings-v2-mysql.yaml",
        "",
        CLUSTER,
    ),
    other("bookinfo/platform/kube/bookinfo-ratings-v2.yaml", "", CLUSTER),
    other("bookinfo/platform/kube/bookinfo-ratings.yaml", "", SAME),
    other("bookinfo/platform/kube/bookinfo-reviews-v2.yaml", "", CLUSTER),
    other("bookinfo/platform/kube/bookinfo-versions.yaml", "", TRIED),
    other("bookinfo/platform/kube/bookinfo.yaml", "", TRIED),
    other("bookinfo/platform/kube/productpage-nodeport.yaml", "", SAME),
    other(
        "bookinfo/policy/productpage_envoy_ratelimit.yaml",
        "",
        "asks a rate limit service, which leno's proxy does not have the filter for yet",
    ),
    other(
        "bookinfo/swagger.yaml",
        "without apiVersion and kind",
        "describes an API, and is no object",
    ),
    other("custom-bootstrap/custom-bootstrap.yaml", "", CLUSTER),
    other("custom-bootstrap/example-app.yaml", "", CLUSTER),
    other(
        "extauthz/ext-authz.yaml",
        "",
        "an authorizer; one that is asked by policies is in authorizers.rs",
    ),
    other(
        "extauthz/local-ext-authz.yaml",
        "",
        "an authorizer; one that is asked by policies is in authorizers.rs",
    ),
    other(
        "health-check/liveness-command.yaml",
        "",
        "a cluster's probe of a container",
    ),
    other(
        "jwt-server/jwt-server.yaml",
        "",
        "a server of keys for a RequestAuthentication, in a cluster",
    ),
    other(
        "open-telemetry/otel.yaml",
        "",
        "a collector that only a Telemetry object uses",
    ),
    other(
        "open-telemetry/tracing/telemetry.yaml",
        "",
        "traces to a provider that an installation of Istio names; telemetry has tests of its own",
    ),
    other(
        "ratelimit/local-rate-limit-service.yaml",
        "",
        "for a port that its productpage does not have; envoy_filters.rs tries the same for one",
    ),
    other(
        "ratelimit/rate-limit-service.yaml",
        "",
        "limits that only an EnvoyFilter asks for",
    ),
    other("security/psp/sidecar-psp.yaml", "", CLUSTER),
    other(
        "security/spire-trust-domain-federation/cluster-federated-trust-domain.yaml",
        "unknown kind ClusterFederatedTrustDomain",
        "for SPIRE's controller in a cluster",
    ),
    other(
        "security/spire-trust-domain-federation/spire-base.yaml",
        "without apiVersion and kind",
        NOT_OBJECTS,
    ),
    other(
        "security/spire-trust-domain-federation/spire-east.yaml",
        "without apiVersion and kind",
        NOT_OBJECTS,
    ),
    other(
        "security/spire-trust-domain-federation/spire-west.yaml",
        "without apiVersion and kind",
        NOT_OBJECTS,
    ),
    other(
        "security/spire/clusterspiffeid.yaml",
        "unknown kind ClusterSPIFFEID",
        "for SPIRE's controller in a cluster",
    ),
    other("security/spire/curl-spire.yaml", "", CLUSTER),
    other(
        "security/spire/istio-spire-config.yaml",
        "unknown kind IstioOperator",
        "for istioctl",
    ),
    other("security/spire/sleep-spire.yaml", "", CLUSTER),
    other("security/spire/spire-quickstart.yaml", "", CLUSTER),
];
