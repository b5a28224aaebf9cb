//! CONNECT and upgrades: a CONNECT that ends here, and tunnels of clients over HTTP/2.

use std::rc::Rc;

use bytes::Bytes;
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
use crate::upstream::{Picked, Upstream};

impl Router<'_> {
    pub(super) fn ends_connect(&self) -> bool {
        self.forwarding.forward.ends_connect && is_connect(&self.exchange.request.borrow())
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
            behalf: Some(connection.behalf()),
        };
        let to = upstream.destination(&host, &purpose)?;
        let (io, info) = match crate::connect::connect(exchange.worker().connector(), &to).await {
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
        self.note(&host, Some(&info));
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
        match asks && head.version == Version::Http2 && !alpn::for_request(upstream.protocol(), &head).0 {
            true => (Body::Empty, body),
            false => (body, Body::Empty),
        }
    }

    /// A tunnel as the client's version has it.
    pub(super) fn tunnelled(&self, mut answer: Answer, client: Body) -> Answer {
        if self.exchange.request.borrow().version == Version::Http2
            && let Some(upgraded) = answer.upgraded.take()
        {
            if answer.head.status == 101 {
                answer.head.status = 200;
            }
            answer.body = over_http2::through(*upgraded, client);
        }
        answer
    }
}

/// One whose target is a host, and not an upgrade.
pub(super) fn is_connect(head: &RequestHead) -> bool {
    head.method.as_ref() == b"CONNECT" && head.upgrade.is_none()
}
