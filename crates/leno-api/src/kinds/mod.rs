//! One file a kind: the fields as their API has them, and nothing of their meaning.
//!
//! A field of type [`NotServed`](crate::decode::NotServed) is one that leno refuses by name, one of type
//! [`Ignored`](crate::decode::Ignored) is accepted with a warning. Fields that are not listed are unknown.

pub mod destination_rule;
pub mod gateway;
pub mod gateway_api;
pub mod http_route;
pub mod mesh_config;
pub mod namespace;
pub mod peer_authentication;
pub mod secret;
pub mod service;
pub mod service_entry;
pub mod tcp_route;
pub mod virtual_service;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub type Labels = BTreeMap<String, String>;

/// Every object's outer form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope<S> {
    #[allow(
        dead_code,
        reason = "named so that they are known fields; the kind was chosen by them before"
    )]
    pub(crate) api_version: Option<IgnoredAny>,
    #[allow(dead_code, reason = "as above")]
    pub(crate) kind: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) spec: Option<S>,
    #[allow(dead_code, reason = "written by controllers, not by users")]
    status: Option<IgnoredAny>,
}

/// `metadata` as Kubernetes has it; only name, namespace and labels mean something here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Labels,
    annotations: BTreeMap<String, IgnoredAny>,
    creation_timestamp: Option<IgnoredAny>,
    deletion_timestamp: Option<IgnoredAny>,
    deletion_grace_period_seconds: Option<IgnoredAny>,
    finalizers: Option<IgnoredAny>,
    generate_name: Option<IgnoredAny>,
    generation: Option<IgnoredAny>,
    managed_fields: Option<IgnoredAny>,
    owner_references: Option<IgnoredAny>,
    resource_version: Option<IgnoredAny>,
    self_link: Option<IgnoredAny>,
    uid: Option<IgnoredAny>,
}
