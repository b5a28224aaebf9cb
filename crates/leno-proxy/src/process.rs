//! What filters may know of the process.

use std::sync::atomic::Ordering;

use leno_engine::decide::filter::{Membership, Process};
use leno_proto::google::protobuf::Value;
use leno_proto::google::protobuf::value::Kind;

use crate::worker::Worker;

impl Process for Worker {
    fn fails_health_checks(&self) -> bool {
        self.shared.health_failed.load(Ordering::Relaxed)
    }

    fn cluster_name(&self) -> &str {
        &self.shared.node.cluster
    }

    fn node_labels(&self, key: &str) -> Vec<(String, String)> {
        let Some(metadata) = &self.shared.node.metadata else {
            return Vec::new();
        };
        let Some(Kind::StructValue(labels)) = metadata.fields.get(key).and_then(|value| value.kind.as_ref())
        else {
            return Vec::new();
        };
        let text = |(name, value): (&String, &Value)| match &value.kind {
            Some(Kind::StringValue(text)) => (name.clone(), text.clone()),
            _ => (name.clone(), String::new()),
        };
        labels.fields.iter().map(text).collect()
    }

    fn membership(&self, cluster: &str) -> Option<Membership> {
        let snapshot = self.snapshot();
        let (healthy, degraded, all) = snapshot.cluster(cluster)?.membership();
        Some(Membership {
            well: healthy + degraded,
            all,
        })
    }
}
