//! `envoy.config.trace.v3.OpenTelemetryConfig`, its detectors of resources and its samplers.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::FromAny;

use super::{Sampler, Share, Tracer, TracerKind, share};
use crate::compile::Rejection;
use crate::compile::at::{At, refuse, silent};
use crate::compile::collector::{Collector, Envelope, Service};
use crate::compile::pb::otel::{detectors, samplers};
use crate::compile::pb::protobuf::BoolValue;
use crate::compile::pb::{core, trace as pb};
use crate::compile::service::{grpc_service, http_service};

/// Envoy's defaults.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(5);
pub(super) const FLUSH_RECORDS: usize = 5;
const CACHED_SPANS: usize = 1024;

pub(super) fn tracer(at: &At<'_>, message: &pb::OpenTelemetryConfig) -> Result<Tracer, Rejection> {
    let pb::OpenTelemetryConfig {
        grpc_service: grpc,
        http_service: http,
        exporter,
        service_name,
        resource_detectors,
        sampler,
        max_cache_size,
        set_telemetry_sdk_resource_attributes,
        set_service_name_resource_attribute,
        set_instrumentation_scope,
    } = message;
    refuse!(at; exporter);
    let service = match (grpc, http) {
        (Some(grpc), None) => Service::Grpc(grpc_service(&at.field("grpc_service"), grpc)?),
        (None, Some(http)) => Service::Http(http_service(&at.field("http_service"), http)?),
        _ => return Err(at.reject("one of grpc_service and http_service is required")),
    };
    let is = |said: &Option<BoolValue>| said.as_ref().is_none_or(|said| said.value);
    let mut resource: Vec<(String, String)> = Vec::new();
    let mut say = |key: &str, value: &str| match resource.iter_mut().find(|(known, _)| known == key) {
        Some((_, said)) => value.clone_into(said),
        None => resource.push((key.to_owned(), value.to_owned())),
    };
    if is(set_service_name_resource_attribute) {
        say(
            "service.name",
            match service_name.as_str() {
                // OpenTelemetry's word for it, with Envoy's name.
                "" => "unknown_service:envoy",
                name => name,
            },
        );
    }
    if is(set_telemetry_sdk_resource_attributes) {
        say("telemetry.sdk.language", "rust");
        say("telemetry.sdk.name", "leno");
        say("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    }
    for (i, detector) in resource_detectors.iter().enumerate() {
        let at = at.item("resource_detectors", i);
        for (key, value) in detected(&at, detector)? {
            say(&key, &value);
        }
    }
    Ok(Tracer {
        collector: Arc::new(Collector {
            service,
            envelope: Envelope::Spans {
                resource,
                scope: is(set_instrumentation_scope),
            },
            flush_every: FLUSH_EVERY,
            batch_bytes: usize::MAX,
            batch_records: FLUSH_RECORDS,
            most_records: match max_cache_size {
                None => CACHED_SPANS,
                Some(most) => most.value as usize,
            },
        }),
        kind: TracerKind::OpenTelemetry {
            sampler: match sampler {
                None => None,
                Some(said) => Some(self::sampler(&at.field("sampler"), said)?),
            },
        },
    })
}

fn detected(at: &At<'_>, message: &core::TypedExtensionConfig) -> Result<Vec<(String, String)>, Rejection> {
    let core::TypedExtensionConfig { name, typed_config } = message;
    silent!("names are for people"; name);
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    if any.is::<detectors::StaticConfigResourceDetectorConfig>() {
        let detectors::StaticConfigResourceDetectorConfig { attributes } = at.unpack(any)?;
        let mut attributes: Vec<(String, String)> = attributes.into_iter().collect();
        attributes.retain(|(_, value)| !value.is_empty());
        attributes.sort();
        return Ok(attributes);
    }
    let detectors::EnvironmentResourceDetectorConfig {} = at.unpack(any)?;
    let said = at.environment("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let pairs = said.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                let why = format!("OTEL_RESOURCE_ATTRIBUTES: no KEY=VALUE: {pair:?}");
                at.reject(why)
            })?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

fn sampler(at: &At<'_>, message: &core::TypedExtensionConfig) -> Result<Sampler, Rejection> {
    let core::TypedExtensionConfig { name, typed_config } = message;
    silent!("names are for people"; name);
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    if any.is::<samplers::AlwaysOnSamplerConfig>() {
        let samplers::AlwaysOnSamplerConfig {} = at.unpack(any)?;
        return Ok(Sampler::AlwaysOn);
    }
    if any.is::<samplers::ParentBasedSamplerConfig>() {
        let samplers::ParentBasedSamplerConfig { wrapped_sampler } = at.unpack(any)?;
        let wrapped = at.required("wrapped_sampler", &wrapped_sampler)?;
        let wrapped = sampler(&at.field("wrapped_sampler"), wrapped)?;
        return Ok(Sampler::Parent(Box::new(wrapped)));
    }
    let samplers::TraceIdRatioBasedSamplerConfig { sampling_percentage } = at.unpack(any)?;
    Ok(Sampler::Ratio(match &sampling_percentage {
        None => Share {
            numerator: 0,
            of: 100,
        },
        Some(said) => share(&at.field("sampling_percentage"), said)?,
    }))
}
