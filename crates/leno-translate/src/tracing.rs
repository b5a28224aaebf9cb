//! Traces: `tracing` of the connection manager.

use std::time::Duration;

use leno_model::telemetry::{ProviderKind, Tag, Zipkin};
use leno_proto::ToAny;

use crate::parts::{bool_value, duration, u32_value};
use crate::pb::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use crate::pb::hcm::{RequestIdExtension, http_connection_manager as manager};
use crate::pb::protobuf::Any;
use crate::pb::{core, request_id, trace, tracing as tag, types};

/// As long as Envoy waits for a collector.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TracingInput {
    /// Of a million requests.
    pub(crate) sampled: u32,
    /// Bytes of a path; 0: as many as Envoy takes.
    pub(crate) max_path: u32,
    pub(crate) by_request_id: bool,
    /// Who says so.
    pub(crate) service: String,
    pub(crate) tracer: Tracer,
    pub(crate) tags: Vec<(String, Tag)>,
}

/// Who gets the spans, and in which cluster it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tracer {
    cluster: String,
    authority: String,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Form {
    Zipkin(Zipkin),
    OtlpGrpc,
    OtlpHttp(String, Option<Duration>),
}

// === impl Tracer ===

impl Tracer {
    /// None: it takes no spans.
    pub(crate) fn new(kind: &ProviderKind, cluster: String) -> Option<Self> {
        let form = match kind {
            ProviderKind::Zipkin(zipkin) => Form::Zipkin(zipkin.clone()),
            ProviderKind::OpenTelemetry { http, .. } => match http {
                None => Form::OtlpGrpc,
                Some((path, timeout)) => Form::OtlpHttp(path.clone(), *timeout),
            },
            ProviderKind::File { .. } | ProviderKind::Entries(_) | ProviderKind::Records { .. } => {
                return None;
            }
        };
        Some(Self {
            authority: kind.address()?.host.to_string(),
            cluster,
            form,
        })
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    fn config(&self, service: &str) -> trace::tracing::Http {
        use trace::zipkin_config::{CollectorEndpointVersion, TraceContextOption};
        let otlp = trace::OpenTelemetryConfig {
            service_name: service.to_owned(),
            ..Default::default()
        };
        let (name, config): (&str, Any) = match &self.form {
            Form::Zipkin(zipkin) => {
                let option = match zipkin.w3c {
                    true => TraceContextOption::UseB3WithW3cPropagation,
                    false => TraceContextOption::UseB3,
                };
                let config = trace::ZipkinConfig {
                    collector_cluster: self.cluster.clone(),
                    collector_endpoint: zipkin.path.clone(),
                    collector_endpoint_version: CollectorEndpointVersion::HttpJson.into(),
                    collector_hostname: self.authority.clone(),
                    trace_id_128bit: zipkin.wide_ids,
                    // Each proxy has a span of its own.
                    shared_span_context: bool_value(false),
                    trace_context_option: option.into(),
                    ..Default::default()
                };
                ("envoy.tracers.zipkin", config.to_any())
            }
            Form::OtlpGrpc => {
                let config = trace::OpenTelemetryConfig {
                    grpc_service: Some(core::GrpcService {
                        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                            cluster_name: self.cluster.clone(),
                            authority: self.authority.clone(),
                            ..Default::default()
                        })),
                        ..Default::default()
                    }),
                    ..otlp
                };
                ("envoy.tracers.opentelemetry", config.to_any())
            }
            Form::OtlpHttp(path, timeout) => {
                let config = trace::OpenTelemetryConfig {
                    http_service: Some(core::HttpService {
                        http_uri: Some(core::HttpUri {
                            uri: format!("http://{}/{}", self.authority, path.trim_start_matches('/')),
                            timeout: duration(timeout.unwrap_or(PATIENCE)),
                            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(
                                self.cluster.clone(),
                            )),
                        }),
                        ..Default::default()
                    }),
                    ..otlp
                };
                ("envoy.tracers.opentelemetry", config.to_any())
            }
        };
        trace::tracing::Http {
            name: name.to_owned(),
            config_type: Some(trace::tracing::http::ConfigType::TypedConfig(config)),
        }
    }
}

// === impl TracingInput ===

impl TracingInput {
    pub(crate) fn tracing(&self) -> manager::Tracing {
        let percent = |value: f64| Some(types::Percent { value });
        manager::Tracing {
            client_sampling: percent(100.0),
            random_sampling: percent(f64::from(self.sampled) / 10_000.0),
            overall_sampling: percent(100.0),
            max_path_tag_length: u32_value(self.max_path).filter(|most| most.value > 0),
            provider: Some(self.tracer.config(&self.service)),
            custom_tags: self
                .tags
                .iter()
                .map(|(name, said)| custom_tag(name, said))
                .collect(),
            ..Default::default()
        }
    }

    /// Whether a trace is taken by the number in the request's id.
    pub(crate) fn request_id(&self) -> Option<RequestIdExtension> {
        let config = request_id::UuidRequestIdConfig {
            use_request_id_for_trace_sampling: bool_value(false),
            ..Default::default()
        };
        // Envoy's default.
        (!self.by_request_id).then(|| RequestIdExtension {
            typed_config: Some(config.to_any()),
        })
    }
}

fn custom_tag(name: &str, said: &Tag) -> tag::CustomTag {
    use tag::custom_tag::{Environment, Header, Literal, Type};
    let kind = match said {
        Tag::Literal(value) => Type::Literal(Literal { value: value.clone() }),
        Tag::Environment(name, otherwise) => Type::Environment(Environment {
            name: name.clone(),
            default_value: otherwise.clone(),
        }),
        Tag::Header(name, otherwise) => Type::RequestHeader(Header {
            name: name.clone(),
            default_value: otherwise.clone(),
        }),
        Tag::Format(format) => Type::Value(format.clone()),
    };
    tag::CustomTag {
        tag: name.to_owned(),
        r#type: Some(kind),
    }
}
