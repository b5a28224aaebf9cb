//! Names: hosts, workloads, labels, and where an object was written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A service's fully qualified host, lower case: `reviews.default.svc.cluster.local`, or an external name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

impl Host {
    pub fn new(name: &str) -> Self {
        Self(name.to_ascii_lowercase().into())
    }

    pub fn in_cluster(name: &str, namespace: &str) -> Self {
        Self::new(&format!("{name}.{namespace}.svc.cluster.local"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The unique name of a workload instance: the xDS node id's third part, `name.namespace`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId(pub Arc<str>);

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub type Labels = BTreeMap<String, String>;

/// The object that something came from, and where it was written: `reviews.yaml:12:3`, or a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub kind: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub place: Arc<str>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}
