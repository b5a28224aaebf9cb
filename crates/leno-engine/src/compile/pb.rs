//! xDS v3 messages under the names by which this crate calls them.

pub(crate) use leno_proto::envoy::config::accesslog::v3 as accesslog;
pub(crate) use leno_proto::envoy::config::bootstrap::v3 as bootstrap;
pub(crate) use leno_proto::envoy::config::cluster::v3 as cluster;
pub(crate) use leno_proto::envoy::config::common::matcher::v3 as common_matcher;
pub(crate) use leno_proto::envoy::config::common::mutation_rules::v3 as mutation_rules;
pub(crate) use leno_proto::envoy::config::core::v3 as core;
pub(crate) use leno_proto::envoy::config::endpoint::v3 as endpoint;
pub(crate) use leno_proto::envoy::config::listener::v3 as listener;
pub(crate) use leno_proto::envoy::config::metrics::v3 as metrics;
pub(crate) use leno_proto::envoy::config::overload::v3 as overload;
pub(crate) use leno_proto::envoy::config::rbac::v3 as rbac;
/// What measures the pressure on a resource.
pub(crate) mod monitors {
    pub(crate) use leno_proto::envoy::extensions::resource_monitors::{
        cgroup_memory::v3 as cgroup_memory, cpu_utilization::v3 as cpu_utilization,
        downstream_connections::v3 as downstream_connections, fixed_heap::v3 as fixed_heap,
        injected_resource::v3 as injected_resource,
    };
}
pub(crate) use leno_proto::envoy::config::route::v3 as route;
pub(crate) use leno_proto::envoy::config::trace::v3 as trace;
pub(crate) use leno_proto::envoy::data::accesslog::v3 as accesslog_data;
pub(crate) use leno_proto::envoy::extensions::access_loggers::{
    file::v3 as file_log, grpc::v3 as grpc_log, open_telemetry::v3 as opentelemetry_log,
    stream::v3 as stream_log,
};
/// What brings operators of formats.
pub(crate) mod formatter {
    pub(crate) use leno_proto::envoy::extensions::formatter::{
        cel::v3 as cel, file_content::v3 as file_content, metadata::v3 as metadata,
        req_without_query::v3 as req_without_query,
    };
}
pub(crate) use leno_proto::envoy::extensions::access_loggers::filters::cel::v3 as cel_filter;
pub(crate) use leno_proto::envoy::extensions::bootstrap::internal_listener::v3 as internal_listener;
pub(crate) use leno_proto::envoy::extensions::clusters::{
    aggregate::v3 as aggregate, common::dns::v3 as common_dns, dns::v3 as dns_cluster,
};
pub(crate) use leno_proto::envoy::extensions::common::ratelimit::v3 as ratelimit;
pub(crate) use leno_proto::envoy::extensions::filters::common::fault::v3 as fault_delay;
pub(crate) use leno_proto::envoy::extensions::filters::common::set_filter_state::v3 as filter_state;
pub(crate) use leno_proto::envoy::extensions::filters::http::cors::v3 as cors;
pub(crate) use leno_proto::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
pub(crate) use leno_proto::envoy::extensions::filters::http::fault::v3 as fault;
pub(crate) use leno_proto::envoy::extensions::filters::http::grpc_stats::v3 as grpc_stats;
pub(crate) use leno_proto::envoy::extensions::filters::http::header_mutation::v3 as header_mutation;
pub(crate) use leno_proto::envoy::extensions::filters::http::health_check::v3 as health_check;
pub(crate) use leno_proto::envoy::extensions::filters::http::jwt_authn::v3 as jwt_authn;
pub(crate) use leno_proto::envoy::extensions::filters::http::local_ratelimit::v3 as local_ratelimit;
pub(crate) use leno_proto::envoy::extensions::filters::http::on_demand::v3 as on_demand;
pub(crate) use leno_proto::envoy::extensions::filters::http::rbac::v3 as rbac_filter;
pub(crate) use leno_proto::envoy::extensions::filters::http::router::v3 as router;
pub(crate) use leno_proto::envoy::extensions::filters::http::{
    set_filter_state::v3 as set_filter_state, set_metadata::v3 as set_metadata,
};
pub(crate) use leno_proto::envoy::extensions::filters::listener::{
    http_inspector::v3 as http_inspector, original_dst::v3 as original_dst,
    proxy_protocol::v3 as proxy_protocol, tls_inspector::v3 as tls_inspector,
};
pub(crate) use leno_proto::envoy::extensions::http::header_formatters::preserve_case::v3 as preserve_case;
/// Who the client is.
pub(crate) mod original_ip {
    pub(crate) use leno_proto::envoy::extensions::http::original_ip_detection::{
        custom_header::v3 as custom_header, xff::v3 as xff,
    };
}
pub(crate) use leno_proto::envoy::extensions::http::early_header_mutation::header_mutation::v3 as early_header_mutation;
pub(crate) use leno_proto::google::api::expr::v1alpha1 as expr;
/// Network filters besides the two proxies.
pub(crate) mod network {
    pub(crate) use leno_proto::envoy::extensions::filters::network::{
        connection_limit::v3 as connection_limit, direct_response::v3 as direct_response, echo::v3 as echo,
        ext_authz::v3 as ext_authz, local_ratelimit::v3 as local_ratelimit, rbac::v3 as rbac,
        set_filter_state::v3 as set_filter_state, sni_cluster::v3 as sni_cluster,
        sni_dynamic_forward_proxy::v3 as sni_dynamic_forward,
    };
}
pub(crate) use leno_proto::contrib::envoy::extensions::filters::http::peak_ewma::v3alpha as peak_ewma_filter;
/// Dynamic forward proxies.
pub(crate) use leno_proto::envoy::extensions::clusters::dynamic_forward_proxy::v3 as dynamic_cluster;
pub(crate) use leno_proto::envoy::extensions::common::dynamic_forward_proxy::v3 as dns_cache;
pub(crate) use leno_proto::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as dynamic_forward;
pub(crate) use leno_proto::envoy::extensions::filters::http::stateful_session::v3 as session;
pub(crate) use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub(crate) use leno_proto::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
pub(crate) use leno_proto::envoy::extensions::http::stateful_session::{
    cookie::v3 as session_cookie, envelope::v3 as session_envelope, header::v3 as session_header,
};
/// Load balancing policies.
pub(crate) mod lb {
    pub(crate) use leno_proto::contrib::envoy::extensions::load_balancing_policies::peak_ewma::v3alpha as peak_ewma;
    pub(crate) use leno_proto::envoy::extensions::load_balancing_policies::{
        client_side_weighted_round_robin::v3 as client_side, cluster_provided::v3 as cluster_provided,
        common::v3 as common, least_request::v3 as least_request, maglev::v3 as maglev,
        override_host::v3 as override_host, random::v3 as random, ring_hash::v3 as ring_hash,
        round_robin::v3 as round_robin, subset::v3 as subset, wrr_locality::v3 as wrr_locality,
    };
}
pub(crate) use leno_proto::envoy::extensions::health_check::event_sinks::file::v3 as event_sink;
pub(crate) use leno_proto::envoy::extensions::network::dns_resolver::{
    cares::v3 as cares, getaddrinfo::v3 as getaddrinfo,
};
pub(crate) use leno_proto::envoy::extensions::path::r#match::uri_template::v3 as uri_template_match;
pub(crate) use leno_proto::envoy::extensions::path::rewrite::uri_template::v3 as uri_template_rewrite;
/// Which hosts and priorities a retry leaves out.
pub(crate) mod retry {
    pub(crate) use leno_proto::envoy::extensions::retry::host::{
        omit_canary_hosts::v3 as omit_canary_hosts, omit_host_metadata::v3 as omit_host_metadata,
        previous_hosts::v3 as previous_hosts,
    };
    pub(crate) use leno_proto::envoy::extensions::retry::priority::previous_priorities::v3 as previous_priorities;
}
/// Where a redirect may lead.
pub(crate) mod internal_redirect {
    pub(crate) use leno_proto::envoy::extensions::internal_redirect::{
        allow_listed_routes::v3 as allow_listed_routes, previous_routes::v3 as previous_routes,
        safe_cross_scheme::v3 as safe_cross_scheme,
    };
}
pub(crate) use leno_proto::envoy::extensions::request_id::uuid::v3 as request_id;
/// What belongs to the OpenTelemetry tracer.
pub(crate) mod otel {
    pub(crate) use leno_proto::envoy::extensions::tracers::opentelemetry::{
        resource_detectors::v3 as detectors, samplers::v3 as samplers,
    };
}
pub(crate) use leno_proto::envoy::extensions::transport_sockets::{
    internal_upstream::v3 as internal_upstream, proxy_protocol::v3 as upstream_proxy_protocol,
    raw_buffer::v3 as raw_buffer, tls::v3 as tls,
};
pub(crate) use leno_proto::envoy::extensions::upstreams::http::v3 as upstream_http;
pub(crate) use leno_proto::envoy::service::auth::v3 as auth;
pub(crate) use leno_proto::envoy::service::runtime::v3 as rtds;
pub(crate) use leno_proto::envoy::r#type::http::v3 as types_http;
/// What trees of matchers look at, and how.
pub(crate) mod matching {
    pub(crate) use leno_proto::envoy::extensions::matching::common_inputs::{
        network::v3 as network, ssl::v3 as ssl, transport_socket::v3 as transport_socket,
    };
    pub(crate) use leno_proto::envoy::extensions::matching::input_matchers::{
        ip::v3 as ip, metadata::v3 as metadata,
    };
}
pub(crate) use leno_proto::envoy::r#type::matcher::v3 as matcher;
pub(crate) use leno_proto::envoy::r#type::metadata::v3 as metadata_kind;
pub(crate) use leno_proto::envoy::r#type::tracing::v3 as tracing;
pub(crate) use leno_proto::envoy::r#type::v3 as types;
pub(crate) use leno_proto::google::protobuf;
pub(crate) use leno_proto::opentelemetry::proto::common::v1 as otlp;
/// What xDS itself defines besides Envoy's messages.
pub(crate) use leno_proto::xds::core::v3 as xds_core;
pub(crate) use leno_proto::xds::r#type::matcher::v3 as xds_matcher;
pub(crate) use leno_proto::xds::r#type::v3 as xds_type;
