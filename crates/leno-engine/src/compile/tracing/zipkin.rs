//! `envoy.config.trace.v3.ZipkinConfig`.

use std::sync::Arc;
use std::time::Duration;

use super::opentelemetry::{FLUSH_EVERY, FLUSH_RECORDS};
use super::{Tracer, TracerKind, Zipkin};
use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::collector::{Collector, Envelope, Service};
use crate::compile::pb::trace as pb;
use crate::compile::service::{HttpService, http_service};

/// As long as Envoy waits for the collector.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn tracer(at: &At<'_>, message: &pb::ZipkinConfig) -> Result<Tracer, Rejection> {
    use pb::zipkin_config::{CollectorEndpointVersion as Version, TraceContextOption};
    let pb::ZipkinConfig {
        collector_cluster,
        collector_endpoint,
        trace_id_128bit,
        shared_span_context,
        collector_endpoint_version,
        collector_hostname,
        split_spans_for_request,
        trace_context_option,
        collector_service,
        timestamp_trace_ids,
    } = message;
    refuse!(at; timestamp_trace_ids);
    let service = match collector_service {
        Some(service) => http_service(&at.field("collector_service"), service)?,
        None => {
            at.not_empty("collector_cluster", collector_cluster)?;
            at.not_empty("collector_endpoint", collector_endpoint)?;
            HttpService {
                cluster: collector_cluster.clone(),
                authority: match collector_hostname.as_str() {
                    "" => collector_cluster.clone(),
                    name => name.to_owned(),
                },
                path: collector_endpoint.clone(),
                timeout: TIMEOUT,
                headers: Vec::new(),
            }
        }
    };
    let shared = shared_span_context.as_ref().is_none_or(|shared| shared.value);
    let envelope = match at.choice("collector_endpoint_version", *collector_endpoint_version)? {
        Version::HttpJson => Envelope::ZipkinJson,
        Version::HttpProto => Envelope::ZipkinProto,
        version @ (Version::Grpc | Version::DeprecatedAndUnavailableDoNotUse) => {
            let at = at.field("collector_endpoint_version");
            return Err(at.reject(format!("{} is not supported", version.as_str_name())));
        }
    };
    Ok(Tracer {
        collector: Arc::new(Collector {
            service: Service::Http(service),
            envelope,
            flush_every: FLUSH_EVERY,
            batch_bytes: usize::MAX,
            batch_records: FLUSH_RECORDS,
            most_records: usize::MAX,
        }),
        kind: TracerKind::Zipkin(Zipkin {
            long_ids: *trace_id_128bit,
            shared,
            split: *split_spans_for_request,
            w3c: match at.choice("trace_context_option", *trace_context_option)? {
                TraceContextOption::UseB3 => false,
                TraceContextOption::UseB3WithW3cPropagation => true,
            },
        }),
    })
}
