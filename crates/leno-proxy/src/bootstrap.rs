//! Envoy's bootstrap, compiled whole or refused with the field's path: what is in it is put in force, what it says comes
//! from elsewhere is followed.

use std::sync::Arc;

use leno_engine::compile::config_source::{ControlPlane, Origin, Source};
use leno_engine::compile::runtime::From;
use leno_engine::compile::{Files, Rejection, Warnings, bootstrap, cluster};
use leno_proto::envoy::config::bootstrap::v3 as pb;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::Proxy;
use crate::discovery::{Discovery, Dump, Dynamic, Keeper, Mode, State, Text, Via};
use crate::load_report;
use crate::lookup::Question;
use crate::resources::{Compiled, Kind, Name, Needs, asks, needs, without_origin};
use crate::runtime::Layers;
use crate::secret;
use crate::state::{Refused, Updater};

/// What a bootstrap says, and what is to be told of it.
#[derive(Debug)]
pub struct Bootstrap {
    pub compiled: bootstrap::Bootstrap,
    pub warnings: Warnings,
}

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("bootstrap: {0}")]
    Rejected(Rejection),
    #[error("bootstrap: static_resources.secrets[{name:?}]: {why}")]
    Secret { name: String, why: String },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("bootstrap: {0}")]
    NoSource(String),
}

/// What comes from elsewhere is followed for as long as this is kept.
pub struct Following {
    pub state: watch::Receiver<State>,
    pub dumps: mpsc::Sender<oneshot::Sender<Dump>>,
    task: AbortHandle,
    reporting: Option<AbortHandle>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
        self.reporting.iter().for_each(AbortHandle::abort);
    }
}

// === impl Bootstrap ===

impl Bootstrap {
    /// `files` reads what data sources name.
    pub fn compile(message: &pb::Bootstrap, files: &dyn Files) -> Result<Self, BootstrapError> {
        let mut warnings = Warnings::default();
        let compiled = bootstrap::compile(message, files, &mut warnings);
        let bootstrap = Self {
            compiled: compiled.map_err(BootstrapError::Rejected)?,
            warnings,
        };
        bootstrap.check_sources().map_err(BootstrapError::NoSource)?;
        Ok(bootstrap)
    }

    /// What changes while it runs, as it is by now.
    pub fn layers(&self) -> Arc<Layers> {
        let bootstrap::Bootstrap {
            runtime,
            layers,
            node,
            ..
        } = &self.compiled;
        Arc::new(Layers::new(runtime.clone(), layers.clone(), node.cluster.clone()))
    }

    /// Whether all of it is in the file.
    pub fn is_static(&self) -> bool {
        let dynamic = self.compiled.dynamic != bootstrap::Dynamic::default();
        !dynamic && self.needs().is_empty() && self.asks().is_empty() && self.compiled.loads.is_none()
    }

    /// What its resources name that comes from elsewhere.
    fn needs(&self) -> Needs {
        let clusters = self.compiled.clusters.iter().cloned();
        let clusters = clusters.map(|cluster| Compiled::Cluster(Box::new(cluster)));
        let listeners = self.compiled.listeners.iter().cloned();
        let listeners = listeners.map(|listener| Compiled::Listener(Box::new(listener)));
        let mut all: Needs = clusters
            .chain(listeners)
            .flat_map(|resource| needs(&resource))
            .chain(self.discovered_layers())
            .collect();
        all.retain(|(kind, _), _| *kind != Kind::Cluster);
        all
    }

    /// Where clusters may be asked for while it serves.
    fn asks(&self) -> Vec<Source> {
        let listeners = self.compiled.listeners.iter().cloned();
        let listeners = listeners.map(|listener| Compiled::Listener(Box::new(listener)));
        listeners.flat_map(|listener| asks(&listener)).collect()
    }

    /// Layers of the runtime that come from elsewhere.
    fn discovered_layers(&self) -> Needs {
        let layers = self.compiled.layers.iter();
        let discovered = layers.filter_map(|layer| match &layer.from {
            From::Discovered(name, source) => Some(((Kind::Runtime, name.clone()), source.clone())),
            From::Static(_) | From::Disk(_) | From::Admin => None,
        });
        discovered.collect()
    }

    /// Everything comes from somewhere, and the way to each control plane is in the bootstrap itself.
    fn check_sources(&self) -> Result<(), String> {
        let needs = self.needs();
        let dynamic = &self.compiled.dynamic;
        let has = |origin: &Origin| *origin != Origin::Ads || dynamic.ads.is_some();
        if let Some(why) = without_origin(&needs, has) {
            return Err(why);
        }
        let roots = [
            ("lds_config", &dynamic.listeners),
            ("cds_config", &dynamic.clusters),
        ];
        for (field, source) in roots {
            if source.as_ref().is_some_and(|source| !has(&source.origin)) {
                return Err(format!("dynamic_resources.{field}.ads: there is no ads_config"));
            }
        }
        let asks = self.asks();
        if asks.iter().any(|source| !has(&source.origin)) {
            return Err("clusters are to be asked for by ads, and there is no ads_config".to_owned());
        }
        let sources = needs.values().chain(&dynamic.listeners).chain(&dynamic.clusters);
        let sources = sources.chain(&asks);
        let ways = sources.flat_map(|source| match &source.origin {
            Origin::Stream(control) => clusters_of(control),
            Origin::Rest(polled) => vec![polled.cluster.as_str()],
            Origin::Ads | Origin::File(_) => Vec::new(),
        });
        let streams = dynamic.ads.iter().chain(&self.compiled.loads);
        ways.chain(streams.flat_map(clusters_of))
            .try_for_each(|cluster| self.check_way(cluster))
    }

    fn check_way(&self, name: &str) -> Result<(), String> {
        let mut clusters = self.compiled.clusters.iter();
        let cluster = clusters.find(|cluster| cluster.name == name);
        match cluster.map(|cluster| &cluster.discovery) {
            None => Err(format!(
                "the control plane's cluster {name:?} is not in static_resources"
            )),
            Some(cluster::Discovery::Eds(_, source)) if !matches!(source.origin, Origin::File(_)) => Err(
                format!("the control plane's cluster {name:?} has its endpoints from a control plane"),
            ),
            Some(
                cluster::Discovery::Aggregate(_)
                | cluster::Discovery::DynamicForward(_)
                | cluster::Discovery::OriginalDst,
            ) => Err(format!(
                "the control plane's cluster {name:?} has no endpoints of its own"
            )),
            Some(_) => Ok(()),
        }
    }

    /// Puts it in force, and follows what comes from elsewhere. `text` reads what is YAML or JSON there, `keeper` has what
    /// came from there earlier, `questions` are those of the proxy's workers.
    pub fn follow(
        self,
        proxy: &Arc<Proxy>,
        questions: mpsc::UnboundedReceiver<Question>,
        text: Option<Text>,
        keeper: Option<Keeper>,
        random: fn() -> u32,
    ) -> Result<Following, BootstrapError> {
        proxy.updater().set_outlier_log(self.compiled.outlier_log.clone());
        proxy
            .updater()
            .set_defaults(self.compiled.bind.clone(), self.compiled.resolver.clone());
        let mut resources: Vec<(Name, Compiled)> = Vec::new();
        let layers = self.discovered_layers();
        if let Some(name) = self.compiled.local_cluster {
            proxy
                .updater()
                .set_local(name, self.compiled.node.locality.clone());
        }
        for (name, pem) in &self.compiled.secrets {
            let usable = usable(name, pem)?;
            resources.push(((Kind::Secret, name.clone()), Compiled::Secret(Box::new(usable))));
        }
        for cluster in self.compiled.clusters {
            let name = (Kind::Cluster, cluster.name.clone());
            resources.push((name, Compiled::Cluster(Box::new(cluster))));
        }
        for listener in self.compiled.listeners {
            let name = (Kind::Listener, listener.name.clone());
            resources.push((name, Compiled::Listener(Box::new(listener))));
        }
        let (dumps, asked) = mpsc::channel(4);
        let (told, state) = watch::channel(State::default());
        let node = self.compiled.node.message;
        let reporting = self.compiled.loads.map(|control| {
            let reporting = load_report::run(Arc::clone(proxy), control, node.clone());
            tokio::spawn(reporting).abort_handle()
        });
        let discovery = Discovery {
            node,
            ads: self.compiled.dynamic.ads.map(Via::Cluster),
            proxy: Arc::clone(proxy),
            questions,
            dumps: asked,
            health: watch::channel(None).1,
            names: watch::channel(Arc::default()).0,
            namespace: String::new(),
            state: told,
            random,
            mode: Mode::Bootstrap(Box::new(Dynamic {
                listeners: self.compiled.dynamic.listeners,
                clusters: self.compiled.dynamic.clusters,
                layers,
                resources,
            })),
            trust: None,
            port_owner: |_| None,
            text,
            keeper,
        };
        Ok(Following {
            state,
            dumps,
            reporting,
            task: tokio::spawn(discovery.run()).abort_handle(),
        })
    }

    /// Puts it in force: clusters first, so that no listener is open before what it sends to.
    pub fn apply(self, updater: &mut Updater) -> Result<(), BootstrapError> {
        updater.set_outlier_log(self.compiled.outlier_log.clone());
        updater.set_defaults(self.compiled.bind, self.compiled.resolver);
        if let Some(name) = self.compiled.local_cluster {
            updater.set_local(name, self.compiled.node.locality);
        }
        for (name, pem) in &self.compiled.secrets {
            updater.upsert_secret(name, usable(name, pem)?);
        }
        for cluster in self.compiled.clusters {
            updater.upsert_cluster(cluster)?;
        }
        for listener in self.compiled.listeners {
            updater.upsert_listener(listener)?;
        }
        updater.publish();
        Ok(())
    }
}

fn clusters_of(control: &ControlPlane) -> Vec<&str> {
    let services = control.services.iter();
    services.map(|service| service.cluster.as_str()).collect()
}

fn usable(name: &str, pem: &leno_engine::compile::secret::Secret) -> Result<secret::Secret, BootstrapError> {
    secret::usable(name, pem).map_err(|why| BootstrapError::Secret {
        name: name.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use leno_engine::compile::NoFiles;

    use super::*;

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let message = pb::Bootstrap {
            hds_config: Some(Default::default()),
            ..Default::default()
        };
        let error = Bootstrap::compile(&message, &NoFiles).unwrap_err();
        assert_eq!(error.to_string(), "bootstrap: hds_config: not supported");
    }

    #[test]
    fn a_bad_listener_is_refused_with_its_place() {
        let message = pb::Bootstrap {
            static_resources: Some(pb::bootstrap::StaticResources {
                listeners: vec![Default::default()],
                ..Default::default()
            }),
            ..Default::default()
        };
        let error = Bootstrap::compile(&message, &NoFiles).unwrap_err().to_string();
        assert!(
            error.starts_with("bootstrap: static_resources.listeners[0]."),
            "{error}"
        );
    }
}
