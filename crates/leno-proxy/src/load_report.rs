//! Load reports (LRS): what the clusters that a control plane names had to do since the last report.
//!
//! Workers count by themselves; they are asked when a report is due. As in Envoy a cluster's time begins when it is first
//! named, what was before does not count, and a lost stream is opened again with the report of what was since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::cluster::Discovery;
use leno_engine::compile::config_source::ControlPlane;
use leno_engine::compile::endpoint::Locality;
use leno_engine::decide::balance::load::Loaded;
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::config::endpoint::v3 as pb;
use leno_proto::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use leno_proto::google::protobuf;
use tokio::time::Instant;

use crate::Proxy;
use crate::admin::address;
use crate::alpn::Offer;
use crate::grpc::{self, Channel, Sender};
use crate::reach::{Place, Reach};
use crate::reported::ClusterLoad;
use crate::state::ClusterState;

const METHOD: &str = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
/// After a failure, as Envoy.
const RETRY: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(200);
const LEAST_INTERVAL: Duration = Duration::from_millis(1);
/// What a control plane may ask for besides clusters by name.
const SENDS_ALL: &str = "envoy.lrs.supports_send_all_clusters";

struct Reporter {
    proxy: Arc<Proxy>,
    control: ControlPlane,
    node: core::Node,
    reach: Reach,
    turn: usize,
    /// What the control plane wants.
    wanted: Option<LoadStatsResponse>,
    /// Since when what of each is counted.
    since: BTreeMap<String, Instant>,
}

/// Reports for as long as it is polled.
pub(crate) async fn run(proxy: Arc<Proxy>, control: ControlPlane, mut node: core::Node) {
    node.client_features.push(SENDS_ALL.to_owned());
    let mut reporter = Reporter {
        reach: Reach::new(&proxy),
        proxy,
        control,
        node,
        turn: 0,
        wanted: None,
        since: BTreeMap::new(),
    };
    loop {
        let pause = match reporter.stream().await {
            // The way there is not known yet.
            Err(grpc::Error::Unreachable(_)) => SOON,
            Err(error) => {
                tracing::debug!(%error, "no load is reported");
                RETRY
            }
            Ok(()) => RETRY,
        };
        tokio::time::sleep(pause).await;
    }
}

// === impl Reporter ===

impl Reporter {
    async fn stream(&mut self) -> Result<(), grpc::Error> {
        let channel = self.channel().await?;
        let (mut sender, mut receiver) = channel
            .stream::<LoadStatsRequest, LoadStatsResponse>(METHOD, None)
            .await?;
        let mut due = self.report(&mut sender).await?;
        loop {
            let at = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                response = receiver.next() => {
                    self.wanted = Some(response?.ok_or(grpc::Error::Ended)?);
                    due = self.begin().await;
                }
                () = at => due = self.report(&mut sender).await?,
            }
        }
    }

    async fn channel(&mut self) -> Result<Channel, grpc::Error> {
        let count = self.control.services.len().max(1);
        let Some(service) = self.control.services.get(self.turn % count) else {
            return Err(grpc::Error::Unreachable("there is no service".to_owned()));
        };
        let place = self
            .reach
            .place(&self.proxy, &service.cluster, Offer::Http2, self.turn / count);
        self.turn = self.turn.wrapping_add(1);
        let channel = match place.map_err(grpc::Error::Unreachable)? {
            Place::Network(network) => Channel::connect(&network).await?,
            Place::Pipe(path) => Channel::connect_pipe(&path).await?,
        };
        let authority = match service.authority.as_str() {
            "" => service.cluster.clone(),
            said => said.to_owned(),
        };
        Ok(channel.calling(authority, service.metadata.clone()))
    }

    /// Sends what was since the last time; returns when the next report is due.
    async fn report(
        &mut self,
        sender: &mut Sender<LoadStatsRequest>,
    ) -> Result<Option<Instant>, grpc::Error> {
        let names: Vec<String> = self.since.keys().cloned().collect();
        let mut loads = self.loads(names).await;
        let now = Instant::now();
        let config = self.proxy.handle().config();
        let mut cluster_stats = Vec::new();
        for (name, since) in &mut self.since {
            let Some(state) = config.cluster(name) else {
                continue;
            };
            let load = loads.remove(name).unwrap_or_default();
            let granular = self
                .wanted
                .as_ref()
                .is_some_and(|w| w.report_endpoint_granularity);
            let interval = now.duration_since(std::mem::replace(since, now));
            cluster_stats.push(cluster(state, load, interval, granular));
        }
        sender.send(&LoadStatsRequest {
            node: Some(self.node.clone()),
            cluster_stats,
        })?;
        Ok(self.begin().await)
    }

    /// A period begins: for clusters that were not named before what was until now does not count. None: nothing is
    /// wanted yet.
    async fn begin(&mut self) -> Option<Instant> {
        let wanted = self.wanted.as_ref()?;
        let names: Vec<String> = match wanted.send_all_clusters {
            true => {
                let config = self.proxy.handle().config();
                config
                    .clusters()
                    .map(|state| state.cluster.name.clone())
                    .collect()
            }
            false => wanted.clusters.clone(),
        };
        let interval = wanted.load_reporting_interval.map_or(LEAST_INTERVAL, interval);
        self.since.retain(|name, _| names.contains(name));
        let new = names.into_iter().filter(|name| !self.since.contains_key(name));
        let new: Vec<String> = new.collect();
        if !new.is_empty() {
            drop(self.loads(new.clone()).await);
        }
        let now = Instant::now();
        self.since.extend(new.into_iter().map(|name| (name, now)));
        Some(now + interval.max(LEAST_INTERVAL))
    }

    /// Of all workers together.
    async fn loads(&self, names: Vec<String>) -> BTreeMap<String, ClusterLoad> {
        let mut all: BTreeMap<String, ClusterLoad> = BTreeMap::new();
        for part in self.proxy.loads(names).await {
            for (name, load) in part {
                let sum = all.entry(name).or_default();
                sum.dropped += load.dropped;
                sum.overload += load.overload;
                sum.endpoints.extend(load.endpoints);
            }
        }
        all
    }
}

fn interval(message: protobuf::Duration) -> Duration {
    let seconds = u64::try_from(message.seconds).unwrap_or_default();
    let nanos = u32::try_from(message.nanos).unwrap_or_default();
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()))
}

fn cluster(state: &ClusterState, load: ClusterLoad, time: Duration, granular: bool) -> pb::ClusterStats {
    let levels = state.assignment.as_deref();
    let levels = levels.map_or(&[][..], |assignment| assignment.priorities.as_slice());
    let mut stats = Vec::new();
    for (priority, localities) in levels.iter().enumerate() {
        let one = |locality| locality_stats(priority, locality, &load, granular);
        stats.extend(localities.iter().filter_map(one));
    }
    pb::ClusterStats {
        cluster_name: state.cluster.name.clone(),
        cluster_service_name: match &state.cluster.discovery {
            Discovery::Eds(service, _) if *service != state.cluster.name => service.clone(),
            _ => String::new(),
        },
        upstream_locality_stats: stats,
        total_dropped_requests: load.dropped,
        dropped_requests: dropped(state, &load).into_iter().collect(),
        load_report_interval: Some(protobuf::Duration {
            seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
        }),
    }
}

/// By the name that the control plane has for them.
fn dropped(state: &ClusterState, load: &ClusterLoad) -> Option<pb::cluster_stats::DroppedRequests> {
    let drop = state.assignment.as_ref()?.drop.as_ref()?;
    (load.overload > 0).then(|| pb::cluster_stats::DroppedRequests {
        category: drop.category.clone(),
        dropped_count: load.overload,
    })
}

/// None: nothing was there to do.
fn locality_stats(
    priority: usize,
    locality: &Locality,
    load: &ClusterLoad,
    granular: bool,
) -> Option<pb::UpstreamLocalityStats> {
    let (mut sum, mut endpoints) = (Loaded::default(), Vec::new());
    for endpoint in &locality.endpoints {
        let mut own = Loaded::default();
        let parts = load.endpoints.iter();
        let parts = parts.filter(|(address, _)| *address == endpoint.address);
        parts.for_each(|(_, part)| own.add(*part));
        sum.add(own);
        if granular && !own.is_nothing() {
            endpoints.push(pb::UpstreamEndpointStats {
                address: Some(address(&endpoint.address)),
                total_successful_requests: own.succeeded,
                total_requests_in_progress: own.active,
                total_error_requests: own.failed,
                total_issued_requests: own.issued,
                ..Default::default()
            });
        }
    }
    if sum.is_nothing() {
        return None;
    }
    let name = &locality.name;
    Some(pb::UpstreamLocalityStats {
        locality: Some(core::Locality {
            region: name.region.clone(),
            zone: name.zone.clone(),
            sub_zone: name.sub_zone.clone(),
        }),
        total_successful_requests: sum.succeeded,
        total_requests_in_progress: sum.active,
        total_error_requests: sum.failed,
        total_issued_requests: sum.issued,
        upstream_endpoint_stats: endpoints,
        priority: u32::try_from(priority).unwrap_or(u32::MAX),
        ..Default::default()
    })
}
