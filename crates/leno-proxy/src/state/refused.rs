//! What cannot be put in force.

use std::sync::Arc;

use leno_engine::compile::access_log::AccessLog;
use leno_engine::compile::listener::{Listener, TerminalFilter};
use leno_telemetry::access_log;

use crate::listen::BindError;
use crate::tls::Unsupported;

/// A resource that cannot be put in force; what was in force under its name stays.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{resource}: {source}")]
    Tls { resource: String, source: Unsupported },
    #[error("{resource}: access_log: {why}")]
    AccessLog { resource: String, why: String },
}

/// A time format that cannot be written is a mistake of its listener.
pub(super) fn check_logs(listener: &Listener) -> Result<(), Refused> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    let none: &[Arc<AccessLog>] = &[];
    let of_chains = chains.map(|chain| match &chain.terminal {
        TerminalFilter::Http(http) => [http.access_log.as_slice(), &http.router.upstream_log],
        TerminalFilter::Tcp(tcp) => [tcp.access_log.as_slice(), none],
        TerminalFilter::DirectResponse(_) | TerminalFilter::Echo => [none, none],
    });
    for log in of_chains.flatten().flatten().chain(&listener.access_log) {
        access_log::check(&log.to.formats()).map_err(|why| Refused::AccessLog {
            resource: listener.name.clone(),
            why: why.to_string(),
        })?;
    }
    Ok(())
}

pub(super) fn refused(resource: &str, source: Unsupported) -> Refused {
    Refused::Tls {
        resource: resource.to_owned(),
        source,
    }
}
