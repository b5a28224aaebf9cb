//! Zone-aware routing.

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::cluster::cluster::common_lb_config as older;
use crate::compile::pb::lb::common::locality_lb_config as pb;
use crate::compile::pb::{protobuf, types};

/// It counts where the bootstrap names the proxies' own cluster, and it is said of no cluster that localities are
/// weighted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneAware {
    /// Percent of the requests.
    pub routing_enabled: u32,
    /// With fewer healthy endpoints localities do not count.
    pub min_cluster_size: u64,
    /// With so many healthy endpoints in the own locality all requests stay there.
    pub force_own: Option<u32>,
    /// When too few are healthy nobody is used, and not everybody.
    pub fail_on_panic: bool,
    /// Localities are as large as their endpoints weigh, and not as many as these are.
    pub by_weight: bool,
}

/// Envoy's.
impl Default for ZoneAware {
    fn default() -> Self {
        Self {
            routing_enabled: 100,
            min_cluster_size: 6,
            force_own: None,
            fail_on_panic: false,
            by_weight: false,
        }
    }
}

pub(super) fn older(at: &At<'_>, message: &older::ZoneAwareLbConfig) -> Result<ZoneAware, Rejection> {
    let older::ZoneAwareLbConfig {
        routing_enabled,
        min_cluster_size,
        fail_traffic_on_panic,
    } = message;
    Ok(ZoneAware {
        fail_on_panic: *fail_traffic_on_panic,
        ..common(at, routing_enabled.as_ref(), min_cluster_size.as_ref())?
    })
}

pub(super) fn typed(at: &At<'_>, message: &pb::ZoneAwareLbConfig) -> Result<ZoneAware, Rejection> {
    use pb::zone_aware_lb_config::{ForceLocalZone, LocalityBasis};
    let pb::ZoneAwareLbConfig {
        routing_enabled,
        min_cluster_size,
        fail_traffic_on_panic,
        force_locality_direct_routing,
        force_local_zone,
        locality_basis,
    } = message;
    Ok(ZoneAware {
        fail_on_panic: *fail_traffic_on_panic,
        force_own: match force_local_zone {
            Some(ForceLocalZone { min_size }) => Some(min_size.as_ref().map_or(1, |size| size.value)),
            None => force_locality_direct_routing.then_some(1),
        },
        by_weight: match at.choice("locality_basis", *locality_basis)? {
            LocalityBasis::HealthyHostsNum => false,
            LocalityBasis::HealthyHostsWeight => true,
        },
        ..common(at, routing_enabled.as_ref(), min_cluster_size.as_ref())?
    })
}

fn common(
    at: &At<'_>,
    routing_enabled: Option<&types::Percent>,
    min_cluster_size: Option<&protobuf::UInt64Value>,
) -> Result<ZoneAware, Rejection> {
    let default = ZoneAware::default();
    let percent = routing_enabled.map_or(f64::from(default.routing_enabled), |percent| percent.value);
    if !(0.0..=100.0).contains(&percent) {
        return Err(at.field("routing_enabled").reject("0 to 100"));
    }
    Ok(ZoneAware {
        routing_enabled: percent.round() as u32,
        min_cluster_size: min_cluster_size.map_or(default.min_cluster_size, |size| size.value),
        ..default
    })
}
