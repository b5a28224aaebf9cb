//! core/v1 Secret, as far as it holds a gateway's certificate.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::base64;

/// Fields of the object itself, not of a `spec`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretSpec {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// In base64.
    pub data: BTreeMap<String, String>,
    /// As it is; goes before `data`.
    pub string_data: BTreeMap<String, String>,
    immutable: Option<IgnoredAny>,
}

impl SecretSpec {
    /// What is stored under the first of these keys that there is; None also if it is not base64.
    pub fn value(&self, keys: &[&str]) -> Option<Vec<u8>> {
        keys.iter().find_map(|key| match self.string_data.get(*key) {
            Some(text) => Some(text.clone().into_bytes()),
            None => base64::decode(self.data.get(*key)?),
        })
    }
}

/// Only the names of what it holds.
impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.data.keys().chain(self.string_data.keys()).collect();
        f.debug_struct("SecretSpec")
            .field("kind", &self.kind)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}
