//! `/init_dump`: `envoy.admin.v3.UnreadyTargetsDumps`, what each listener waits for that is not open yet.

use leno_proto::envoy::admin::v3 as admin;

use crate::discovery::Dump;
use crate::resources::{Kind, Name};

/// In Envoy's words, but for the hash behind a listener's name. `mask`: of which part; there is one.
pub(super) fn message(known: &Dump, mask: Option<&str>) -> admin::UnreadyTargetsDumps {
    let listeners = known.waiting.iter().filter(|(name, _)| name.0 == Kind::Listener);
    let listeners = listeners.filter(|_| mask.is_none_or(|mask| mask == "listener"));
    let each = listeners.map(
        |((_, listener), missing)| admin::unready_targets_dumps::UnreadyTargetsDump {
            name: format!("init manager Listener-local-init-manager {listener}"),
            target_names: missing.iter().map(target).collect(),
        },
    );
    admin::UnreadyTargetsDumps {
        unready_targets_dumps: each.collect(),
    }
}

fn target((kind, name): &Name) -> String {
    let what = match kind {
        Kind::Runtime => format!("RTDS {name}"),
        Kind::Endpoints => format!("EDS {name}"),
        Kind::Secret => format!("SdsApi {name}"),
        Kind::Cluster => format!("cluster {name}"),
        Kind::Route => format!("RdsRouteConfigSubscription RDS init {name}"),
        Kind::VirtualHost => format!("VhdsConfigSubscription {name}"),
        Kind::Scope => format!("SRDS {name}"),
        Kind::Extension => format!("FilterConfigSubscription init {name}"),
        Kind::Listener => format!("listener {name}"),
    };
    format!("shared target {what}")
}
