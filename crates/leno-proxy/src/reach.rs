//! How the control thread itself reaches a cluster: an endpoint of it, and TLS as the cluster says.
//!
//! The thread has no workers' pools: what it calls (control planes) it calls rarely, on connections that last.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use leno_engine::compile::address::{Address, Target};
use leno_engine::compile::cluster::Transport;
use leno_engine::compile::endpoint::{Endpoint, Health};
use leno_engine::compile::tls::UpstreamTls;
use leno_tls::TlsConfigs;

use crate::Proxy;
use crate::alpn::Offer;
use crate::grpc;
use crate::tls;

/// Configurations of TLS that are kept.
const KEPT: usize = 16;

/// Where a connection goes.
pub(crate) enum Place {
    Network(grpc::Target),
    Pipe(PathBuf),
}

pub(crate) struct Reach {
    configs: TlsConfigs,
}

// === impl Reach ===

impl Reach {
    pub(crate) fn new(proxy: &Proxy) -> Self {
        let (secrets, crypto) = proxy.updater().tls();
        Self {
            configs: TlsConfigs::new(crypto, secrets, KEPT),
        }
    }

    /// An endpoint of the cluster that may be used: of `turn` in a row each, so that after a failure it is another.
    pub(crate) fn place(
        &mut self,
        proxy: &Proxy,
        cluster: &str,
        offer: Offer,
        turn: usize,
    ) -> Result<Place, String> {
        let state = proxy.updater().config().cluster(cluster).cloned();
        let state = state.ok_or_else(|| format!("there is no cluster {cluster:?}"))?;
        let assignment = state.assignment.as_ref();
        let localities = assignment.iter().flat_map(|a| a.priorities.iter().flatten());
        let endpoints = localities.flat_map(|locality| &locality.endpoints);
        let usable: Vec<&Arc<Endpoint>> = endpoints
            .filter(|endpoint| !matches!(endpoint.health, Health::Unhealthy | Health::Draining))
            .collect();
        let endpoint = usable
            .get(turn.checked_rem(usable.len()).unwrap_or_default())
            .ok_or_else(|| format!("the cluster {cluster:?} has no endpoint"))?;
        let transport = state.cluster.transport.of(endpoint);
        match (&endpoint.address, transport) {
            (Target::Address(Address::Socket(address)), transport) => {
                let tls = match transport {
                    Transport::Introduced(_) | Transport::Passing(_) => {
                        return Err(format!(
                            "the cluster {cluster:?} speaks the PROXY protocol or to a listener, which no control plane does"
                        ));
                    }
                    Transport::Raw => None,
                    Transport::Tls(tls) => Some(self.tls(tls, endpoint, address.ip(), offer)?),
                };
                Ok(Place::Network(grpc::Target {
                    address: *address,
                    tls,
                }))
            }
            (Target::Address(Address::Pipe(pipe)), Transport::Raw) => Ok(Place::Pipe(pipe.path.clone())),
            (Target::Address(Address::Pipe(_)), _) => Err(format!(
                "the cluster {cluster:?} has more than plaintext over a pipe, which is not supported here"
            )),
            (Target::Address(Address::Internal(_)), _) => Err(format!(
                "the cluster {cluster:?} is a listener of the proxy's own, which is no control plane"
            )),
            (Target::Name { host, .. }, _) => Err(format!("{host} is not resolved yet")),
        }
    }

    fn tls(
        &mut self,
        tls: &UpstreamTls,
        endpoint: &Endpoint,
        ip: IpAddr,
        offer: Offer,
    ) -> Result<TlsTarget, String> {
        let wanted = tls::client_tls(tls, offer).map_err(|error| error.to_string())?;
        let client = self
            .configs
            .client(&Arc::new(wanted))
            .map_err(|error| error.to_string())?;
        let host = (!endpoint.hostname.is_empty()).then_some(endpoint.hostname.as_str());
        let name = client.server_name(host, ip);
        Ok((client.config().clone(), name))
    }
}

type TlsTarget = (
    Arc<tokio_rustls::rustls::ClientConfig>,
    tokio_rustls::rustls::pki_types::ServerName<'static>,
);
