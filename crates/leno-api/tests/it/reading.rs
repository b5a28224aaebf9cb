//! Reading: places, neighbours, names that are nearly right, what is skipped and what is refused.

use leno_api::{Code, Kind, Severity, Spec, read};

use crate::{errors, only};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";

#[test]
fn every_served_kind_is_read() {
    let parsed = read("good.yaml", include_bytes!("good.yaml"));
    assert_eq!(parsed.diagnostics, []);
    let kinds: Vec<Kind> = parsed.objects.iter().map(|object| object.key.kind).collect();
    let want = [
        Kind::Service,
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::HttpRoute,
        Kind::PeerAuthentication,
        Kind::AuthorizationPolicy,
        Kind::RequestAuthentication,
    ];
    assert_eq!(kinds, want);
    assert_eq!(&*parsed.objects[0].key.namespace, "default");
    assert_eq!(
        parsed.objects[1].place_of("spec.http[0].route[1]").to_string(),
        "good.yaml:32:7"
    );
}

#[test]
fn an_unknown_field_names_its_place_and_the_nearest_name() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hots: [a]\n  http: [{route: [{destination: {host: a, subst: v1}}]}]\n";
    let parsed = read("dir/a.yaml", text.as_bytes());
    let lines: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "error[LN0102]: unknown field hots — dir/a.yaml:5:3 (VirtualService default/a, spec.hots) — did you mean hosts?",
            "error[LN0102]: unknown field subst — dir/a.yaml:6:43 (VirtualService default/a, spec.http[0].route[0].destination.subst) — did you mean subset?",
        ]
    );
    assert_eq!(parsed.diagnostics[0].snippet.as_deref(), Some("  hots: [a]"));
    assert_eq!(parsed.rejected.len(), 1);
}

#[test]
fn a_wrong_type_says_what_is_there_and_what_is_expected() {
    let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - port: \"80\"\n";
    let parsed = read("a.yaml", text.as_bytes());
    let found = only(&parsed);
    assert_eq!(
        (found.code, found.place.line, found.place.column),
        (Code::WrongValue, 7, 11)
    );
    assert_eq!(found.message, "the text \"80\" where a whole number is expected");
    assert_eq!(found.hint, "take the quotes away");
    assert_eq!(found.path, "spec.ports[0].port");
}

#[test]
fn a_label_that_yaml_takes_for_a_number_is_refused_with_the_remedy() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {version: 1.0}, ports: [{port: 80}]}\n";
    let parsed = read("a.yaml", text.as_bytes());
    assert_eq!(only(&parsed).hint, "put it in quotes");
}

#[test]
fn an_unknown_value_of_an_enumeration_names_the_nearest() {
    let text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {mtls: {mode: STRIKT}}\n";
    let parsed = read("a.yaml", text.as_bytes());
    assert_eq!(only(&parsed).hint, "did you mean STRICT?");
    assert_eq!(only(&parsed).path, "spec.mtls.mode");
}

#[test]
fn a_broken_document_does_not_lose_its_neighbours() {
    let text = format!(
        "{SERVICE}---\nkind: [unclosed\n---\n{}",
        SERVICE.replace("web", "api")
    );
    let parsed = read("a.yaml", text.as_bytes());
    let names: Vec<&str> = parsed.objects.iter().map(|object| &*object.key.name).collect();
    assert_eq!(names, ["web", "api"]);
    assert!(parsed.broken);
    assert_eq!(only(&parsed).code, Code::Syntax);
}

#[test]
fn an_invalid_object_does_not_lose_its_neighbours() {
    let text = format!(
        "{SERVICE}---\n{}",
        SERVICE.replace("web", "api").replace("port: 80", "port: 0")
    );
    let parsed = read("a.yaml", text.as_bytes());
    assert_eq!(parsed.objects.len(), 1);
    assert_eq!(&*parsed.rejected[0].name, "api");
    assert!(!parsed.broken);
}

#[test]
fn features_that_are_not_served_are_refused_by_name() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [a], tcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}]}\n";
    let parsed = read("a.yaml", text.as_bytes());
    assert_eq!(only(&parsed).code, Code::NotServed);
    assert_eq!(
        only(&parsed).message,
        "spec.tcp[0].match[0].sourceSubnet is not served by leno yet"
    );
    let external = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: ExternalName, externalName: a.b, externalIPs: [192.0.2.1], ports: [{port: 80}]}\n";
    assert_eq!(errors(external), [(Code::NotServed, 4)], "externalIPs");
}

#[test]
fn what_is_without_effect_is_accepted_with_a_warning() {
    let text = "kind: MeshConfig\ndefaultConfig: {concurrency: 2}\ntrustDomain: example.org\n";
    let parsed = read("a.yaml", text.as_bytes());
    assert_eq!(
        (only(&parsed).code, only(&parsed).severity),
        (Code::Ignored, Severity::Warning)
    );
    assert_eq!(parsed.objects.len(), 1);
}

#[test]
fn mesh_yaml_is_the_mesh_config_itself() {
    let parsed = read(
        "conf/mesh.yaml",
        b"outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n",
    );
    assert_eq!(parsed.diagnostics, []);
    assert!(matches!(parsed.objects[0].spec, Spec::MeshConfig(_)));
    assert_eq!(
        read("other.yaml", b"trustDomain: a\n").diagnostics[0].code,
        Code::NotAnObject
    );
}

#[test]
fn kinds_of_kubernetes_are_skipped_and_unknown_ones_reported() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\napiVersion: v9\nkind: Servce\nmetadata: {name: a}\n";
    let parsed = read("a.yaml", text.as_bytes());
    let found: Vec<_> = parsed.diagnostics.iter().map(|d| (d.code, d.severity)).collect();
    assert_eq!(
        found,
        [
            (Code::SkippedKind, Severity::Info),
            (Code::UnknownKind, Severity::Warning)
        ]
    );
    assert_eq!(parsed.diagnostics[1].hint, "did you mean Service?");
}

#[test]
fn a_policy_that_protects_is_never_skipped_quietly() {
    let text =
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: tls}\nspec: {}\n";
    assert_eq!(errors(text), [(Code::NotServed, 2)]);
}

#[test]
fn json_and_lists_are_read() {
    let json = br#"{"apiVersion": "v1", "kind": "List", "items": [
	{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}]}"#;
    let parsed = read("a.json", json);
    assert_eq!(parsed.diagnostics, []);
    assert_eq!(parsed.objects.len(), 1);
}

#[test]
fn a_file_of_comments_is_empty_and_nothing_else() {
    let parsed = read("a.yaml", b"# nothing\n---\n# yet\n");
    assert!(parsed.empty && !parsed.broken && parsed.diagnostics.is_empty());
}

#[test]
fn files_over_the_limit_and_files_that_are_not_text_are_refused() {
    let large = vec![b'#'; leno_api::MAX_FILE_BYTES + 1];
    assert_eq!(read("a.yaml", &large).diagnostics[0].code, Code::TooLarge);
    assert_eq!(read("a.yaml", b"a: \xff").diagnostics[0].code, Code::NotText);
}

#[test]
fn a_null_field_is_a_field_that_is_not_there() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: }\nspec: {selector: ~, ports: [{port: 80, name: }]}\nstatus: {anything: 1}\n";
    assert_eq!(read("a.yaml", text.as_bytes()).diagnostics, []);
}
