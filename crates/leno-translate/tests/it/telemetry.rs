//! Telemetry and MeshConfig's providers: who is told of a proxy's requests, as the engine compiles it.

use std::time::Duration;

use leno_engine::compile::{self, NoFiles, Warnings};
use leno_model::delta::Key;
use leno_model::{Change, Protocol, World};
use leno_proto::FromAny;
use leno_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use leno_proto::envoy::config::accesslog::v3::{AccessLog, access_log, extension_filter};
use leno_proto::envoy::config::listener::v3::{Listener, filter};
use leno_proto::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use leno_proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use leno_translate::{Proxy, ResourceType};

use crate::envoy::accepts;
use crate::mesh::{Mesh, envoy, sidecar, workload};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: collector}
spec: {selector: {app: collector}, ports: [{name: http, port: 9411}, {name: grpc, port: 4317}]}
---
kind: MeshConfig
extensionProviders:
- {name: file, envoyFileAccessLog: {path: /tmp/log, logFormat: {text: '%PROTOCOL%'}}}
- {name: object, envoyFileAccessLog: {path: /tmp/object, logFormat: {labels: {code: '%RESPONSE_CODE%'}}}}
- {name: als, envoyHttpAls: {service: collector.default.svc.cluster.local, port: 4317}}
- {name: als-tcp, envoyTcpAls: {service: collector.default.svc.cluster.local, port: 4317}}
- {name: otel-log, envoyOtelAls: {service: default/collector.default.svc.cluster.local, port: 4317, logFormat: {labels: {code: '%RESPONSE_CODE%'}}}}
- {name: zipkin, zipkin: {service: collector.default.svc.cluster.local, port: 9411, maxTagLength: 99}}
- {name: otel, opentelemetry: {service: collector.default.svc.cluster.local, port: 4317}}
- {name: otel-http, opentelemetry: {service: collector.default.svc.cluster.local, port: 9411, http: {path: /v1/traces}}}
- {name: nowhere, zipkin: {service: nowhere.example.com, port: 9411}}
";

fn telemetry(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"
    )
}

/// With these settings besides, and these objects.
fn mesh(settings: &str, objects: &[String]) -> Mesh {
    let yaml = format!("{MESH}{settings}{}", objects.concat());
    let parsed = leno_api::read("mesh.yaml", yaml.as_bytes());
    let errors: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(|found| found.is_error())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let file = Change::File {
        file: "mesh.yaml".into(),
        objects: parsed.objects,
    };
    let mut world = World::default();
    let web = workload("web", "1", 5, &[(80, Protocol::Http), (81, Protocol::Tcp)]);
    world.apply([file, Change::Workload(web)], Duration::from_secs(1));
    Mesh((**world.snapshot()).clone())
}

fn web() -> Proxy {
    sidecar("web-1")
}

fn manager(listener: &Listener) -> HttpConnectionManager {
    compile::listener::compile(listener, &NoFiles, &mut Warnings::default()).unwrap();
    let filters = listener.filter_chains.iter().flat_map(|chain| &chain.filters);
    let mut managers = filters.filter_map(|filter| match &filter.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => config.unpack().ok(),
        _ => None,
    });
    managers.next().unwrap()
}

fn server(mesh: &Mesh) -> HttpConnectionManager {
    manager(&mesh.listener(&web(), "virtualInbound").unwrap())
}

fn client(mesh: &Mesh) -> HttpConnectionManager {
    manager(&mesh.listener(&envoy("web-1"), "0.0.0.0_80").unwrap())
}

/// What a log is, with its file or its kind, and of what.
fn shown(log: &AccessLog) -> String {
    let Some(access_log::ConfigType::TypedConfig(config)) = &log.config_type else {
        panic!("no configuration");
    };
    let to = match config.unpack::<FileAccessLog>() {
        Ok(file) => file.path,
        Err(_) => config.type_url.rsplit_once('.').unwrap().1.to_owned(),
    };
    let expression = log.filter.as_ref().map(|filter| match &filter.filter_specifier {
        Some(FilterSpecifier::ExtensionFilter(extension)) => {
            let Some(extension_filter::ConfigType::TypedConfig(config)) = &extension.config_type else {
                panic!("no configuration");
            };
            config.unpack::<ExpressionFilter>().unwrap().expression
        }
        other => format!("{other:?}"),
    });
    match expression {
        Some(expression) => format!("{to} if {expression}"),
        None => to,
    }
}

fn logs(manager: &HttpConnectionManager) -> Vec<String> {
    manager.access_log.iter().map(shown).collect()
}

fn logging(spec: &str) -> String {
    format!("{{accessLogging: [{spec}]}}")
}

#[test]
fn nobody_is_told_where_nobody_is_named_and_the_meshs_file_where_only_that_is() {
    let quiet = server(&mesh("", &[]));
    assert_eq!((logs(&quiet), quiet.tracing), (Vec::new(), None));
    assert_eq!(
        logs(&server(&mesh("accessLogFile: /dev/stderr\n", &[]))),
        ["/dev/stderr"]
    );
}

#[test]
fn the_default_providers_are_told_and_telemetry_says_otherwise() {
    let defaults = "accessLogFile: /dev/stderr\ndefaultProviders: {accessLogging: [file, envoy]}\n";
    assert_eq!(logs(&server(&mesh(defaults, &[]))), ["/dev/stdout", "/tmp/log"]);
    let own = telemetry("own", "default", &logging("{providers: [{name: object}]}"));
    assert_eq!(logs(&server(&mesh(defaults, &[own]))), ["/tmp/object"]);
    let off = telemetry("own", "default", &logging("{disabled: true}"));
    assert!(logs(&server(&mesh(defaults, &[off]))).is_empty());
    let elsewhere = telemetry("own", "elsewhere", &logging("{disabled: true}"));
    assert_eq!(logs(&server(&mesh(defaults, &[elsewhere]))).len(), 2);
}

#[test]
fn a_side_may_be_told_of_alone() {
    for (mode, of_server, of_client) in [
        ("SERVER", &["/tmp/log"][..], &[][..]),
        ("CLIENT", &[], &["/tmp/log"]),
        ("CLIENT_AND_SERVER", &["/tmp/log"], &["/tmp/log"]),
    ] {
        let said = logging(&format!(
            "{{match: {{mode: {mode}}}, providers: [{{name: file}}]}}"
        ));
        let mesh = mesh("", &[telemetry("all", "istio-system", &said)]);
        assert_eq!(logs(&server(&mesh)), of_server, "{mode}");
        assert_eq!(logs(&client(&mesh)), of_client, "{mode}");
    }
}

#[test]
fn an_expression_says_of_what_and_the_narrowest_holds() {
    let wide = telemetry(
        "wide",
        "istio-system",
        &logging("{providers: [{name: file}], filter: {expression: 'response.code >= 400'}}"),
    );
    let first = mesh("", std::slice::from_ref(&wide));
    assert_eq!(logs(&server(&first)), ["/tmp/log if response.code >= 400"]);
    let narrow = telemetry(
        "narrow",
        "default",
        "{selector: {matchLabels: {app: web-1}}, accessLogging: [{filter: {expression: 'response.code >= 500'}}]}",
    );
    let other = telemetry(
        "other",
        "default",
        "{selector: {matchLabels: {app: other}}, accessLogging: [{disabled: true}]}",
    );
    let second = mesh("", &[wide, narrow, other]);
    assert_eq!(logs(&server(&second)), ["/tmp/log if response.code >= 500"]);
}

#[test]
fn services_are_told_of_what_they_take_and_only_if_they_are_there() {
    let all =
        "{providers: [{name: als}, {name: als-tcp}, {name: otel-log}, {name: nowhere}, {name: nobody}]}";
    let mesh = mesh("", &[telemetry("all", "istio-system", &logging(all))]);
    let of_requests = ["HttpGrpcAccessLogConfig", "OpenTelemetryAccessLogConfig"];
    assert_eq!(logs(&server(&mesh)), of_requests);
    let listener = mesh.listener(&web(), "virtualInbound").unwrap();
    let refused: Vec<String> = listener.access_log.iter().map(shown).collect();
    assert!(refused[0].starts_with("OpenTelemetryAccessLogConfig if") || refused[0].starts_with("TcpGrpc"));
    assert_eq!(refused.len(), 2, "{refused:?}");
}

fn tracing(mesh: &Mesh) -> Option<Tracing> {
    server(mesh).tracing
}

fn tracer(tracing: &Tracing) -> String {
    tracing.provider.as_ref().unwrap().name.clone()
}

fn traced(spec: &str) -> String {
    format!("{{tracing: [{spec}]}}")
}

#[test]
fn traces_go_to_the_provider_that_is_named_in_so_many_cases_as_is_said() {
    let random = |tracing: &Tracing| tracing.random_sampling.unwrap().value;
    for (provider, name) in [
        ("zipkin", "envoy.tracers.zipkin"),
        ("otel", "envoy.tracers.opentelemetry"),
        ("otel-http", "envoy.tracers.opentelemetry"),
    ] {
        let spec = format!("{{providers: [{{name: {provider}}}], randomSamplingPercentage: 54.54}}");
        let tracing = tracing(&mesh("", &[telemetry("all", "istio-system", &traced(&spec))])).unwrap();
        assert_eq!((tracer(&tracing).as_str(), random(&tracing)), (name, 54.54));
        let longest = tracing.max_path_tag_length.map(|most| most.value);
        assert_eq!(longest, (provider == "zipkin").then_some(99));
    }
    let default = tracing(&mesh("defaultProviders: {tracing: [otel]}\n", &[])).unwrap();
    assert_eq!(
        (tracer(&default).as_str(), random(&default)),
        ("envoy.tracers.opentelemetry", 1.0)
    );
    let gone = telemetry("all", "istio-system", &traced("{providers: [{name: nowhere}]}"));
    assert_eq!(tracing(&mesh("", &[gone])), None);
}

#[test]
fn tracing_is_turned_off_where_it_is_said() {
    let on = telemetry("some", "istio-system", &traced("{providers: [{name: zipkin}]}"));
    let off = telemetry("none", "default", &traced("{disableSpanReporting: true}"));
    assert!(tracing(&mesh("", std::slice::from_ref(&on))).is_some());
    assert_eq!(tracing(&mesh("", &[on.clone(), off])), None);
    let clients = telemetry(
        "none",
        "default",
        &traced("{match: {mode: CLIENT}, disableSpanReporting: true}"),
    );
    let mesh = mesh("", &[on, clients]);
    assert!(tracing(&mesh).is_some());
    assert_eq!(client(&mesh).tracing, None);
}

#[test]
fn tags_of_each_kind_are_told_and_istios_own_can_be_left_out() {
    let spec = "{providers: [{name: zipkin}], enableIstioTags: ISTIO, useRequestIdForTraceSampling: false, customTags: {
        a: {literal: {value: x}}, b: {environment: {name: HOME, defaultValue: y}}, c: {header: {name: x-c}},
        d: {formatter: {value: '%PROTOCOL%'}}}}";
    let names = |istio: &str| {
        let spec = traced(&spec.replace("ISTIO", istio));
        let manager = server(&mesh("", &[telemetry("all", "istio-system", &spec)]));
        assert!(manager.request_id_extension.is_some());
        let tags = manager.tracing.unwrap().custom_tags.into_iter();
        tags.map(|tag| tag.tag).collect::<Vec<_>>()
    };
    assert_eq!(names("false"), ["a", "b", "c", "d"]);
    let istio = [
        "a",
        "b",
        "c",
        "d",
        "istio.canonical_revision",
        "istio.canonical_service",
        "istio.mesh_id",
        "istio.namespace",
    ];
    assert_eq!(names("true"), istio);
}

#[test]
fn zipkin_as_it_was_before_there_were_providers() {
    let config = "defaultConfig: {tracing: {zipkin: {address: 'collector.default.svc.cluster.local:9411'}, sampling: 10}}\n";
    assert_eq!(tracing(&mesh(config, &[])), None, "enableTracing is off");
    let on = tracing(&mesh(&format!("enableTracing: true\n{config}"), &[])).unwrap();
    assert_eq!(tracer(&on), "envoy.tracers.zipkin");
    assert_eq!(on.random_sampling.unwrap().value, 10.0);
}

#[test]
fn a_change_of_telemetry_is_one_of_its_namespace_and_listeners_depend_on_theirs() {
    let mesh = mesh("", &[]);
    let answer = mesh.ask(&web(), ResourceType::Listener, "virtualInbound");
    for namespace in ["default", "istio-system"] {
        assert!(
            answer.deps.contains(&Key::Telemetry(namespace.into())),
            "{namespace}"
        );
    }
    let cluster = mesh.ask(&web(), ResourceType::Cluster, "BlackHoleCluster");
    assert!(!cluster.deps.iter().any(|key| matches!(key, Key::Telemetry(_))));
}

#[test]
fn envoy_takes_every_provider() {
    let logging = logging(
        "{providers: [{name: file}, {name: object}, {name: als}, {name: als-tcp}, {name: otel-log}],
        filter: {expression: 'response.code >= 400'}}",
    );
    for tracer in ["zipkin", "otel", "otel-http"] {
        let tracing = traced(&format!(
            "{{providers: [{{name: {tracer}}}], useRequestIdForTraceSampling: false, customTags: {{
            a: {{literal: {{value: x}}}}, b: {{environment: {{name: HOME}}}}, c: {{header: {{name: x-c}}}}, d: {{formatter: {{value: '%PROTOCOL%'}}}}}}}}"
        ));
        let objects = [
            telemetry("logs", "istio-system", &logging),
            telemetry("traces", "default", &tracing),
        ];
        let mesh = mesh("", &objects);
        accepts("envoy_takes_every_provider", &mesh, &envoy("web-1"), &["80"]);
    }
}
