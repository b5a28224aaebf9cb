//! `xds.service.orca.v3.OpenRcaService/StreamCoreMetrics`: an endpoint tells of its load as often as it is asked to
//! (gRFC A51, and Envoy's client-side weighted round robin).
//!
//! One stream for each endpoint, on a connection of its own, for the process. What breaks is tried again later and later;
//! who does not have the service is asked no more.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use leno_engine::compile::address::Address;
use leno_engine::compile::cluster::{BalancePolicy, ClientSide, Cluster, OutOfBand};
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::decide::grpc;
use leno_engine::decide::health::{ClusterHealth, Counted, HostHealth};
use leno_engine::decide::orca::LoadReport;
use leno_engine::message::{Headers, RequestHead, Version};
use leno_proto::google::protobuf;
use leno_telemetry::stats::Meter;
use prost::Message;

use super::own::{Own, Toward};
use crate::alpn::Offer;
use crate::codec::h2::client::{Client, answer};
use crate::codec::{Body, Counter, Frame};
use crate::upstream;

const PATH: &[u8] = b"/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";
const UNIMPLEMENTED: u32 = 12;
/// Bytes of a report.
const MOST: usize = 64 * 1024;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Periods without a report, after which the stream is taken for dead.
const PATIENCE: u32 = 3;

/// `xds.service.orca.v3.OrcaLoadReportRequest`
#[derive(Clone, PartialEq, Message)]
struct Wanted {
    #[prost(message, optional, tag = "1")]
    report_interval: Option<protobuf::Duration>,
}

/// Why a stream is over.
enum Ended {
    /// It may be better the next time.
    Broken(String),
    /// It is not served there.
    Unserved,
}

struct Session<'s> {
    own: &'s Rc<Own>,
    cluster: &'s Cluster,
    settings: &'s ClientSide,
    asked: &'s OutOfBand,
    known: &'s ClusterHealth,
    endpoint: &'s Endpoint,
    host: &'s HostHealth,
}

/// For as long as the endpoint is there, or until it is known not to tell.
pub(super) async fn listen(
    own: Rc<Own>,
    cluster: Arc<Cluster>,
    known: Arc<ClusterHealth>,
    endpoint: Arc<Endpoint>,
    host: Arc<HostHealth>,
) {
    let BalancePolicy::ClientSide(settings) = &cluster.balance else {
        return;
    };
    let Some(asked) = &settings.asked else { return };
    let _counted = known.session();
    let session = Session {
        own: &own,
        cluster: &cluster,
        settings,
        asked,
        known: &known,
        endpoint: &endpoint,
        host: &host,
    };
    tokio::time::sleep(below(asked.period, own.random.next())).await;
    let mut wait = FIRST_WAIT;
    loop {
        let Err(ended) = session.stream(&mut wait).await;
        match ended {
            Ended::Unserved => {
                known.count(Counted::OobTerminated);
                tracing::info!(cluster = cluster.name, endpoint = %endpoint.address, "no load is told there");
                return;
            }
            Ended::Broken(why) => {
                known.count(Counted::OobFailure);
                tracing::debug!(cluster = cluster.name, endpoint = %endpoint.address, why, "load reports");
            }
        }
        tokio::time::sleep(below(wait, own.random.next())).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

// === impl Session ===

impl Session<'_> {
    /// `wait` begins anew with each report.
    async fn stream(&self, wait: &mut Duration) -> Result<std::convert::Infallible, Ended> {
        let address = self.address().ok_or_else(|| broken("its name is not resolved"))?;
        let transport = match &self.asked.transport_match {
            Some(criteria) => self.cluster.transport.matching(criteria),
            None => self.cluster.transport.of(self.endpoint),
        };
        let head = self.head(&address, transport.tls().is_some());
        let to = Toward {
            endpoint: self.endpoint,
            address,
            transport,
            offer: Offer::Http2,
            timeout: self.cluster.connect_timeout,
        };
        let io = self.own.connect(self.cluster, to).await;
        let io = io.map_err(|failure| Ended::Broken(format!("{failure:?}")))?;
        let scratch = self.own.connector().scratch.clone();
        let client = Client::start(io, None, &self.cluster.http2, None, scratch, Meter::default());
        let asking = client.ask(&head, Body::Full(self.wanted()), &Counter::default());
        let answer = self.in_time(answer(asking, ())).await?;
        let answer = answer.map_err(|error| Ended::Broken(error.to_string()))?;
        let (head, mut body) = (answer.head, answer.body);
        if body.is_end() || !is_grpc(head.status, &head.headers) {
            let said = status(&head.headers).filter(|_| body.is_end());
            return Err(ended(said.unwrap_or_else(|| grpc::from_http(head.status))));
        }
        let mut buffer = BytesMut::new();
        let mut told = Instant::now();
        loop {
            let patience = (self.asked.period * PATIENCE).saturating_sub(told.elapsed());
            let frame = tokio::time::timeout(patience, body.frame()).await;
            let frame = frame.map_err(|_| broken("it says nothing"))?;
            match frame {
                None => return Err(broken("it has ended without a status")),
                Some(Err(error)) => return Err(Ended::Broken(error.to_string())),
                Some(Ok(Frame::Trailers(trailers))) => return Err(ended(status(&trailers).unwrap_or(2))),
                Some(Ok(Frame::Data(data))) => buffer.extend_from_slice(&data),
            }
            while let Some(message) = next(&mut buffer)? {
                if message.is_empty() {
                    continue;
                }
                let report = LoadReport::decode(message).map_err(|_| broken("not a report"))?;
                (told, *wait) = (Instant::now(), FIRST_WAIT);
                self.known.count(Counted::OobReport);
                if !self.host.told.take(self.settings, &report, told) {
                    self.known.count(Counted::OobUseless);
                }
            }
            if client.is_closed() {
                return Err(broken("it wants no more streams"));
            }
        }
    }

    async fn in_time<T>(&self, asking: impl Future<Output = T>) -> Result<T, Ended> {
        let answered = tokio::time::timeout(self.asked.period * PATIENCE, asking).await;
        answered.map_err(|_| broken("it does not answer"))
    }

    fn address(&self) -> Option<Address> {
        let mut address = upstream::address(self.endpoint)?.clone();
        if let (Some(port), Address::Socket(socket)) = (self.asked.port, &mut address) {
            socket.set_port(port);
        }
        Some(address)
    }

    fn head(&self, address: &Address, secured: bool) -> RequestHead {
        let names = [&self.asked.authority, &self.endpoint.hostname];
        let authority = match (names.into_iter().find(|name| !name.is_empty()), address) {
            (Some(name), _) => name.clone(),
            (None, Address::Socket(socket)) => socket.to_string(),
            (None, _) => self.cluster.name.clone(),
        };
        let mut headers = Headers::default();
        headers.append("te", "trailers");
        headers.append("content-type", "application/grpc");
        RequestHead {
            version: Version::Http2,
            method: Bytes::from_static(b"POST"),
            scheme: Bytes::from_static(if secured { b"https" } else { b"http" }),
            authority: authority.into(),
            path: Bytes::from_static(PATH),
            headers,
            upgrade: None,
        }
    }

    fn wanted(&self) -> Bytes {
        let period = self.asked.period;
        let wanted = Wanted {
            report_interval: Some(protobuf::Duration {
                seconds: i64::try_from(period.as_secs()).unwrap_or(i64::MAX),
                nanos: period.subsec_nanos().cast_signed(),
            }),
        };
        let message = wanted.encode_to_vec();
        let mut framed = BytesMut::with_capacity(5 + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        framed.extend_from_slice(&message);
        framed.freeze()
    }
}

fn broken(why: &str) -> Ended {
    Ended::Broken(why.to_owned())
}

fn ended(status: u32) -> Ended {
    match status {
        UNIMPLEMENTED => Ended::Unserved,
        status => Ended::Broken(format!("gRPC status {status}")),
    }
}

fn status(headers: &Headers) -> Option<u32> {
    headers.get_str("grpc-status")?.parse().ok()
}

fn is_grpc(status: u16, headers: &Headers) -> bool {
    let content_type = headers.get("content-type").unwrap_or_default();
    status == 200 && content_type.starts_with(b"application/grpc")
}

/// The next message that has come whole.
fn next(buffer: &mut BytesMut) -> Result<Option<Bytes>, Ended> {
    let Some([flags, length @ ..]) = buffer.first_chunk::<5>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if *flags != 0 || length > MOST {
        return Err(broken("a report that is compressed, or too large"));
    }
    if buffer.len() < 5 + length {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Some time that is less.
fn below(time: Duration, random: u64) -> Duration {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(random % milliseconds)
}
