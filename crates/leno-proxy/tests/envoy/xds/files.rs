//! Sources that are files of a directory, or a control plane, and a proxy that follows them.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use leno_testkit::{Plane, eventually, free_address};
use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::script::{Script, socket};
use crate::envoy::ask;

const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

pub(crate) struct Files {
    directory: TempDir,
    turn: Cell<u32>,
    pub(crate) admin: SocketAddr,
    pub(crate) plane: Plane,
    schema: Schema,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            turn: Cell::new(0),
            admin: free_address(),
            plane: Plane::start(),
            schema: Schema::load(),
        }
    }

    /// `envoy.config.core.v3.ConfigSource`
    pub(crate) fn source(&self, name: &str) -> Value {
        let path = self.directory.path().join(format!("{name}.yaml"));
        json!({"path_config_source": {"path": path}, "resource_api_version": "V3"})
    }

    /// From now on this is in the file of that source.
    pub(crate) fn put(&self, name: &str, version: &str, type_name: &str, resources: &[Value]) {
        let url = format!("type.googleapis.com/{type_name}");
        let typed = resources.iter().map(|resource| {
            let mut resource = resource.clone();
            resource["@type"] = json!(url);
            resource
        });
        let text = json!({"version_info": version, "resources": typed.collect::<Vec<_>>()}).to_string();
        self.turn.set(self.turn.get() + 1);
        let next = self.directory.path().join(self.turn.get().to_string());
        fs::write(&next, text).unwrap();
        fs::rename(next, self.directory.path().join(format!("{name}.yaml"))).unwrap();
    }

    /// The control plane as a source, in this protocol.
    pub(crate) fn stream(&self, protocol: &str) -> Value {
        json!({"api_config_source": Script::api(protocol), "resource_api_version": "V3"})
    }

    /// The control plane as a cluster.
    pub(crate) fn cluster(&self) -> Value {
        Script::plane(self.plane.address)
    }

    /// From now on the control plane has these of that type, by their names.
    pub(crate) fn say(&self, version: &str, type_name: &str, resources: &[Value]) {
        let each = resources.iter().map(|resource| {
            let any = self.schema.any_from_text(&resource.to_string(), type_name);
            let name = resource["name"].as_str().or(resource["cluster_name"].as_str());
            (name.unwrap(), any.unwrap())
        });
        let url = format!("type.googleapis.com/{type_name}");
        self.plane.set(&url, version, each.collect());
    }

    /// A listener with a connection manager that has these fields, and these filters before the router.
    pub(crate) fn listener(name: &str, port: SocketAddr, mut manager: Value, filters: &[Value]) -> Value {
        let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
        let mut filters = filters.to_vec();
        filters.push(json!({"name": "router", "typed_config": router}));
        manager["@type"] = json!(MANAGER);
        manager["stat_prefix"] = json!(name);
        manager["http_filters"] = json!(filters);
        let filter = json!({"name": "manager", "typed_config": manager});
        json!({"name": name, "address": socket(port), "filter_chains": [{"filters": [filter]}]})
    }

    /// With an admin port, and what the case has besides.
    pub(crate) fn bootstrap(&self, mut fields: Value) -> Bootstrap {
        fields["node"] = json!({"id": "edge", "cluster": "edges"});
        fields["admin"] = json!({"address": socket(self.admin)});
        self.schema.from_text(&fields.to_string()).unwrap()
    }

    /// Waits until the admin port's answer is as wanted.
    #[track_caller]
    pub(crate) fn says(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        eventually(&format!("{path} says it"), || {
            let body = ask(&self.admin.to_string(), path)?;
            if wanted(&body) { Ok(body) } else { Err(body) }
        })
    }

    /// The config dump's part of this field, without times and ports.
    #[track_caller]
    pub(crate) fn dumped(&self, resource: &str, wanted: impl Fn(&str) -> bool) -> String {
        let body = self.says(&format!("/config_dump?resource={resource}"), wanted);
        let mut json: Value = serde_json::from_str(&body).unwrap();
        comparable(&mut json);
        let text = serde_json::to_string_pretty(&json).unwrap();
        format!("# {resource}\n{}\n", self.comparable(&text))
    }

    /// Without what differs from run to run.
    pub(crate) fn comparable(&self, text: &str) -> String {
        let directory = self.directory.path().to_str().unwrap();
        let ports = Regex::new(r#""port_value": ?\d+"#).unwrap();
        let text = text.replace(directory, "DIRECTORY");
        ports.replace_all(&text, "\"port_value\": 0").into_owned()
    }
}

/// Without times and words, and without what leno says besides.
pub(crate) fn comparable(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            assert_ne!(fields.remove("client_status"), Some("UNKNOWN".into()));
            if let Some(Value::Object(error)) = fields.get_mut("error_state") {
                error.remove("version_info");
            }
            // As it was written, or as bytes.
            if let Some(Value::Object(trust)) = fields.get_mut("trusted_ca") {
                trust.clear();
            }
            for (name, value) in fields.iter_mut() {
                let one_of_many =
                    |item: &Value| item["@type"].as_str().is_some_and(|kind| kind.contains("Dump."));
                if let Value::Array(items) = value
                    && (name.starts_with("dynamic_") || items.iter().all(one_of_many))
                {
                    // In no order of Envoy's; of a bad listener it has another that names nobody.
                    items.retain(|item| item.get("error_state").is_none() || item.get("name").is_some());
                    // Who shares them has them once in Envoy.
                    items.retain(|item| item["name"] != "others");
                    items.sort_by_key(|item| {
                        format!("{}{}{}", item["name"], item["cluster"], item["ecds_filter"])
                    });
                }
                match name.as_str() {
                    "last_updated" | "last_update_attempt" => *value = "TIME".into(),
                    "details" => *value = "WHY".into(),
                    _ => comparable(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(comparable),
        _ => {}
    }
}
