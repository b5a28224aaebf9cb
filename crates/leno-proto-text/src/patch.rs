//! A message as a change to another one of its type: what an EnvoyFilter says.
//!
//! A [`Patch`] is made once, with the schema at hand ([`Schema::patch`]); from then on it is applied to encoded
//! messages without any: it knows by number which fields are lists, which exclude each other, which are messages, and
//! what an `Any` holds. The schema's memory is given back in between.
//!
//! It merges as protobuf does, and as Istio does where that differs:
//!
//! - a scalar, an enumeration, bytes: the patch's, where it has one;
//! - a list: the patch's items behind those that are there, or in their place ([`Lists`]);
//! - a mapping: by key, the patch's value whole;
//! - a message: field by field; but a `Duration`, a `Timestamp` or a wrapper such as `UInt32Value` is one value;
//! - an `Any` of the same type: what is in it, merged; of another type: the patch's;
//! - of fields that exclude each other: the patch's.

mod edits;
mod wire;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;

use crate::error::Error;
use crate::schema::Schema;
use edits::Edits;

/// Cheap to clone. Two are equal if they were written alike.
#[derive(Clone)]
pub struct Patch {
    /// Type and text, which are all that it was made of: what is encoded has mappings in no fixed order.
    text: Arc<str>,
    edits: Arc<Edits>,
}

/// What becomes of a list that both sides have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lists {
    Append,
    Replace,
}

impl Schema {
    /// Reads a message of this type as a patch. A `TypedStruct` of a type that the schema knows is that type.
    pub fn patch(&self, mut value: Value, full_name: &str) -> Result<Patch, Error> {
        edits::resolve_typed_structs(&mut value, &|name| {
            self.descriptors().get_message_by_name(name).is_some()
        });
        let text = value.to_string();
        let message = self.dynamic_from_text(&text, full_name)?;
        Ok(Patch {
            text: format!("{full_name} {text}").into(),
            edits: Arc::new(Edits::of(&message, self.descriptors())),
        })
    }
}

impl Patch {
    /// The patch as a message of its own, encoded.
    pub fn message(&self) -> Vec<u8> {
        self.edits.message()
    }

    /// An encoded message, changed. None: it is no message.
    pub fn apply(&self, target: &[u8], lists: Lists) -> Option<Vec<u8>> {
        self.edits.apply(target, lists)
    }

    /// What is said of a field that is a message.
    pub fn part(&self, number: u32) -> Option<Patch> {
        let part = self.edits.part(number)?;
        Some(Patch {
            text: format!("{}#{number}", self.text).into(),
            edits: Arc::new(part),
        })
    }

    /// All but what is said of a field.
    pub fn without(&self, number: u32) -> Patch {
        Patch {
            text: format!("{}-{number}", self.text).into(),
            edits: Arc::new(self.edits.without(number)),
        }
    }
}

impl PartialEq for Patch {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Patch {}

impl Hash for Patch {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl std::fmt::Debug for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Patch").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use leno_proto::envoy::config::cluster::v3::Cluster;
    use leno_proto::envoy::config::listener::v3::{Filter, filter};
    use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
    use leno_proto::{FromAny, ToAny};
    use prost::{Message, Name};
    use serde_json::json;

    use super::*;

    fn merged<M: Message + Name + Default>(target: serde_json::Value, patch: serde_json::Value) -> M {
        merged_with(target, patch, Lists::Append)
    }

    fn merged_with<M: Message + Name + Default>(
        target: serde_json::Value,
        patch: serde_json::Value,
        lists: Lists,
    ) -> M {
        let schema = Schema::load();
        let target: M = schema.from_text(&target.to_string()).unwrap();
        let patch = schema.patch(patch, &M::full_name()).unwrap();
        let bytes = patch.apply(&target.encode_to_vec(), lists).unwrap();
        M::decode(bytes.as_slice()).unwrap()
    }

    #[test]
    fn fields_that_are_not_named_stay() {
        let cluster: Cluster = merged(
            json!({"name": "a", "connect_timeout": "1s", "circuit_breakers": {"thresholds": [{"max_requests": 1}]}}),
            json!({"connect_timeout": "0.25s", "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 7}}}),
        );
        assert_eq!(cluster.name, "a");
        let timeout = cluster.connect_timeout.unwrap();
        assert_eq!(
            (timeout.seconds, timeout.nanos),
            (0, 250_000_000),
            "a duration is one value"
        );
        assert_eq!(cluster.circuit_breakers.unwrap().thresholds.len(), 1);
        let keepalive = cluster
            .upstream_connection_options
            .unwrap()
            .tcp_keepalive
            .unwrap();
        assert_eq!(keepalive.keepalive_time.unwrap().value, 7);
    }

    #[test]
    fn a_list_grows_or_is_replaced() {
        let target = json!({"name": "a", "circuit_breakers": {"thresholds": [{"priority": "HIGH"}]}});
        let patch = json!({"circuit_breakers": {"thresholds": [{"max_requests": 1}]}});
        let count = |lists| {
            let cluster: Cluster = merged_with(target.clone(), patch.clone(), lists);
            cluster.circuit_breakers.unwrap().thresholds.len()
        };
        assert_eq!((count(Lists::Append), count(Lists::Replace)), (2, 1));
    }

    #[test]
    fn a_mapping_is_merged_by_key() {
        let labels = |value| json!({"metadata": {"filter_metadata": value}});
        let cluster: Cluster = merged(
            labels(json!({"a": {"x": 1}, "b": {"x": 1}})),
            labels(json!({"b": {"y": 2}, "c": {}})),
        );
        let metadata = cluster.metadata.unwrap().filter_metadata;
        let mut keys: Vec<_> = metadata.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["a", "b", "c"]);
        assert!(
            !metadata["b"].fields.contains_key("x"),
            "a key's value is taken whole"
        );
    }

    #[test]
    fn the_patchs_choice_of_several_holds() {
        let cluster: Cluster = merged(
            json!({"name": "a", "type": "EDS"}),
            json!({"cluster_type": {"name": "custom"}}),
        );
        use leno_proto::envoy::config::cluster::v3::cluster::ClusterDiscoveryType;
        assert!(matches!(
            cluster.cluster_discovery_type,
            Some(ClusterDiscoveryType::ClusterType(_))
        ));
    }

    #[test]
    fn what_is_in_an_any_of_the_same_type_is_merged() {
        let hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let filter = |config: serde_json::Value| json!({"name": "hcm", "typed_config": config});
        let merged: Filter = merged(
            filter(json!({"@type": hcm, "stat_prefix": "a", "merge_slashes": true})),
            json!({"typed_config": {"@type": hcm, "common_http_protocol_options": {"idle_timeout": "5s"}}}),
        );
        let Some(filter::ConfigType::TypedConfig(config)) = merged.config_type else {
            panic!("no typed_config");
        };
        let manager: HttpConnectionManager = config.unpack().unwrap();
        assert_eq!((manager.stat_prefix.as_str(), manager.merge_slashes), ("a", true));
        let idle = manager
            .common_http_protocol_options
            .unwrap()
            .idle_timeout
            .unwrap();
        assert_eq!(idle.seconds, 5);
    }

    #[test]
    fn an_any_of_another_type_takes_its_place() {
        let any = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.http.{name}");
        let filter = |config: String| json!({"name": "f", "typed_config": {"@type": config}});
        let merged: Filter = merged(filter(any("router.v3.Router")), filter(any("cors.v3.Cors")));
        let Some(filter::ConfigType::TypedConfig(config)) = merged.config_type else {
            panic!("no typed_config");
        };
        assert_eq!(config.type_url, any("cors.v3.Cors"));
    }

    #[test]
    fn a_typed_struct_of_a_known_type_is_that_type() {
        use leno_proto::envoy::extensions::filters::http::router::v3::Router;
        let patch = json!({"name": "r", "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "value": {"suppress_envoy_headers": true},
        }});
        let patch = Schema::load().patch(patch, &Filter::full_name()).unwrap();
        let filter = Filter::decode(patch.message().as_slice()).unwrap();
        let router = Router {
            suppress_envoy_headers: true,
            ..Default::default()
        };
        assert_eq!(
            filter.config_type,
            Some(filter::ConfigType::TypedConfig(router.to_any()))
        );
    }

    #[test]
    fn an_empty_message_is_there() {
        let cluster: Cluster = merged(json!({"name": "a"}), json!({"lrs_server": {"self": {}}}));
        assert!(cluster.lrs_server.unwrap().config_source_specifier.is_some());
    }

    #[test]
    fn what_does_not_exist_is_named_with_its_path() {
        let error = Schema::load()
            .patch(json!({"lrs_server": {"selfish": {}}}), &Cluster::full_name())
            .unwrap_err();
        let Error::Field { path, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(path, "lrs_server.selfish");
    }

    #[test]
    fn what_is_no_message_is_left_alone() {
        let patch = Schema::load()
            .patch(json!({"name": "b"}), &Cluster::full_name())
            .unwrap();
        assert_eq!(patch.apply(&[0x0a, 0x7f], Lists::Append), None);
    }

    #[test]
    fn a_part_can_be_taken_out() {
        let schema = Schema::load();
        let all = json!({"name": "a", "transport_socket": {"name": "tls"}});
        let patch = schema.patch(all, &Cluster::full_name()).unwrap();
        assert!(patch.part(24).is_some());
        let rest = Cluster::decode(patch.without(24).message().as_slice()).unwrap();
        assert_eq!((rest.name.as_str(), rest.transport_socket), ("a", None));
    }
}
