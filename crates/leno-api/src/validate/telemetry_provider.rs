//! MeshConfig's `extensionProviders`, as far as they are told of requests, and `defaultConfig.tracing`.

use super::{Check, access_log, names};
use crate::codes::Code;
use crate::kinds::mesh_config::{ExtensionProvider, MeshConfigSpec};
use crate::kinds::telemetry_provider::LogFormat;
use crate::suggest::nearest;

pub(super) fn check(check: &mut Check<'_>, spec: &MeshConfigSpec) {
    for (i, said) in spec.extension_providers.iter().enumerate() {
        provider(check, &format!("spec.extensionProviders[{i}]"), said);
    }
    let tracing = spec
        .default_config
        .as_ref()
        .and_then(|config| config.tracing.as_ref());
    let Some(tracing) = tracing else {
        return;
    };
    let at = "spec.defaultConfig.tracing";
    if let Some(percent) = tracing.sampling {
        check.percent(format!("{at}.sampling"), percent);
    }
    let zipkin = tracing.zipkin.as_ref().map(|zipkin| zipkin.address.as_str());
    let well_formed = |address: &str| {
        let parts = address.rsplit_once(':');
        parts.is_some_and(|(host, port)| {
            names::is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    if let Some(address) = zipkin.filter(|address| !well_formed(address)) {
        let message = format!("{address:?} is no address of a collector");
        let hint = "HOST:PORT of a service of the mesh: zipkin.istio-system.svc.cluster.local:9411";
        check.error(Code::BadAddress, format!("{at}.zipkin.address"), message, hint);
    }
}

fn provider(check: &mut Check<'_>, at: &str, said: &ExtensionProvider) {
    let mut places = Vec::new();
    if let Some(file) = &said.envoy_file_access_log {
        let at = format!("{at}.envoyFileAccessLog");
        if file.path.is_empty() {
            let hint = "a file, or /dev/stdout";
            check.error(
                Code::MissingField,
                format!("{at}.path"),
                "a log without path",
                hint,
            );
        }
        format(check, &at, file.log_format.as_ref());
    }
    if let Some(als) = &said.envoy_otel_als {
        let at = format!("{at}.envoyOtelAls");
        format(check, &at, als.log_format.as_ref());
        places.push((at, &als.service, als.port));
    }
    if let Some(als) = &said.envoy_http_als {
        places.push((format!("{at}.envoyHttpAls"), &als.service, als.port));
    }
    if let Some(als) = &said.envoy_tcp_als {
        places.push((format!("{at}.envoyTcpAls"), &als.service, als.port));
    }
    if let Some(zipkin) = &said.zipkin {
        places.push((format!("{at}.zipkin"), &zipkin.service, zipkin.port));
    }
    if let Some(otel) = &said.opentelemetry {
        places.push((format!("{at}.opentelemetry"), &otel.service, otel.port));
    }
    for (at, service, port) in places {
        let host = service.split_once('/').map_or(service.as_str(), |(_, host)| host);
        if !names::is_host(host) {
            let message = format!("{service:?} is no service");
            let hint = "a host of the mesh: collector.observability.svc.cluster.local";
            check.error(Code::BadHost, format!("{at}.service"), message, hint);
        }
        check.port(format!("{at}.port"), i64::from(port));
    }
}

fn format(check: &mut Check<'_>, at: &str, said: Option<&LogFormat>) {
    let Some(said) = said else {
        return;
    };
    operators(check, &format!("{at}.logFormat.text"), &said.text);
    for (name, value) in &said.labels {
        if let Some(text) = value.as_str() {
            operators(check, &format!("{at}.logFormat.labels.{name}"), text);
        }
    }
}

pub(super) fn operators(check: &mut Check<'_>, path: &str, format: &str) {
    let Some(operator) = access_log::unknown_operator(format) else {
        return;
    };
    let nearest = nearest(&operator, access_log::PLAIN_OPERATORS.iter().copied());
    let hint = nearest.map_or_else(String::new, |name| format!("did you mean %{name}%?"));
    let message = format!("%{operator}% is no command operator that a proxy can answer");
    check.error(Code::BadAccessLogFormat, path, message, hint);
}
