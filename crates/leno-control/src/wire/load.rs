//! LRS: what proxies report of the load that they send to clusters, added up for the metrics.
//!
//! Nothing is decided by it: balancing is done where the requests are. Counts of the mesh's own proxies come by another
//! way (`attached.rs`), with both ends of each edge.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_core::Stream;
use leno_proto::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingService;
use leno_proto::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use leno_proto::google::protobuf::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::ads::Ads;
use crate::listener::Peer;

/// Seconds between reports.
const EVERY: i64 = 5;

pub(super) struct LoadReports {
    ads: Arc<Ads>,
}

impl LoadReports {
    pub(super) fn new(ads: Arc<Ads>) -> Self {
        Self { ads }
    }
}

#[tonic::async_trait]
impl LoadReportingService for LoadReports {
    type StreamLoadStatsStream = Pin<Box<dyn Stream<Item = Result<LoadStatsResponse, Status>> + Send>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let (answers, sent) = mpsc::channel(1);
        let ads = self.ads.clone();
        tokio::spawn(async move {
            let listened = listen(&ads, peer.as_ref(), request.into_inner(), &answers);
            if let Err(status) = listened.await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }
}

async fn listen(
    ads: &Ads,
    peer: Option<&Peer>,
    mut reports: Streaming<LoadStatsRequest>,
    answers: &mpsc::Sender<Result<LoadStatsResponse, Status>>,
) -> Result<(), Status> {
    let mut running = ads.running.clone();
    let Ok(Some(first)) = reports.message().await else {
        return Ok(());
    };
    // Who may have a stream of resources may report.
    ads.recognise(peer, first.node.as_ref())?;
    let all = LoadStatsResponse {
        send_all_clusters: true,
        load_reporting_interval: Some(Duration {
            seconds: EVERY,
            nanos: 0,
        }),
        ..Default::default()
    };
    if answers.send(Ok(all)).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            report = reports.message() => match report {
                Ok(Some(report)) => count(ads, &report),
                Ok(None) | Err(_) => return Ok(()),
            },
            _ = running.changed() => return Err(Status::unavailable("the control plane ends")),
        }
    }
}

fn count(ads: &Ads, report: &LoadStatsRequest) {
    let work = &ads.push.work;
    work.load_reports.fetch_add(1, Relaxed);
    for cluster in &report.cluster_stats {
        work.load_dropped
            .fetch_add(cluster.total_dropped_requests, Relaxed);
        for locality in &cluster.upstream_locality_stats {
            work.load_requests
                .fetch_add(locality.total_successful_requests, Relaxed);
            work.load_failures
                .fetch_add(locality.total_error_requests, Relaxed);
        }
    }
}
