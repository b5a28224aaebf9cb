//! CONNECT and upgrades: a CONNECT that ends here, and tunnels of clients over HTTP/2.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use leno_engine::compile::cluster::{Introduced, Transport};
use leno_engine::decide::balance::PickContext;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_telemetry::stats::ClusterStat;

use super::{InFlight, Router};
use crate::alpn::{self, Offer};
use crate::codec::{Answer, Body, Upgraded};
use crate::counts::Lasting;
use crate::destination::Purpose;
use crate::outcome::Failure;
use crate::over_http2;
use crate::tunnel::Through;
use crate::upstream::{Picked, Upstream};

impl Router<'_> {
    pub(super) fn ends_connect(&self) -> bool {
        let Some(connect) = self.forwarding.forward.connect.as_deref() else {
            return false;
        };
        let head = self.exchange.request.borrow();
        is_connect(&head) || connect.post && head.method.as_ref() == b"POST"
    }

    /// A connection for what is in the tunnel, and the answer that it is open.
    pub(super) async fn connect(
        &self,
        cluster: &Rc<Upstream>,
        hash: Option<u64>,
    ) -> Result<(Answer, InFlight), Failure> {
        let exchange = self.exchange;
        let connection = &exchange.session().connection;
        let head = exchange.request.borrow().clone();
        let wish = exchange.wish.take();
        let wishes = self.wishes(&cluster.cluster());
        let Picked { upstream, host } = cluster.pick(&PickContext {
            authority: Some(&head.authority),
            wish: wish.as_ref(),
            wishes: wishes.as_ref(),
            random: exchange.worker().random.next(),
            hash,
            metadata: Some(self.forwarding.metadata()),
            original_destination: self.original_destination(&cluster.cluster()),
            ..PickContext::default()
        })?;
        let permit = self.admit_to_member(cluster, &upstream)?;
        exchange.attempts.set(1);
        self.note(&host, None);
        let active = host.start();
        let purpose = Purpose {
            authority: None,
            offer: Offer::Tcp,
            inbound: connection.facts.inbound,
            behalf: Some(exchange.behalf()),
        };
        let mut to = upstream.destination(&host, &purpose)?;
        let connect = self.forwarding.forward.connect.as_deref();
        if let Some(introduction) = connect.and_then(|connect| connect.introduction.clone()) {
            to.transport = Transport::Introduced(Arc::new(Introduced {
                introduction,
                behind: to.transport,
            }));
            to.client = Some(connection.behalf().into());
        }
        let with = exchange.worker().connector().counting(&upstream.counts);
        let (io, info) = match crate::connect::connect(with, &to).await {
            Ok(connected) => connected,
            Err(failure) => {
                upstream.report_failure(&host, &failure);
                host.state.load.settle(false);
                self.note_failure(&failure);
                return Err(failure);
            }
        };
        upstream.report_connected(&host);
        host.state.load.issue();
        host.state.load.settle(true);
        self.exchange.tries(&host.endpoint, Some(&info), None);
        exchange.begin_response();
        let answer = Answer {
            head: ResponseHead {
                version: Version::Http11,
                status: 200,
                headers: Headers::default(),
            },
            body: Body::Empty,
            upgraded: Some(Box::new(Upgraded::new(Bytes::new(), io))),
        };
        let in_flight = InFlight {
            active,
            lasting: Lasting::begin(&upstream.counts, ClusterStat::RqActive, None),
            permit,
        };
        Ok((answer, in_flight))
    }

    /// The request's body, and what of it is for the tunnel that the request asks for: of a client over HTTP/2 all of it.
    pub(super) fn set_aside(&self, upstream: &Upstream, body: Body) -> (Body, Body) {
        let head = self.exchange.request.borrow();
        let asks = head.upgrade.is_some() || is_connect(&head);
        match asks && head.version == Version::Http2 && !alpn::for_cluster(&upstream.cluster(), &head).0 {
            true => (Body::Empty, body),
            false => (body, Body::Empty),
        }
    }

    /// The tunnel of a client that speaks HTTP/1 goes through a stream of HTTP/2, where that is what the upstream speaks.
    pub(super) fn through(&self, http2: bool, head: &RequestHead) -> Option<Through> {
        let asks = head.upgrade.is_some() || is_connect(head);
        let of_client = self.exchange.request.borrow().version;
        (asks && http2 && of_client != Version::Http2).then(Through::default)
    }

    /// A tunnel as the client's version has it.
    pub(super) fn tunnelled(&self, mut answer: Answer, client: Body) -> Answer {
        let head = self.exchange.request.borrow();
        // Of a POST in place of a CONNECT the client goes on in HTTP, whichever version.
        let posts = head.method.as_ref() == b"POST" && head.upgrade.is_none();
        let stays = head.version == Version::Http2 || posts;
        drop(head);
        if stays && let Some(upgraded) = answer.upgraded.take() {
            if answer.head.status == 101 {
                answer.head.status = 200;
            }
            answer.body = over_http2::through(*upgraded, client);
        }
        answer
    }
}

/// What the answer of an upstream over HTTP/2 is to a client that speaks HTTP/1 and has asked for a tunnel (RFC 8441 §5).
pub(super) fn opened(answer: Answer, through: Through, upgrade: Option<Bytes>) -> Answer {
    let Answer { mut head, body, .. } = answer;
    if head.status != 200 || body.is_end() {
        through.close();
        return Answer {
            head,
            body,
            upgraded: None,
        };
    }
    if let Some(protocol) = upgrade {
        head.status = 101;
        head.headers.remove("content-length");
        head.headers.set("connection", "upgrade");
        head.headers.set("upgrade", protocol);
    }
    Answer {
        head,
        body: Body::Empty,
        upgraded: Some(Box::new(Upgraded::new(Bytes::new(), through.open(body)))),
    }
}

/// One whose target is a host, and not an upgrade.
pub(super) fn is_connect(head: &RequestHead) -> bool {
    head.method.as_ref() == b"CONNECT" && head.upgrade.is_none()
}
