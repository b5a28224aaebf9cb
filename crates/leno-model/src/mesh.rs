//! Mesh-wide settings: Istio's MeshConfig.

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
}

impl MeshConfig {
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
