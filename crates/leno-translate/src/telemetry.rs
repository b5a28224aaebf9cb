//! Whom a proxy tells of requests, by Telemetry and MeshConfig: merged as Istio does.

use std::collections::BTreeMap;
use std::sync::Arc;

use leno_model::telemetry::{Address, Logging, ProviderKind, SAMPLED, Side, Tag, Telemetry, Told};
use leno_model::{Labels, MeshConfig};

use crate::Proxy;
use crate::access_log::{LogInput, Logger, file_of_mesh};
use crate::naming::outbound_cluster;
use crate::reader::Reader;
use crate::tracing::{Tracer, TracingInput};

/// None: nobody is told.
pub(crate) fn told(reader: &mut Reader<'_>, proxy: &Proxy, side: Side) -> Option<LogInput> {
    let mesh = reader.mesh();
    let telemetry = reader.telemetry(proxy);
    let loggers = loggers(reader, mesh, &telemetry, side);
    let tracing = tracing(reader, proxy, &telemetry, side);
    LogInput::new(loggers, tracing)
}

/// The clusters of those who are told, for a proxy that does not ask for them one by one.
pub(crate) fn clusters(reader: &mut Reader<'_>, proxy: &Proxy, side: Side) -> Vec<String> {
    let told = told(reader, proxy, side);
    told.iter()
        .flat_map(LogInput::clusters)
        .map(str::to_owned)
        .collect()
}

fn loggers(
    reader: &mut Reader<'_>,
    mesh: &MeshConfig,
    telemetry: &[Arc<Telemetry>],
    side: Side,
) -> Vec<Logger> {
    let told = &mesh.told;
    if told.logging.is_empty() && telemetry.iter().all(|telemetry| telemetry.logging.is_empty()) {
        return file_of_mesh(mesh).into_iter().collect();
    }
    let logs: Vec<&[Logging]> = telemetry
        .iter()
        .map(|telemetry| telemetry.logging.as_slice())
        .filter(|logging| !logging.is_empty())
        .collect();
    let loggers = holding(&told.logging, &logs, side).into_iter();
    let loggers = loggers.filter_map(|(name, expression)| {
        let kind = told.provider(&name)?;
        let cluster = match kind.address() {
            Some(at) => Some(cluster(reader, at)?),
            None => None,
        };
        Logger::new(kind, cluster, expression)
    });
    loggers.collect()
}

/// The providers that are told, each with what it is told of.
fn holding(defaults: &[String], logs: &[&[Logging]], side: Side) -> BTreeMap<String, Option<String>> {
    if logs.is_empty() {
        return defaults.iter().map(|name| (name.clone(), None)).collect();
    }
    let concerns = |logging: &&Logging| logging.side.is_none_or(|wanted| wanted == side);
    // The narrowest that names providers says which there are; of each the last says what of.
    let mut in_scope: Vec<&String> = defaults.iter().collect();
    let mut expressions: BTreeMap<&str, Option<&String>> = BTreeMap::new();
    for logging in logs {
        let said = logging.iter().filter(concerns);
        let named: Vec<&String> = said.clone().flat_map(|logging| &logging.providers).collect();
        for logging in said {
            let names = logging.providers.iter().map(String::as_str);
            expressions.extend(names.map(|name| (name, logging.expression.as_ref())));
            if logging.providers.is_empty() && logging.expression.is_some() {
                let names = in_scope.iter().map(|name| name.as_str());
                expressions.extend(names.map(|name| (name, logging.expression.as_ref())));
            }
        }
        if !named.is_empty() {
            in_scope = named;
        }
    }
    let mut told: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut parents: Vec<&String> = defaults.iter().collect();
    for logging in logs.iter().flat_map(|logging| logging.iter()) {
        if !logging.providers.is_empty() {
            parents = logging.providers.iter().collect();
        }
        if !concerns(&logging) {
            continue;
        }
        for name in parents.iter().filter(|name| in_scope.contains(name)) {
            if logging.disabled {
                told.remove(*name);
            } else {
                let expression = expressions.get(name.as_str()).copied().flatten();
                told.insert((*name).clone(), expression.cloned());
            }
        }
    }
    told
}

/// None: it is not in the mesh; the model has said so.
fn cluster(reader: &mut Reader<'_>, at: &Address) -> Option<String> {
    let service = reader.service(&at.host)?;
    service.port(at.port)?;
    Some(outbound_cluster(at.port, None, &at.host))
}

/// What has been said so far.
#[derive(Default)]
struct Spec<'t> {
    provider: Option<&'t ProviderKind>,
    disabled: bool,
    sampled: Option<u32>,
    tags: Vec<(String, Tag)>,
    not_by_request_id: bool,
    no_istio_tags: bool,
}

fn tracing(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    telemetry: &[Arc<Telemetry>],
    side: Side,
) -> Option<TracingInput> {
    let told = &reader.mesh().told;
    let said: Vec<_> = telemetry
        .iter()
        .flat_map(|telemetry| &telemetry.tracing)
        .filter(|tracing| tracing.side.is_none_or(|wanted| wanted == side))
        .collect();
    let old = told.zipkin.clone().map(ProviderKind::Zipkin);
    let mut spec = Spec {
        provider: told
            .tracing
            .first()
            .and_then(|name| told.provider(name))
            .or(old.as_ref()),
        tags: told.tags.clone(),
        ..Spec::default()
    };
    for tracing in said {
        let named = tracing.provider.as_ref().and_then(|name| told.provider(name));
        spec.provider = named.or(spec.provider);
        spec.disabled = tracing.disabled.unwrap_or(spec.disabled);
        spec.sampled = tracing.sampled.or(spec.sampled);
        spec.not_by_request_id = tracing
            .by_request_id
            .map_or(spec.not_by_request_id, |wanted| !wanted);
        spec.no_istio_tags = tracing.istio_tags.map_or(spec.no_istio_tags, |wanted| !wanted);
        if !tracing.tags.is_empty() {
            spec.tags.clone_from(&tracing.tags);
        }
    }
    if spec.disabled {
        return None;
    }
    let kind = spec.provider?;
    let cluster = cluster(reader, kind.address()?)?;
    let tracer = Tracer::new(kind, cluster)?;
    let mut tags = spec.tags;
    if !spec.no_istio_tags {
        tags.extend(istio_tags(proxy));
        let mesh = Tag::Literal(reader.mesh().trust_domain.clone());
        tags.push(("istio.mesh_id".into(), mesh));
    }
    tags.sort_by(|(a, _), (b, _)| a.cmp(b));
    // The user's stand before Istio's of the same name.
    tags.dedup_by(|(a, _), (b, _)| a == b);
    Some(TracingInput {
        sampled: spec.sampled.or(told.sampled).unwrap_or(SAMPLED),
        max_path: max_path(kind, told),
        by_request_id: !spec.not_by_request_id,
        service: format!("{}.{}", canonical_service(proxy), proxy.namespace),
        tracer,
        tags,
    })
}

fn max_path(kind: &ProviderKind, told: &Told) -> u32 {
    let own = match kind {
        ProviderKind::Zipkin(zipkin) => zipkin.max_path,
        ProviderKind::OpenTelemetry { max_path, .. } => *max_path,
        _ => 0,
    };
    if own == 0 { told.max_path } else { own }
}

fn istio_tags(proxy: &Proxy) -> impl Iterator<Item = (String, Tag)> {
    let tag = |name: &str, value: String| (format!("istio.{name}"), Tag::Literal(value));
    [
        tag("canonical_service", canonical_service(proxy)),
        tag("canonical_revision", canonical_revision(&proxy.labels)),
        tag("namespace", proxy.namespace.clone()),
    ]
    .into_iter()
}

fn canonical_service(proxy: &Proxy) -> String {
    let labels = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
    let named = labels.iter().find_map(|label| proxy.labels.get(*label));
    named.cloned().unwrap_or_else(|| {
        let id = proxy.id.split('~').nth(2).unwrap_or_default();
        let name = id.strip_suffix(proxy.namespace.as_str());
        let name = name.and_then(|name| name.strip_suffix('.')).unwrap_or(id);
        name.to_owned()
    })
}

fn canonical_revision(labels: &Labels) -> String {
    let names = [
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ];
    let named = names.iter().find_map(|label| labels.get(*label));
    named.cloned().unwrap_or_else(|| "latest".into())
}
