//! What Rust calls the messages.

use std::collections::BTreeMap;

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_reflect::{DescriptorPool, MessageDescriptor};

/// Full names of messages by their paths in Rust: `envoy::config::cluster::v3::cluster::CommonLbConfig`.
pub struct Names(BTreeMap<String, String>);

impl Names {
    pub fn of(pool: &DescriptorPool) -> Self {
        let messages = pool.all_messages();
        Self(
            messages
                .map(|message| (path(&message), message.full_name().to_owned()))
                .collect(),
        )
    }

    /// `path` as code resolves it, from any crate.
    pub fn message(&self, path: &[String]) -> Option<&str> {
        let from = path
            .iter()
            .position(|part| matches!(part.as_str(), "envoy" | "google" | "udpa" | "xds"))?;
        self.0.get(&path[from..].join("::")).map(String::as_str)
    }
}

fn path(message: &MessageDescriptor) -> String {
    let mut parts = vec![message.name().to_upper_camel_case()];
    let mut inner = message.clone();
    while let Some(outer) = inner.parent_message() {
        parts.push(outer.name().to_snake_case());
        inner = outer;
    }
    parts.extend(message.package_name().split('.').rev().map(str::to_owned));
    parts.reverse();
    parts.join("::")
}
