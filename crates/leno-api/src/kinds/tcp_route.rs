//! gateway.networking.k8s.io TCPRoute, v1 and v1alpha2.

use serde::Deserialize;

use super::http_route::{ObjectRef, ParentRef};
use crate::decode::Ignored;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRouteSpec {
    pub parent_refs: Vec<ParentRef>,
    pub rules: Vec<TcpRule>,
    use_default_gateways: Option<Ignored>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRule {
    pub name: Option<String>,
    pub backend_refs: Vec<TcpBackendRef>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpBackendRef {
    pub group: Option<String>,
    pub kind: Option<String>,
    pub namespace: Option<String>,
    pub name: String,
    pub port: Option<i64>,
    /// Not said: 1.
    pub weight: Option<i64>,
}

impl TcpBackendRef {
    pub fn object(&self) -> ObjectRef {
        ObjectRef {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port: self.port,
        }
    }
}
