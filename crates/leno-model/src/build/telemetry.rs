//! Telemetry, and whom MeshConfig's providers tell of requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::kinds::mesh_config::{ExtensionProvider, MeshConfigSpec};
use leno_api::kinds::telemetry::{self as api, CustomTag, TelemetrySpec, WorkloadMode};
use leno_api::kinds::telemetry_provider::{LogFormat, TraceContextOption, ZipkinTracer};
use leno_api::{Code, Diagnostic, Object, Severity, Spec, nearest};

use super::{Context, of_kind, origin, per_million, policy_target};
use crate::mesh::MeshConfig;
use crate::name::Host;
use crate::telemetry::{
    Address, Entries, FileFormat, Logging, Provider, ProviderKind, Side, Tag, Telemetries, Telemetry, Told,
    Tracing, Zipkin,
};

/// Where Zipkin takes spans.
const SPANS: &str = "/api/v2/spans";

pub(crate) fn telemetries(
    objects: &[&Arc<Object>],
    root: &str,
    mesh: &MeshConfig,
    diagnostics: &mut Vec<Diagnostic>,
) -> Telemetries {
    let specs = of_kind(objects, |spec| match spec {
        Spec::Telemetry(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut wide: BTreeMap<&str, &Object> = BTreeMap::new();
    let mut all = Vec::new();
    for (object, spec) in specs {
        diagnostics.extend(unknown_providers(object, spec, mesh));
        let telemetry = telemetry(object, spec);
        if spec.selector.is_none() && spec.target_ref.is_none() && spec.target_refs.is_empty() {
            let first = *wide.entry(&object.key.namespace).or_insert(object);
            if !std::ptr::eq(first, object) {
                let message = format!("{} is for the whole namespace already and holds", first.key);
                let found = object.report(Code::PolicyConflict, Severity::Warning, "", message);
                diagnostics.push(found.hint("put both in one, or add a selector"));
                continue;
            }
        }
        all.push((object.key.namespace.to_string(), telemetry));
    }
    Telemetries::new(root, all)
}

fn telemetry(object: &Object, spec: &TelemetrySpec) -> Telemetry {
    Telemetry {
        origin: origin(object),
        target: policy_target(
            spec.selector.as_ref(),
            spec.target_ref.as_ref(),
            &spec.target_refs,
        ),
        logging: spec.access_logging.iter().map(logging).collect(),
        tracing: spec.tracing.iter().map(tracing).collect(),
    }
}

fn logging(said: &api::AccessLogging) -> Logging {
    let expression = said.filter.as_ref().map(|filter| filter.expression.clone());
    Logging {
        side: side(said.r#match.mode),
        providers: names(&said.providers),
        disabled: said.disabled == Some(true),
        expression: expression.filter(|expression| !expression.is_empty()),
    }
}

fn tracing(said: &api::Tracing) -> Tracing {
    Tracing {
        side: side(said.r#match.mode),
        provider: names(&said.providers).into_iter().next(),
        sampled: said.random_sampling_percentage.map(per_million),
        disabled: said.disable_span_reporting,
        tags: tags(&said.custom_tags),
        by_request_id: said.use_request_id_for_trace_sampling,
        istio_tags: said.enable_istio_tags,
    }
}

fn tags(said: &BTreeMap<String, CustomTag>) -> Vec<(String, Tag)> {
    let tag = |said: &CustomTag| {
        let text = |text: &str| text.to_owned();
        match said {
            CustomTag {
                literal: Some(literal),
                ..
            } => Some(Tag::Literal(text(&literal.value))),
            CustomTag {
                environment: Some(variable),
                ..
            } => Some(Tag::Environment(
                text(&variable.name),
                text(&variable.default_value),
            )),
            CustomTag {
                header: Some(header), ..
            } => Some(Tag::Header(text(&header.name), text(&header.default_value))),
            CustomTag {
                formatter: Some(format),
                ..
            } => Some(Tag::Format(text(&format.value))),
            _ => None,
        }
    };
    said.iter()
        .filter_map(|(name, said)| Some((name.clone(), tag(said)?)))
        .collect()
}

fn side(mode: WorkloadMode) -> Option<Side> {
    match mode {
        WorkloadMode::ClientAndServer => None,
        WorkloadMode::Client => Some(Side::Client),
        WorkloadMode::Server => Some(Side::Server),
    }
}

fn names(providers: &[api::ProviderRef]) -> Vec<String> {
    providers.iter().map(|provider| provider.name.clone()).collect()
}

fn unknown_providers(object: &Object, spec: &TelemetrySpec, mesh: &MeshConfig) -> Vec<Diagnostic> {
    let logging = spec.access_logging.iter().enumerate();
    let logging = logging.map(|(i, said)| (format!("spec.accessLogging[{i}]"), &said.providers));
    let tracing = spec.tracing.iter().enumerate();
    let tracing = tracing.map(|(i, said)| (format!("spec.tracing[{i}]"), &said.providers));
    let named = logging.chain(tracing).flat_map(|(at, providers)| {
        let providers = providers.iter().enumerate();
        providers.map(move |(i, provider)| (format!("{at}.providers[{i}].name"), &provider.name))
    });
    let unknown = named.filter(|(_, name)| mesh.told.provider(name).is_none());
    let found = unknown.map(|(path, name)| {
        let message = format!("the mesh has no provider {name} that is told of requests");
        let known = mesh.told.providers.iter().map(|provider| provider.name.as_str());
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "MeshConfig's extensionProviders name them".to_owned(),
        };
        object
            .report(Code::ProviderNotFound, Severity::Warning, &path, message)
            .hint(hint)
    });
    found.collect()
}

// === MeshConfig ===

pub(crate) fn told(spec: &MeshConfigSpec) -> Told {
    let mut providers: Vec<Provider> = spec.extension_providers.iter().filter_map(provider).collect();
    // Behind the user's, of whom the first of a name counts.
    providers.extend(Told::default().providers);
    let old = spec
        .default_config
        .as_ref()
        .and_then(|config| config.tracing.as_ref());
    let zipkin = old.and_then(|tracing| {
        let address = &tracing.zipkin.as_ref()?.address;
        let (host, port) = address.rsplit_once(':')?;
        Some(Zipkin {
            at: address_of(host, port.parse().ok()?),
            path: SPANS.into(),
            max_path: tracing.max_path_tag_length,
            wide_ids: true,
            w3c: false,
        })
    });
    Told {
        providers,
        logging: spec.default_providers.access_logging.clone(),
        tracing: spec.default_providers.tracing.clone(),
        sampled: old.and_then(|tracing| tracing.sampling).map(per_million),
        zipkin: zipkin.filter(|_| spec.enable_tracing),
        tags: old.map(|tracing| tags(&tracing.custom_tags)).unwrap_or_default(),
        max_path: old.map_or(0, |tracing| tracing.max_path_tag_length),
    }
}

/// None: nobody who is told of requests.
fn provider(said: &ExtensionProvider) -> Option<Provider> {
    let kind = if let Some(file) = &said.envoy_file_access_log {
        ProviderKind::File {
            path: file.path.clone(),
            format: file.log_format.as_ref().and_then(file_format),
            omits_empty: file.omit_empty_values,
        }
    } else if let Some(als) = &said.envoy_http_als {
        ProviderKind::Entries(Entries {
            http: true,
            at: address_of(&als.service, als.port),
            log_name: als.log_name.clone(),
            state: als.filter_state_objects_to_log.clone(),
            request_headers: als.additional_request_headers_to_log.clone(),
            response_headers: als.additional_response_headers_to_log.clone(),
            response_trailers: als.additional_response_trailers_to_log.clone(),
        })
    } else if let Some(als) = &said.envoy_tcp_als {
        ProviderKind::Entries(Entries {
            http: false,
            at: address_of(&als.service, als.port),
            log_name: als.log_name.clone(),
            state: als.filter_state_objects_to_log.clone(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            response_trailers: Vec::new(),
        })
    } else if let Some(als) = &said.envoy_otel_als {
        let format = als.log_format.clone().unwrap_or_default();
        ProviderKind::Records {
            at: address_of(&als.service, als.port),
            log_name: als.log_name.clone(),
            body: Some(format.text.clone()).filter(|text| !text.is_empty()),
            attributes: labels(&format),
        }
    } else if let Some(zipkin) = &said.zipkin {
        ProviderKind::Zipkin(self::zipkin(zipkin))
    } else {
        let otel = said.opentelemetry.as_ref()?;
        ProviderKind::OpenTelemetry {
            at: address_of(&otel.service, otel.port),
            max_path: otel.max_tag_length,
            http: otel
                .http
                .as_ref()
                .map(|http| (http.path.clone(), http.timeout.map(|timeout| timeout.0))),
        }
    };
    Some(Provider {
        name: said.name.clone(),
        kind,
    })
}

fn zipkin(said: &ZipkinTracer) -> Zipkin {
    Zipkin {
        at: address_of(&said.service, said.port),
        path: match said.path.as_str() {
            "" => SPANS.into(),
            path => path.to_owned(),
        },
        max_path: said.max_tag_length,
        wide_ids: !said.enable64bit_trace_id,
        w3c: said.trace_context_option == TraceContextOption::UseB3WithW3cPropagation,
    }
}

fn file_format(said: &LogFormat) -> Option<FileFormat> {
    match said.text.as_str() {
        "" => labels(said).map(FileFormat::Labels),
        text => Some(FileFormat::Text(text.to_owned())),
    }
}

fn labels(said: &LogFormat) -> Option<String> {
    if said.labels.is_empty() {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = said.labels.clone().into_iter().collect();
    Some(serde_json::Value::Object(object).to_string())
}

/// Validation has refused what is no port.
fn address_of(service: &str, port: u32) -> Address {
    let host = service.split_once('/').map_or(service, |(_, host)| host);
    Address {
        host: Host::new(host),
        port: u16::try_from(port).unwrap_or_default(),
    }
}

/// Providers whose services are not there: they are not told.
pub(crate) fn check_providers(context: &mut Context<'_>, objects: &[&Arc<Object>], mesh: &MeshConfig) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::MeshConfig(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let Some((object, spec)) = specs.into_iter().next() else {
        return;
    };
    let defaults = [
        ("tracing", &spec.default_providers.tracing),
        ("accessLogging", &spec.default_providers.access_logging),
    ];
    for (field, names) in defaults {
        for (i, name) in names.iter().enumerate() {
            if mesh.told.provider(name).is_none() {
                let message = format!("the mesh has no provider {name} that is told of requests");
                let path = format!("spec.defaultProviders.{field}[{i}]");
                let code = (Code::ProviderNotFound, Severity::Warning);
                context.report(object, code, &path, message, "extensionProviders name them");
            }
        }
    }
    for (i, said) in spec.extension_providers.iter().enumerate() {
        let Some(at) = mesh.told.provider(&said.name).and_then(ProviderKind::address) else {
            continue;
        };
        let path = format!("spec.extensionProviders[{i}]");
        let port = |served: &u16| *served == at.port;
        let ports: Option<Vec<u16>> = context
            .services
            .get(&at.host)
            .map(|service| service.ports.iter().map(|port| port.port).collect());
        let (code, message, hint) = match ports {
            None => {
                let message = format!(
                    "the host {} is not in the mesh: {} is not told",
                    at.host, said.name
                );
                (Code::HostNotFound, message, context.nearest_host(&at.host))
            }
            Some(ports) if !ports.iter().any(port) => {
                let message = format!("{} has no port {}: {} is not told", at.host, at.port, said.name);
                (Code::PortNotFound, message, format!("it has {ports:?}"))
            }
            Some(_) => continue,
        };
        context.report(object, (code, Severity::Warning), &path, message, hint);
    }
}
