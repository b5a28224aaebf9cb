//! networking.istio.io ProxyConfig: how the proxies of some workloads are started.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::peer_authentication::Selector;
use crate::decode::Ignored;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfigSpec {
    pub selector: Option<Selector>,
    pub concurrency: Option<i64>,
    pub environment_variables: BTreeMap<String, String>,
    image: Option<Ignored>,
}
