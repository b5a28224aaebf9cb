//! How an endpoint is asked, by whatever it speaks: connections are made as the cluster's own are.

use std::rc::Rc;

use leno_engine::compile::address::Address;
use leno_engine::compile::cluster::Transport;
use leno_engine::compile::cluster::health_check::Probe;
use leno_engine::decide::health::Failure;

use super::grpc;
use super::http::{self, HttpConnection};
use super::one::{One, Well};
use super::own::{Own, Toward};
use super::tcp::TcpConnection;
use crate::alpn::Offer;
use crate::io::Io;
use crate::upstream;

pub(super) struct Probing<'o> {
    own: &'o Rc<Own>,
    one: One<'o>,
    open: Open,
}

/// A connection that is kept from one check to the next.
enum Open {
    No,
    Http(HttpConnection),
    Tcp(TcpConnection),
}

// === impl Probing ===

impl<'o> Probing<'o> {
    pub(super) fn new(own: &'o Rc<Own>, one: One<'o>) -> Self {
        Self {
            own,
            one,
            open: Open::No,
        }
    }

    pub(super) async fn ask(&mut self) -> Result<Well, Failure> {
        let open = std::mem::replace(&mut self.open, Open::No);
        match &self.one.check.probe {
            Probe::Http(probe) => {
                let mut connection = self.http(open, probe.http2).await?;
                let result = http::ask(&mut connection, self.one, probe, self.is_secured()).await;
                self.keep(Open::Http(connection));
                result
            }
            Probe::Grpc(probe) => {
                let mut connection = self.http(open, true).await?;
                let result = grpc::ask(&mut connection, self.one, probe, self.is_secured()).await;
                self.keep(Open::Http(connection));
                result
            }
            Probe::Tcp(probe) => {
                let mut connection = match open {
                    Open::Tcp(connection) => connection,
                    _ => TcpConnection::new(self.connect(Offer::Tcp).await?),
                };
                // That there is a connection is all that is asked.
                if probe.receive.is_empty() {
                    return Ok(Well { degraded: false });
                }
                connection.ask(probe).await?;
                self.keep(Open::Tcp(connection));
                Ok(Well { degraded: false })
            }
        }
    }

    /// Nothing is kept of what is still on its way.
    pub(super) fn hang_up(&mut self) {
        self.open = Open::No;
    }

    /// Until a connection that is kept has ended: only bytes have nobody else who looks after that.
    pub(super) async fn broken(&mut self) {
        let Open::Tcp(connection) = &mut self.open else {
            return std::future::pending().await;
        };
        connection.ended().await;
        self.open = Open::No;
    }

    fn keep(&mut self, open: Open) {
        let usable = match &open {
            Open::Http(connection) => connection.is_usable(),
            Open::Tcp(_) | Open::No => true,
        };
        if usable && self.one.check.reuse_connection {
            self.open = open;
        }
    }

    async fn http(&self, open: Open, http2: bool) -> Result<HttpConnection, Failure> {
        if let Open::Http(connection) = open
            && connection.is_quiet()
        {
            return Ok(connection);
        }
        let offer = if http2 { Offer::Http2 } else { Offer::Http1 };
        let io = self.connect(offer).await?;
        Ok(HttpConnection::new(io, http2, self.own, self.one.cluster))
    }

    async fn connect(&self, offer: Offer) -> Result<Io, Failure> {
        let Some(address) = self.address() else {
            return Err(Failure::Network);
        };
        let check = self.one.check;
        let named = check.alpn.as_deref();
        let offer = named
            .and_then(|names| self.own.connector().tls.named(names))
            .unwrap_or(offer);
        let timeout = check.timeout;
        let to = Toward {
            endpoint: self.one.endpoint,
            address,
            transport: self.transport(),
            offer,
            timeout,
        };
        let connected = self.own.connect(self.one.cluster, to).await;
        connected.map_err(|failure| {
            tracing::debug!(cluster = self.one.cluster.name, ?failure, "health check");
            Failure::Network
        })
    }

    fn transport(&self) -> &'o Transport {
        let sockets = &self.one.cluster.transport;
        match &self.one.check.transport_match {
            Some(criteria) => sockets.matching(criteria),
            None => sockets.of(self.one.endpoint),
        }
    }

    fn is_secured(&self) -> bool {
        self.transport().tls().is_some()
    }

    /// Where it is asked.
    fn address(&self) -> Option<Address> {
        let own = upstream::address(self.one.endpoint);
        let Some(check) = &self.one.endpoint.check else {
            return own.cloned();
        };
        let mut address = check.address.map(Address::Socket).or(own.cloned())?;
        if let (Some(port), Address::Socket(socket)) = (check.port, &mut address) {
            socket.set_port(port);
        }
        Some(address)
    }
}
