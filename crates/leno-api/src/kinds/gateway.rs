//! networking.istio.io Gateway: the ports at which a gateway proxy serves, for which hosts, and how.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Labels;
use crate::decode::{Ignored, NotServed};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    pub servers: Vec<Server>,
    /// The gateway proxies that it is for; empty: all.
    pub selector: Labels,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    pub port: Port,
    pub bind: Option<String>,
    #[serde(default)]
    pub hosts: Vec<String>,
    pub tls: Option<ServerTls>,
    default_endpoint: Option<NotServed>,
    name: Option<IgnoredAny>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    pub number: i64,
    pub protocol: String,
    #[serde(default)]
    pub name: String,
    target_port: Option<Ignored>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerTls {
    pub https_redirect: bool,
    pub mode: Option<TlsMode>,
    /// Files on the gateway's machine.
    pub server_certificate: Option<String>,
    pub private_key: Option<String>,
    pub ca_certificates: Option<String>,
    ca_crl: Option<NotServed>,
    /// A Secret in the namespace of the gateway proxy.
    pub credential_name: Option<String>,
    credential_names: Option<NotServed>,
    ca_cert_credential_name: Option<NotServed>,
    tls_certificates: Option<NotServed>,
    pub subject_alt_names: Vec<String>,
    verify_certificate_spki: Option<NotServed>,
    verify_certificate_hash: Option<NotServed>,
    pub min_protocol_version: Option<TlsVersion>,
    pub max_protocol_version: Option<TlsVersion>,
    cipher_suites: Option<Ignored>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsMode {
    Passthrough,
    Simple,
    Mutual,
    AutoPassthrough,
    IstioMutual,
    OptionalMutual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "TLS_AUTO")]
    Auto,
    #[serde(rename = "TLSV1_0")]
    V1_0,
    #[serde(rename = "TLSV1_1")]
    V1_1,
    #[serde(rename = "TLSV1_2")]
    V1_2,
    #[serde(rename = "TLSV1_3")]
    V1_3,
}
