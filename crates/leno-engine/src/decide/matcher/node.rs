//! Whether a proxy is meant.

use leno_proto::envoy::config::core::v3::Node;

use crate::compile::matcher::node::{NodeMatcher, NodeMatchers};
use crate::compile::metadata::{self, Value};

impl NodeMatchers {
    pub fn matches(&self, node: &Node) -> bool {
        self.0.is_empty() || self.0.iter().any(|one| one.matches(node))
    }
}

impl NodeMatcher {
    fn matches(&self, node: &Node) -> bool {
        let metadata = node.metadata.as_ref().map(metadata::fields);
        let metadata = Value::Fields(metadata.unwrap_or_default());
        let id = self.id.as_ref();
        id.is_none_or(|id| id.matches(node.id.as_bytes()))
            && self.metadata.iter().all(|(path, wanted)| {
                let found = metadata.at(path);
                found.is_some_and(|found| wanted.matches(found))
            })
    }
}
