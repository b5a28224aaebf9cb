//! Mesh-wide settings: Istio's MeshConfig.

use std::time::Duration;

use crate::name::Host;
use crate::policy::LocalityLb;
use crate::service::Service;
use crate::telemetry::Told;
use crate::visibility::ExportDefaults;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeshConfig {
    pub trust_domain: String,
    /// Other names of the same trust domain, by which policies may call it.
    pub trust_domain_aliases: Vec<String>,
    pub outbound: OutboundPolicy,
    /// None: no access log; else the file (`/dev/stdout`).
    pub access_log_file: Option<String>,
    pub access_log_format: Option<String>,
    pub access_log_json: bool,
    pub auto_mtls: bool,
    /// `h2UpgradePolicy: UPGRADE` between leno proxies.
    pub http2_upgrade: bool,
    pub paths: PathNormalization,
    /// By their names.
    pub authorizers: Vec<Authorizer>,
    /// For hosts whose DestinationRule says nothing of it.
    pub locality: LocalityLb,
    /// Who is told of requests.
    pub told: Told,
    /// Who sees what objects say nothing of.
    pub exports: ExportDefaults,
}

/// Somebody outside of the proxies, who is asked about what policies with action CUSTOM match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authorizer {
    pub name: String,
    pub host: Host,
    /// The service's, where it is said.
    pub namespace: Option<String>,
    pub port: u16,
    /// None: as long as it takes.
    pub timeout: Option<Duration>,
    /// What it does not answer is allowed.
    pub fails_open: bool,
    pub reroutes: bool,
    pub status_on_error: Option<u16>,
    pub body: Option<AuthorizerBody>,
    /// None: it speaks gRPC.
    pub http: Option<AuthorizerHttp>,
}

/// How much of a request's body an authorizer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizerBody {
    pub most: u32,
    /// The beginning of a longer one; else that is refused.
    pub partial: bool,
    pub as_bytes: bool,
}

/// Headers by their names, of which one end may be a star.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AuthorizerHttp {
    pub path_prefix: String,
    pub told: Vec<String>,
    pub added: Vec<(String, String)>,
    pub to_upstream: Vec<String>,
    pub to_client_on_deny: Vec<String>,
    pub to_client_on_allow: Vec<String>,
}

impl Authorizer {
    /// It is this service.
    pub fn is_at(&self, service: &Service) -> bool {
        let of = |namespace: &String| *namespace == service.namespace;
        service.host == self.host && self.namespace.as_ref().is_none_or(of) && !service.is_wildcard()
    }
}

impl MeshConfig {
    pub fn authorizer(&self, name: &str) -> Option<&Authorizer> {
        self.authorizers.iter().find(|authorizer| authorizer.name == name)
    }

    /// What a service account is called: in the trust domain, and under that one's other names.
    pub fn identities<'m>(
        &'m self,
        namespace: &'m str,
        account: &'m str,
    ) -> impl Iterator<Item = String> + 'm {
        let domains = std::iter::once(&self.trust_domain).chain(&self.trust_domain_aliases);
        domains.map(move |domain| format!("spiffe://{domain}/ns/{namespace}/sa/{account}"))
    }
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            trust_domain_aliases: Vec::new(),
            outbound: OutboundPolicy::AllowAny,
            access_log_file: None,
            access_log_format: None,
            access_log_json: false,
            auto_mtls: true,
            http2_upgrade: true,
            paths: PathNormalization::Base,
            authorizers: Vec::new(),
            locality: LocalityLb {
                enabled: true,
                ..LocalityLb::default()
            },
            told: Told::default(),
            exports: ExportDefaults::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboundPolicy {
    AllowAny,
    RegistryOnly,
}

/// What is made of a request's path before routes and policies look at it; the application gets it so, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathNormalization {
    /// Nothing.
    None,
    /// RFC 3986: no dot segments, no escapes that need none; a backslash is a slash.
    Base,
    /// And `//` is `/`.
    MergeSlashes,
    /// And `%2F` and `%5C` are `/` and `\`, before that.
    DecodeAndMergeSlashes,
}
