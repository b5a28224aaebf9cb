//! extensions.istio.io WasmPlugin: known, so that what is wrong with one is said; leno runs no WebAssembly.

use serde::Deserialize;
use serde_json::Value;

use super::authorization_policy::TargetRef;
use super::peer_authentication::Selector;
use super::telemetry::WorkloadMode;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WasmPluginSpec {
    pub selector: Option<Selector>,
    pub target_ref: Option<TargetRef>,
    pub target_refs: Vec<TargetRef>,
    pub url: Option<String>,
    pub sha256: String,
    pub image_pull_policy: PullPolicy,
    pub image_pull_secret: Option<String>,
    pub verification_key: String,
    pub plugin_config: Option<Value>,
    pub plugin_name: Option<String>,
    pub phase: PluginPhase,
    pub fail_strategy: FailStrategy,
    pub priority: Option<i64>,
    pub vm_config: VmConfig,
    pub r#match: Vec<TrafficSelector>,
    pub r#type: PluginType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum PullPolicy {
    #[default]
    #[serde(rename = "UNSPECIFIED_POLICY")]
    Unspecified,
    IfNotPresent,
    Always,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginPhase {
    #[default]
    UnspecifiedPhase,
    Authn,
    Authz,
    Stats,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailStrategy {
    #[default]
    FailClose,
    FailOpen,
    FailReload,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginType {
    #[default]
    UnspecifiedPluginType,
    Http,
    Network,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VmConfig {
    pub env: Vec<EnvVar>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    pub name: String,
    pub value_from: ValueSource,
    pub value: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueSource {
    #[default]
    Inline,
    Host,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficSelector {
    pub mode: WorkloadMode,
    pub ports: Vec<TrafficPort>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPort {
    pub number: Option<u32>,
}
