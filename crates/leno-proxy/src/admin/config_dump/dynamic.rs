//! What has come from elsewhere, in a config dump. Of each resource that is in force, on its way, or refused it says which;
//! Envoy says that of listeners alone.

use leno_proto::ToAny;
use leno_proto::envoy::admin::v3 as admin;
use leno_proto::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use leno_proto::google::protobuf::{Any, Timestamp};
use prost::Message;

use super::{Shown, managers, timestamp};
use crate::discovery::{Dump, Dumped, Refusal, Version};
use crate::resources::Kind;

use http::http_connection_manager::RouteSpecifier;
use http::scoped_routes::ConfigSpecifier;

pub(super) struct Dynamic<'d> {
    pub(super) known: &'d Dump,
    pub(super) shown: &'d Shown,
}

impl Dynamic<'_> {
    /// Whether the cluster has come from elsewhere.
    pub(super) fn has(&self, cluster: &str) -> bool {
        let mut clusters = self.of(Kind::Cluster);
        clusters.any(|dumped| dumped.name.1 == cluster)
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Dumped> {
        let resources = self.known.resources.iter();
        resources
            .filter(move |dumped| dumped.name.0 == kind && !dumped.fixed && self.shown.has(&dumped.name.1))
    }

    fn version(&self, kind: Kind) -> String {
        self.known.versions.get(&kind).cloned().unwrap_or_default()
    }

    pub(super) fn clusters(&self, mut dump: admin::ClustersConfigDump) -> admin::ClustersConfigDump {
        use admin::clusters_config_dump::DynamicCluster;
        dump.version_info = self.version(Kind::Cluster);
        for dumped in self.of(Kind::Cluster) {
            let cluster = |version: &Version| DynamicCluster {
                version_info: version.version.clone(),
                cluster: Some(any(Kind::Cluster, version)),
                last_updated: timestamp(version.updated),
                error_state: error_state(dumped),
                client_status: status(dumped),
            };
            dump.dynamic_active_clusters
                .extend(dumped.active.as_ref().map(cluster));
            dump.dynamic_warming_clusters
                .extend(dumped.warming.as_ref().map(cluster));
            if dumped.active.is_none() && dumped.warming.is_none() && dumped.rejected.is_some() {
                dump.dynamic_warming_clusters.push(DynamicCluster {
                    error_state: error_state(dumped),
                    client_status: status(dumped),
                    ..Default::default()
                });
            }
        }
        dump
    }

    pub(super) fn listeners(&self, mut dump: admin::ListenersConfigDump) -> admin::ListenersConfigDump {
        use admin::listeners_config_dump::{DynamicListener, DynamicListenerState};
        dump.version_info = self.version(Kind::Listener);
        let state = |version: &Version| DynamicListenerState {
            version_info: version.version.clone(),
            listener: Some(any(Kind::Listener, version)),
            last_updated: timestamp(version.updated),
        };
        let each = self.of(Kind::Listener).map(|dumped| DynamicListener {
            name: dumped.name.1.clone(),
            active_state: dumped.active.as_ref().map(state),
            warming_state: dumped.warming.as_ref().map(state),
            draining_state: dumped.draining.as_ref().map(state),
            error_state: error_state(dumped),
            client_status: status(dumped),
        });
        dump.dynamic_listeners = each.collect();
        dump
    }

    pub(super) fn routes(&self, mut dump: admin::RoutesConfigDump) -> admin::RoutesConfigDump {
        use admin::routes_config_dump::DynamicRouteConfig;
        for dumped in self.of(Kind::Route) {
            let newest = newest(dumped);
            if newest.is_none() && dumped.rejected.is_none() {
                continue;
            }
            dump.dynamic_route_configs.push(DynamicRouteConfig {
                version_info: newest.map(|version| version.version.clone()).unwrap_or_default(),
                route_config: newest.map(|version| any(Kind::Route, version)),
                last_updated: newest.and_then(|version| timestamp(version.updated)),
                error_state: error_state(dumped),
                client_status: status(dumped),
            });
        }
        dump
    }

    /// None: no filter's configuration comes by itself.
    pub(super) fn extensions(&self) -> Option<admin::EcdsConfigDump> {
        use admin::ecds_config_dump::EcdsFilterConfig;
        let mut dump = admin::EcdsConfigDump::default();
        for dumped in self.of(Kind::Extension) {
            let newest = newest(dumped);
            if newest.is_none() && dumped.rejected.is_none() {
                continue;
            }
            dump.ecds_filters.push(EcdsFilterConfig {
                version_info: newest.map(|version| version.version.clone()).unwrap_or_default(),
                ecds_filter: newest.map(|version| any(Kind::Extension, version)),
                last_updated: newest.and_then(|version| timestamp(version.updated)),
                error_state: error_state(dumped),
                client_status: status(dumped),
            });
        }
        (!dump.ecds_filters.is_empty()).then_some(dump)
    }

    /// By connection manager: those of the bootstrap's listeners, and of those that have come from elsewhere.
    pub(super) fn scopes(
        &self,
        resources: &StaticResources,
        since: Option<Timestamp>,
    ) -> admin::ScopedRoutesConfigDump {
        let mut dump = admin::ScopedRoutesConfigDump::default();
        for listener in &resources.listeners {
            self.scopes_of(listener, since, &mut dump);
        }
        let come = self.known.resources.iter();
        let come = come.filter(|dumped| dumped.name.0 == Kind::Listener && !dumped.fixed);
        for version in come.filter_map(|dumped| dumped.active.as_ref()) {
            if let Ok(listener) = Listener::decode(version.body.as_ref()) {
                self.scopes_of(&listener, timestamp(version.updated), &mut dump);
            }
        }
        dump
    }

    fn scopes_of(
        &self,
        listener: &Listener,
        since: Option<Timestamp>,
        dump: &mut admin::ScopedRoutesConfigDump,
    ) {
        use admin::scoped_routes_config_dump::{DynamicScopedRouteConfigs, InlineScopedRouteConfigs};
        let managers = managers(listener).into_iter();
        let scoped = managers.filter_map(|manager| match manager.route_specifier {
            Some(RouteSpecifier::ScopedRoutes(scoped)) => Some(scoped),
            _ => None,
        });
        for scoped in scoped {
            if let Some(ConfigSpecifier::ScopedRouteConfigurationsList(list)) = &scoped.config_specifier {
                let scopes = list.scoped_route_configurations.iter();
                dump.inline_scoped_route_configs.push(InlineScopedRouteConfigs {
                    name: scoped.name,
                    scoped_route_configs: scopes.map(ToAny::to_any).collect(),
                    last_updated: since,
                });
                continue;
            }
            let scopes = self.known.resources.iter();
            let scopes = scopes.filter(|dumped| dumped.name.0 == Kind::Scope);
            let (mut configs, mut updated) = (Vec::new(), None);
            let scopes = scopes.filter(|dumped| self.shown.has(&dumped.name.1));
            for version in scopes.filter_map(newest) {
                configs.push(any(Kind::Scope, version));
                updated = updated.max(Some(version.updated));
            }
            if !configs.is_empty() {
                dump.dynamic_scoped_route_configs.push(DynamicScopedRouteConfigs {
                    name: scoped.name,
                    version_info: self.version(Kind::Scope),
                    scoped_route_configs: configs,
                    last_updated: updated.and_then(timestamp),
                    ..Default::default()
                });
            }
        }
    }

    /// A secret that was asked for and has not come is warming, as in Envoy.
    pub(super) fn secrets(&self, mut dump: admin::SecretsConfigDump) -> admin::SecretsConfigDump {
        use admin::secrets_config_dump::DynamicSecret;
        for dumped in self.of(Kind::Secret) {
            let secret = |version: &Version| DynamicSecret {
                name: dumped.name.1.clone(),
                version_info: version.version.clone(),
                last_updated: timestamp(version.updated),
                secret: Some(any(Kind::Secret, version)),
                error_state: error_state(dumped),
                client_status: status(dumped),
            };
            match newest(dumped) {
                Some(version) => dump.dynamic_active_secrets.push(secret(version)),
                None => dump.dynamic_warming_secrets.push(DynamicSecret {
                    name: dumped.name.1.clone(),
                    version_info: UNINITIALIZED.to_owned(),
                    last_updated: dumped.requested.and_then(timestamp),
                    secret: Some(
                        Secret {
                            name: dumped.name.1.clone(),
                            r#type: None,
                        }
                        .to_any(),
                    ),
                    error_state: error_state(dumped),
                    client_status: status(dumped),
                }),
            }
        }
        dump
    }
}

/// Envoy's version of a secret that has not come.
const UNINITIALIZED: &str = "uninitialized";

/// What serves, else what is to serve.
pub(in crate::admin) fn newest(dumped: &Dumped) -> Option<&Version> {
    dumped.active.as_ref().or(dumped.warming.as_ref())
}

pub(in crate::admin) fn any(kind: Kind, version: &Version) -> Any {
    Any {
        type_url: kind.type_url().to_owned(),
        value: version.body.to_vec(),
    }
}

/// Why the newest version is not taken.
pub(in crate::admin) fn error_state(dumped: &Dumped) -> Option<admin::UpdateFailureState> {
    let Refusal {
        why,
        version,
        body,
        tried,
    } = dumped.rejected.as_ref()?;
    Some(admin::UpdateFailureState {
        failed_configuration: Some(Any {
            type_url: dumped.name.0.type_url().to_owned(),
            value: body.to_vec(),
        }),
        last_update_attempt: timestamp(*tried),
        details: why.clone(),
        version_info: version.clone(),
    })
}

pub(in crate::admin) fn status(dumped: &Dumped) -> i32 {
    use admin::ClientResourceStatus as Status;
    let status = match dumped {
        Dumped {
            rejected: Some(_), ..
        } => Status::Nacked,
        Dumped { absent: true, .. } => Status::DoesNotExist,
        Dumped {
            active: None,
            warming: None,
            ..
        } => Status::Requested,
        _ => Status::Acked,
    };
    status.into()
}
