//! security.istio.io AuthorizationPolicy: who may do what.

use serde::Deserialize;

use super::peer_authentication::Selector;

/// The annotation that makes a policy one that is only watched.
pub const DRY_RUN: &str = "istio.io/dry-run";

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationPolicySpec {
    pub selector: Option<Selector>,
    pub target_ref: Option<TargetRef>,
    pub target_refs: Vec<TargetRef>,
    pub action: Action,
    pub provider: Option<Provider>,
    /// None and empty are the same: no rule ever matches. One empty rule matches everything.
    pub rules: Option<Vec<Option<Rule>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    #[default]
    Allow,
    Deny,
    Audit,
    /// As an authorizer outside of the mesh says.
    Custom,
}

/// What a policy is attached to in place of the workloads that a selector names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    pub group: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

/// An entry of MeshConfig's `extensionProviders`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Provider {
    pub name: String,
}

/// One of `from`, one of `to` and all of `when`; what is not there is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    pub from: Option<Vec<From>>,
    pub to: Option<Vec<To>>,
    pub when: Vec<Condition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct From {
    pub source: Option<Source>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct To {
    pub operation: Option<Operation>,
}

/// Each list that has something: one of its values holds (`not…`: none does).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    pub principals: Vec<String>,
    pub not_principals: Vec<String>,
    pub request_principals: Vec<String>,
    pub not_request_principals: Vec<String>,
    pub namespaces: Vec<String>,
    pub not_namespaces: Vec<String>,
    pub service_accounts: Vec<String>,
    pub not_service_accounts: Vec<String>,
    pub trust_domains: Vec<String>,
    pub not_trust_domains: Vec<String>,
    pub ip_blocks: Vec<String>,
    pub not_ip_blocks: Vec<String>,
    pub remote_ip_blocks: Vec<String>,
    pub not_remote_ip_blocks: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    pub hosts: Vec<String>,
    pub not_hosts: Vec<String>,
    pub ports: Vec<String>,
    pub not_ports: Vec<String>,
    pub methods: Vec<String>,
    pub not_methods: Vec<String>,
    pub paths: Vec<String>,
    pub not_paths: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    pub key: String,
    pub values: Vec<String>,
    pub not_values: Vec<String>,
}

/// What a condition looks at: the keys of `when`, as Istio documents them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    Header(String),
    SourceIp,
    RemoteIp,
    SourceNamespace,
    SourcePrincipal,
    SourceServiceAccount,
    SourceTrustDomain,
    RequestPrincipal,
    Audiences,
    Presenter,
    /// The path to a claim of the token.
    Claim(Vec<String>),
    DestinationIp,
    DestinationPort,
    ServerName,
    /// What a filter has noted: its name, and the field.
    Metadata {
        filter: String,
        field: String,
    },
}

// === impl Operation, Source ===

impl Source {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Operation {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Attribute ===

impl Attribute {
    /// The attribute of a key, or what is wrong with the key.
    pub fn parse(key: &str) -> Result<Self, String> {
        let bracketed = |prefix: &str| {
            let inner = key.strip_prefix(prefix)?.strip_prefix('[')?.strip_suffix(']')?;
            (!inner.is_empty()).then(|| inner.to_owned())
        };
        let needs = |example: &str| format!("the key {key} is to be written as {example}");
        Ok(match key {
            "source.ip" => Self::SourceIp,
            "remote.ip" => Self::RemoteIp,
            "source.namespace" => Self::SourceNamespace,
            "source.principal" => Self::SourcePrincipal,
            "source.serviceAccount" => Self::SourceServiceAccount,
            "source.trustDomain" => Self::SourceTrustDomain,
            "request.auth.principal" => Self::RequestPrincipal,
            "request.auth.audiences" => Self::Audiences,
            "request.auth.presenter" => Self::Presenter,
            "destination.ip" => Self::DestinationIp,
            "destination.port" => Self::DestinationPort,
            "connection.sni" => Self::ServerName,
            _ if key.starts_with("request.headers") => {
                let name = bracketed("request.headers");
                Self::Header(name.ok_or_else(|| needs("request.headers[NAME]"))?)
            }
            _ if key.starts_with("request.auth.claims") => {
                let path = bracketed("request.auth.claims");
                let path =
                    path.ok_or_else(|| needs("request.auth.claims[NAME] or request.auth.claims[A][B]"))?;
                let names: Vec<String> = path.split("][").map(str::to_owned).collect();
                if names.iter().any(String::is_empty) {
                    return Err(needs("request.auth.claims[NAME] or request.auth.claims[A][B]"));
                }
                Self::Claim(names)
            }
            _ if key.starts_with("experimental.envoy.filters.") => {
                let rest = key
                    .strip_prefix("experimental.")
                    .and_then(|rest| rest.strip_suffix(']'));
                match rest.and_then(|rest| rest.split_once('[')) {
                    Some((filter, field)) if !field.is_empty() => Self::Metadata {
                        filter: filter.to_owned(),
                        field: field.to_owned(),
                    },
                    _ => return Err(needs("experimental.envoy.filters.NAME[FIELD]")),
                }
            }
            "destination.namespace" => {
                return Err("destination.namespace is said by the policy's own namespace".to_owned());
            }
            _ if key.starts_with("destination.labels") => {
                return Err("destination.labels is said by the policy's selector".to_owned());
            }
            "destination.name" | "destination.user" => {
                return Err(format!(
                    "{key} was a key of Istio's v1alpha1 and is none any more"
                ));
            }
            _ => return Err(format!("the key {key} is none of Istio's")),
        })
    }

    /// It is said by the token of a request, which RequestAuthentication verifies.
    pub fn needs_token(&self) -> bool {
        matches!(
            self,
            Self::RequestPrincipal | Self::Audiences | Self::Presenter | Self::Claim(_)
        )
    }

    /// It can only be seen of HTTP.
    pub fn is_of_http(&self) -> bool {
        self.needs_token() || matches!(self, Self::Header(_))
    }
}
