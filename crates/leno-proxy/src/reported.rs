//! What a worker tells of the load of clusters, to be added up and reported.

use std::collections::BTreeMap;

use leno_engine::compile::endpoint::Target;
use leno_engine::decide::balance::load::Loaded;

/// One worker's part, by cluster.
pub(crate) type Part = BTreeMap<String, ClusterLoad>;

#[derive(Debug, Default)]
pub(crate) struct ClusterLoad {
    /// Requests for which there was no room.
    pub(crate) dropped: u64,
    /// Those among them that a control plane wanted dropped.
    pub(crate) overload: u64,
    pub(crate) endpoints: Vec<(Target, Loaded)>,
}
