//! Requests of the proxy's own: to a cluster, by the same pools as everybody's, with the answer whole.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use leno_engine::compile::cluster::UpstreamProtocol;
use leno_engine::decide::balance::PickContext;
use leno_engine::decide::limits::{Priority, Resource};
use leno_engine::flags::Flags;
use leno_engine::message::{Decimal, Headers, RequestHead, ResponseHead, Version};
use leno_telemetry::stats::ClusterStat;

use crate::alpn::Offer;
use crate::codec::{Answer, Body, Counter, Frame};
use crate::counts::Lasting;
use crate::destination::Purpose;
use crate::find;
use crate::headers::ORIGINAL_VERSION;
use crate::outcome::Failure;
use crate::post::Post;
use crate::upstream::Picked;
use crate::worker::Worker;

/// Larger answers to the proxy itself are refused.
const MAX_ANSWER: usize = 1024 * 1024;

/// Makes a request that another thread wants.
pub(crate) async fn post(worker: &Rc<Worker>, post: Post) {
    let mut headers = Headers::default();
    headers.append("content-type", "application/json");
    headers.append("content-length", Decimal::from(post.body.len()));
    let head = RequestHead {
        version: version(worker, &post.cluster),
        method: Bytes::from_static(b"POST"),
        scheme: Bytes::from_static(b"http"),
        authority: Bytes::copy_from_slice(post.cluster.as_bytes()),
        path: Bytes::from_static(post.path.as_bytes()),
        headers,
        upgrade: None,
    };
    let calling = async {
        let answer = send(worker, &post.cluster, head, Body::Full(post.body.into())).await?;
        Ok((answer.head.status, whole_within(answer.body, post.limit).await?))
    };
    let answered = match tokio::time::timeout(post.timeout, calling).await {
        Ok(result) => result.map_err(|failure: Failure| failure.flags()),
        Err(_) => Err(Failure::Timeout.flags()),
    };
    // Nobody waits any more.
    let _ = post.answer.send(answered);
}

pub(crate) async fn call(
    worker: &Rc<Worker>,
    cluster: &str,
    request: RequestHead,
    body: Bytes,
    timeout: Duration,
) -> Result<(ResponseHead, Bytes), Flags> {
    let calling = async {
        let answer = send(worker, cluster, request, Body::Full(body)).await?;
        let head = answer.head;
        Ok((head, whole(answer.body).await?))
    };
    match tokio::time::timeout(timeout, calling).await {
        Ok(result) => result.map_err(|failure: Failure| failure.flags()),
        Err(_) => Err(Failure::Timeout.flags()),
    }
}

/// The same in the version that the cluster is spoken to with.
pub(crate) async fn by_cluster(
    worker: &Rc<Worker>,
    cluster: &str,
    mut request: RequestHead,
    body: Bytes,
    timeout: Duration,
) -> Result<(ResponseHead, Bytes), Flags> {
    // It may have to be asked for first.
    if let Err(failure) = find::find(worker, cluster).await {
        return Err(failure.flags());
    }
    request.version = version(worker, cluster);
    if request.version == Version::Http2 {
        // What goes to a proxy of the mesh goes on in the version that every server of HTTP speaks.
        request.headers.set(ORIGINAL_VERSION, Version::Http11.as_str());
    }
    call(worker, cluster, request, body, timeout).await
}

/// One attempt, without retries.
pub(crate) async fn send(
    worker: &Rc<Worker>,
    cluster: &str,
    mut head: RequestHead,
    body: Body,
) -> Result<Answer, Failure> {
    let upstream = find::find(worker, cluster).await?;
    let Picked { upstream, host } = upstream.pick(&PickContext {
        random: worker.random.next(),
        ..PickContext::default()
    })?;
    let _permit = upstream
        .acquire(Resource::Request, Priority::Default)
        .ok_or(Failure::Overflow)?;
    let http2 = head.version == Version::Http2;
    let offer = if http2 { Offer::Http2 } else { Offer::Http1 };
    let purpose = Purpose {
        authority: None,
        offer,
        inbound: false,
        behalf: None,
    };
    let to = upstream.destination(&host, &purpose)?;
    let _active = host.start();
    let _lasting = Lasting::begin(&upstream.counts, ClusterStat::RqActive, None);
    let checkout = upstream
        .pool(&to)
        .checkout(worker.connector(), &upstream, Priority::Default, http2, false)
        .await?;
    upstream.counts.inc(ClusterStat::RqTotal);
    let to_mesh_peer = checkout.info.peer_principal().is_some();
    if !(to_mesh_peer && checkout.is_http2()) {
        head.headers.remove(ORIGINAL_VERSION);
    }
    let mut answer = checkout
        .send(&head, body, Counter::default())
        .await
        .map_err(Failure::Stream)?;
    answer.head.headers.remove(ORIGINAL_VERSION);
    upstream.count_answer(Some(answer.head.status));
    Ok(answer)
}

/// The version that a cluster is spoken to with.
pub(crate) fn version(worker: &Worker, cluster: &str) -> Version {
    let upstream = worker.upstream(&worker.snapshot(), cluster);
    match upstream.map(|upstream| upstream.protocol()) {
        Some(UpstreamProtocol::Http2) => Version::Http2,
        _ => Version::Http11,
    }
}

/// Reads a body to its end.
pub(crate) async fn whole(body: Body) -> Result<Bytes, Failure> {
    whole_within(body, MAX_ANSWER).await
}

async fn whole_within(mut body: Body, limit: usize) -> Result<Bytes, Failure> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Frame::Data(data) = frame.map_err(Failure::Stream)? {
            if all.len() + data.len() > limit {
                return Err(Failure::Stream(crate::outcome::StreamError::TooLarge(limit)));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}
