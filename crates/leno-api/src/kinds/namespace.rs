//! core/v1 Namespace: only its labels say something (a Gateway may allow routes by them).

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSpec {
    finalizers: Option<IgnoredAny>,
}
