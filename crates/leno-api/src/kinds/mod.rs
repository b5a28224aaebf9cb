//! One file a kind: the fields as their API has them, and nothing of their meaning.
//!
//! A field of type [`NotServed`](crate::decode::NotServed) is one that leno refuses by name, one of type
//! [`Ignored`](crate::decode::Ignored) is accepted with a warning. Fields that are not listed are unknown.

pub mod authorization_policy;
pub mod destination_rule;
pub mod endpoint_slice;
pub mod envoy_filter;
pub mod gateway;
pub mod gateway_api;
pub mod http_route;
pub mod ingress;
pub mod mesh_config;
pub mod namespace;
pub mod node;
pub mod peer_authentication;
pub mod proxy_config;
pub mod request_authentication;
pub mod secret;
pub mod service;
pub mod service_entry;
pub mod sidecar;
pub mod tcp_route;
pub mod telemetry;
pub mod telemetry_provider;
pub mod virtual_service;
pub mod wasm_plugin;
pub mod workload_group;

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

/// `metadata` as Kubernetes has it; only name, namespace, labels and Istio's annotations mean something here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, Annotation>,
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

/// None: not a text, which an API server would refuse.
#[derive(Debug)]
pub(crate) struct Annotation(pub(crate) Option<String>);

impl<'de> Deserialize<'de> for Annotation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnnotationVisitor)
    }
}

struct AnnotationVisitor;

impl<'de> serde::de::Visitor<'de> for AnnotationVisitor {
    type Value = Annotation;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Annotation, E> {
        Ok(Annotation(Some(text.to_owned())))
    }

    /// Without quotes it is meant all the same.
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Annotation, E> {
        Ok(Annotation(Some(value.to_string())))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Annotation, E> {
        Ok(Annotation(None))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Annotation, E> {
        Ok(Annotation(None))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Annotation, E> {
        Ok(Annotation(None))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Annotation, E> {
        Ok(Annotation(None))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Annotation, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Annotation(None))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Annotation, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Annotation(None))
    }
}
