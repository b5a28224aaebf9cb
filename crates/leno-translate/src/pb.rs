//! xDS v3 messages under the names by which this crate calls them.

pub(crate) use leno_proto::envoy::config::accesslog::v3 as accesslog;
pub(crate) use leno_proto::envoy::config::cluster::v3 as cluster;
pub(crate) use leno_proto::envoy::config::core::v3 as core;
pub(crate) use leno_proto::envoy::config::endpoint::v3 as endpoint;
pub(crate) use leno_proto::envoy::config::listener::v3 as listener;
pub(crate) use leno_proto::envoy::config::rbac::v3 as rbac;
pub(crate) use leno_proto::envoy::config::route::v3 as route;
pub(crate) use leno_proto::envoy::config::trace::v3 as trace;
pub(crate) use leno_proto::envoy::extensions::access_loggers::filters::cel::v3 as cel_filter;
pub(crate) use leno_proto::envoy::extensions::access_loggers::{
    file::v3 as file_log, grpc::v3 as grpc_log, open_telemetry::v3 as otel_log,
};
pub(crate) use leno_proto::envoy::extensions::filters::common::fault::v3 as fault_delay;
pub(crate) use leno_proto::envoy::extensions::filters::common::set_filter_state::v3 as filter_state;
pub(crate) use leno_proto::envoy::extensions::filters::http::cors::v3 as cors;
pub(crate) use leno_proto::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
pub(crate) use leno_proto::envoy::extensions::filters::http::fault::v3 as fault;
pub(crate) use leno_proto::envoy::extensions::filters::http::jwt_authn::v3 as jwt_authn;
pub(crate) use leno_proto::envoy::extensions::filters::http::rbac::v3 as rbac_filter;
pub(crate) use leno_proto::envoy::extensions::filters::http::router::v3 as router;
pub(crate) use leno_proto::envoy::extensions::filters::http::set_filter_state::v3 as set_filter_state;
pub(crate) use leno_proto::envoy::extensions::filters::listener::{
    http_inspector::v3 as http_inspector, original_dst::v3 as original_dst,
    tls_inspector::v3 as tls_inspector,
};
pub(crate) use leno_proto::envoy::extensions::filters::network::ext_authz::v3 as network_ext_authz;
pub(crate) use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub(crate) use leno_proto::envoy::extensions::filters::network::rbac::v3 as network_rbac;
pub(crate) use leno_proto::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
pub(crate) use leno_proto::envoy::extensions::path::r#match::uri_template::v3 as uri_template;
pub(crate) use leno_proto::envoy::extensions::request_id::uuid::v3 as request_id;
pub(crate) use leno_proto::envoy::extensions::retry::host::previous_hosts::v3 as previous_hosts;
pub(crate) use leno_proto::envoy::extensions::retry::priority::previous_priorities::v3 as previous_priorities;
pub(crate) use leno_proto::envoy::extensions::transport_sockets::{
    proxy_protocol::v3 as upstream_proxy_protocol, raw_buffer::v3 as raw_buffer, tls::v3 as tls,
};
pub(crate) use leno_proto::envoy::extensions::upstreams::http::v3 as upstream_http;
pub(crate) use leno_proto::envoy::r#type::matcher::v3 as matcher;
pub(crate) use leno_proto::envoy::r#type::metadata::v3 as metadata_kind;
pub(crate) use leno_proto::envoy::r#type::tracing::v3 as tracing;
pub(crate) use leno_proto::envoy::r#type::v3 as types;
pub(crate) use leno_proto::google::protobuf;
pub(crate) use leno_proto::istio::networking::nds::v1 as nds;
pub(crate) use leno_proto::opentelemetry::proto::common::v1 as otlp;
