//! `/config_dump`: `envoy.admin.v3.ConfigDump`, made of the messages as they came.

pub(super) mod dynamic;

use std::time::{SystemTime, UNIX_EPOCH};

use leno_proto::envoy::admin::v3 as admin;
use leno_proto::envoy::config::bootstrap::v3 as bootstrap;
use leno_proto::envoy::config::listener::v3 as listener;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use leno_proto::google::protobuf::Timestamp;
use leno_proto::{FromAny, ToAny};
use prost::Message;
use regex::Regex;

use self::dynamic::Dynamic;
use super::endpoints;
use crate::discovery::Dump;
use crate::state::Config;

/// What of the bootstrap is shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) name: Option<Regex>,
    pub(super) endpoints: bool,
}

/// In Envoy's order. `since`: when the configuration was taken.
pub(super) fn dump(
    message: &bootstrap::Bootstrap,
    config: &Config,
    since: SystemTime,
    shown: &Shown,
    known: &Dump,
) -> admin::ConfigDump {
    let empty = bootstrap::bootstrap::StaticResources::default();
    let resources = message.static_resources.as_ref().unwrap_or(&empty);
    let since = timestamp(since);
    let dynamic = Dynamic { known, shown };
    let mut configs = vec![
        admin::BootstrapConfigDump {
            bootstrap: Some(message.clone()),
            last_updated: since,
        }
        .to_any(),
        dynamic.clusters(clusters(resources, since, shown)).to_any(),
    ];
    configs.extend(dynamic.extensions().map(|dump| dump.to_any()));
    if shown.endpoints {
        configs.push(endpoints::dump(config, |name| shown.has(name), |name| dynamic.has(name)).to_any());
    }
    configs.extend([
        dynamic.listeners(listeners(resources, since, shown)).to_any(),
        dynamic.scopes(resources, since).to_any(),
        dynamic.routes(routes(resources, since, shown)).to_any(),
        dynamic.secrets(secrets(resources, shown)).to_any(),
    ]);
    admin::ConfigDump { configs }
}

pub(super) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    })
}

type Resources = bootstrap::bootstrap::StaticResources;

impl Shown {
    fn has(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|regex| regex.is_match(name))
    }
}

fn clusters(resources: &Resources, since: Option<Timestamp>, shown: &Shown) -> admin::ClustersConfigDump {
    let clusters = resources
        .clusters
        .iter()
        .filter(|cluster| shown.has(&cluster.name));
    let each = clusters.map(|cluster| admin::clusters_config_dump::StaticCluster {
        cluster: Some(cluster.to_any()),
        last_updated: since,
    });
    admin::ClustersConfigDump {
        static_clusters: each.collect(),
        ..Default::default()
    }
}

fn listeners(resources: &Resources, since: Option<Timestamp>, shown: &Shown) -> admin::ListenersConfigDump {
    let listeners = resources
        .listeners
        .iter()
        .filter(|listener| shown.has(&listener.name));
    let each = listeners.map(|listener| admin::listeners_config_dump::StaticListener {
        listener: Some(listener.to_any()),
        last_updated: since,
    });
    admin::ListenersConfigDump {
        static_listeners: each.collect(),
        ..Default::default()
    }
}

fn routes(resources: &Resources, since: Option<Timestamp>, shown: &Shown) -> admin::RoutesConfigDump {
    let tables = resources.listeners.iter().flat_map(tables);
    let tables = tables.filter(|table| shown.has(&table.name));
    let each = tables.map(|table| admin::routes_config_dump::StaticRouteConfig {
        route_config: Some(table.to_any()),
        last_updated: since,
    });
    admin::RoutesConfigDump {
        static_route_configs: each.collect(),
        ..Default::default()
    }
}

/// Routes that stand in the listener itself.
fn tables(message: &listener::Listener) -> Vec<RouteConfiguration> {
    use http::http_connection_manager::RouteSpecifier;
    let tables = managers(message).into_iter();
    let tables = tables.filter_map(|manager| match manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(table)) => Some(table),
        _ => None,
    });
    tables.collect()
}

fn managers(message: &listener::Listener) -> Vec<http::HttpConnectionManager> {
    let chains = message.filter_chains.iter().chain(&message.default_filter_chain);
    let filters = chains.flat_map(|chain| &chain.filters);
    let configs = filters.filter_map(|filter| match &filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(any)) => Some(any),
        _ => None,
    });
    configs.filter_map(|any| any.unpack().ok()).collect()
}

/// Whoever writes them down leaves out what is secret.
fn secrets(resources: &Resources, shown: &Shown) -> admin::SecretsConfigDump {
    let secrets = resources.secrets.iter().filter(|secret| shown.has(&secret.name));
    let each = secrets.map(|secret| admin::secrets_config_dump::StaticSecret {
        name: secret.name.clone(),
        last_updated: None,
        secret: Some(secret.to_any()),
    });
    admin::SecretsConfigDump {
        static_secrets: each.collect(),
        ..Default::default()
    }
}

/// The bootstrap as it came; it was decoded once already.
pub(super) fn decoded(encoded: &[u8]) -> bootstrap::Bootstrap {
    bootstrap::Bootstrap::decode(encoded).unwrap_or_default()
}
