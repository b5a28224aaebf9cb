//! A static configuration: Envoy's bootstrap, compiled whole or refused with the field's path.

use leno_engine::compile::{Files, Rejection, Warnings, bootstrap};
use leno_proto::envoy::config::bootstrap::v3 as pb;

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
}

// === impl Bootstrap ===

impl Bootstrap {
    /// `files` reads what data sources name.
    pub fn compile(message: &pb::Bootstrap, files: &dyn Files) -> Result<Self, BootstrapError> {
        let mut warnings = Warnings::default();
        let compiled = bootstrap::compile(message, files, &mut warnings);
        Ok(Self {
            compiled: compiled.map_err(BootstrapError::Rejected)?,
            warnings,
        })
    }

    /// Puts it in force: clusters first, so that no listener is open before what it sends to.
    pub fn apply(self, updater: &mut Updater) -> Result<(), BootstrapError> {
        for (name, pem) in &self.compiled.secrets {
            let usable = secret::usable(name, pem).map_err(|why| BootstrapError::Secret {
                name: name.clone(),
                why,
            })?;
            updater.upsert_secret(name, usable);
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
