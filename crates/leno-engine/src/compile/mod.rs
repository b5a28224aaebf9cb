//! xDS messages, parsed once into a validated, immutable form.

// Deprecated fields are read as well: what they say counts.
#![allow(deprecated)]

pub mod address;
pub(crate) mod at;
pub mod header;
pub(crate) mod pb;

pub mod access_log;
pub mod bind;
pub mod bootstrap;
pub mod cluster;
pub mod collector;
pub mod config_source;
pub mod dns;
pub mod dns_cache;
pub mod dns_resolver;
pub mod endpoint;
pub(crate) mod expression;
pub mod extension;
pub(crate) mod filter_state;
pub(crate) mod hash;
pub mod http;
mod known_clusters;
pub mod listener;
pub mod local_reply;
pub mod log_filter;
pub mod matcher;
pub mod metadata;
pub(crate) mod metadata_exchange;
pub mod overload;
pub mod proxy_protocol;
pub mod rate_limit;
pub mod rbac;
pub mod reject;
pub mod route;
pub mod runtime;
pub mod secret;
pub mod service;
pub mod socket;
pub mod stats;
pub mod tls;
pub mod token_bucket;
pub mod tracing;
pub(crate) mod typed_struct;
mod uri_template;

pub use reject::{FieldPath, Rejection, Warnings};

use crate::jwt::Remotes;
use crate::runtime::Runtime;

/// Reads what a configuration names outside of itself (files, variables, keys of the runtime): the engine itself opens nothing.
pub trait Files {
    /// The error says why, without the path.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// A variable of the process's environment; None where it is not set, or not to be looked at.
    fn environment(&self, _name: &str) -> Option<String> {
        None
    }

    /// What this machine is called.
    fn hostname(&self) -> Option<String> {
        None
    }

    /// The time zone of this machine, as the database of time zones has it. None: it is UTC, or is not looked at.
    fn time_zone(&self) -> Option<Vec<u8>> {
        None
    }

    /// The runtime whose keys it names.
    fn runtime(&self) -> Runtime {
        Runtime::default()
    }

    /// The sets of keys that it fetches, together with those of other configurations.
    fn remote_keys(&self) -> Remotes {
        Remotes::default()
    }
}

/// For configurations from the wire, which may not name files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Err("files are not read here".to_owned())
    }
}
