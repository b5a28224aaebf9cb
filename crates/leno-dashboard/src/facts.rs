//! What the dashboard is made from: the mesh at one moment, as the control plane knows it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use leno_api::Object;
use leno_model::Snapshot;
use leno_proto::control::{Diagnostic, ProxyStatus, TapRecord};

#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Since 1970.
    pub now: Duration,
    /// leno's own.
    pub version: String,
    pub snapshot: Arc<Snapshot>,
    pub proxies: Vec<ProxyStatus>,
    pub diagnostics: Vec<Diagnostic>,
    /// The configuration that is in force, file by file.
    pub objects: Vec<Arc<[Object]>>,
    /// Of the workloads that are looked at, by namespace and name: their latest requests, the newest first.
    pub requests: HashMap<(String, String), Vec<TapRecord>>,
}
