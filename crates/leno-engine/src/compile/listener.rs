//! `envoy.config.listener.v3.Listener`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::access_log::AccessLog;
use super::http::HttpConnectionManager;
use super::tls::DownstreamTls;

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    pub addresses: Vec<Address>,
    pub bind_to_port: bool,
    pub use_original_dst: bool,
    pub direction: Direction,
    pub filters: ListenerFilters,
    pub chains: Vec<Arc<FilterChain>>,
    pub default_chain: Option<Arc<FilterChain>>,
    pub access_log: Vec<Arc<AccessLog>>,
    /// Soft limit on bytes buffered per connection.
    pub buffer_limit: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Socket(SocketAddr),
    Pipe(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Unspecified,
    Inbound,
    Outbound,
}

/// Listener filters, in the only order that makes sense.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerFilters {
    pub original_dst: bool,
    pub tls_inspector: bool,
    pub http_inspector: bool,
    /// Destination ports for which the inspectors do not run.
    pub http_inspector_off: Vec<PortRange>,
    pub tls_inspector_off: Vec<PortRange>,
    /// Zero: wait for ever.
    pub timeout: Duration,
    pub continue_on_timeout: bool,
}

/// Half open, as in the API: `start <= port < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub start: u16,
    pub end: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FilterChain {
    pub name: String,
    pub matches: ChainMatch,
    /// None: plaintext.
    pub tls: Option<Arc<DownstreamTls>>,
    /// The filters before the last, and the last, which is terminal.
    pub filters: Vec<NetworkFilter>,
    pub terminal: TerminalFilter,
    pub handshake_timeout: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    pub destination_port: Option<u16>,
    pub prefix_ranges: Vec<IpNet>,
    pub server_names: Vec<String>,
    pub transport_protocol: Option<TransportProtocol>,
    pub application_protocols: Vec<String>,
    pub direct_source_ranges: Vec<IpNet>,
    pub source_type: SourceType,
    pub source_ranges: Vec<IpNet>,
    pub source_ports: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportProtocol {
    RawBuffer,
    Tls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    #[default]
    Any,
    SameIpOrLoopback,
    External,
}

/// Filters that look at a connection before its bytes move.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkFilter {
    /// `envoy.filters.network.metadata_exchange`: Istio's peer metadata for TCP, by ALPN `istio-peer-exchange`.
    MetadataExchange,
    /// `envoy.filters.network.rbac`
    Rbac(Arc<super::matcher::Rbac>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum TerminalFilter {
    Http(Arc<HttpConnectionManager>),
    Tcp(Arc<TcpProxy>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct TcpProxy {
    pub stat_prefix: String,
    /// One or more, with weights.
    pub clusters: Vec<(String, u32)>,
    pub idle_timeout: Option<Duration>,
    pub max_connect_attempts: u32,
    pub access_log: Vec<Arc<AccessLog>>,
    /// The object that made it (`metadata` of weighted clusters or stat prefix), for logs.
    pub origin: Option<String>,
}

/// Not written yet: the signature comes first.
pub fn compile(
    _message: &leno_proto::envoy::config::listener::v3::Listener,
    _files: &dyn super::Files,
    _warnings: &mut super::Warnings,
) -> Result<Listener, super::Rejection> {
    Err(super::FieldPath::default().reject("not compiled yet"))
}
