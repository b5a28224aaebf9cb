//! core/v1 Node: only its labels say something (where its endpoints are).

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<IgnoredAny>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<IgnoredAny>,
    #[serde(rename = "providerID")]
    provider_id: Option<IgnoredAny>,
    unschedulable: Option<IgnoredAny>,
    taints: Option<IgnoredAny>,
    config_source: Option<IgnoredAny>,
    #[serde(rename = "externalID")]
    external_id: Option<IgnoredAny>,
}
