//! Which AuthorizationPolicies are in force for whom.

use leno_api::Code;
use leno_model::delta::Key;
use leno_model::{Labels, Origin};

use crate::{Mesh, codes, keys};

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

fn labels(app: &str) -> Labels {
    [("app".to_owned(), app.to_owned())].into()
}

fn in_force(mesh: &Mesh, namespace: &str, app: &str) -> Vec<String> {
    let snapshot = mesh.snapshot();
    let found = snapshot.authorization.for_workload(namespace, &labels(app));
    found
        .iter()
        .map(|policy| policy.origin.name.to_string())
        .collect()
}

#[test]
fn a_workload_is_held_to_the_roots_its_namespaces_and_its_own_policies() {
    let text = policy("b-mesh", "istio-system", "{}")
        + &policy("a-mesh", "istio-system", "{selector: {matchLabels: {app: web}}}")
        + &policy("namespace", "default", "{}")
        + &policy("own", "default", "{selector: {matchLabels: {app: web}}}")
        + &policy("other", "elsewhere", "{}");
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), []);
    assert_eq!(
        in_force(&mesh, "default", "web"),
        ["a-mesh", "b-mesh", "namespace", "own"]
    );
    assert_eq!(in_force(&mesh, "default", "db"), ["b-mesh", "namespace"]);
    assert_eq!(in_force(&mesh, "istio-system", "web"), ["a-mesh", "b-mesh"]);
}

#[test]
fn a_policy_for_a_gateway_holds_there_and_nowhere_else() {
    let spec = "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]}";
    let (mesh, _) = Mesh::of(&policy("edge-only", "default", spec));
    assert_eq!(in_force(&mesh, "default", "web"), [""; 0]);
    let at = |namespace: &str, name: &str| {
        let gateway = Origin {
            kind: "Gateway".into(),
            namespace: namespace.into(),
            name: name.into(),
            place: "a.yaml:1:1".into(),
        };
        let snapshot = mesh.snapshot();
        snapshot
            .authorization
            .for_gateway("gateways", &labels("gateway"), &[&gateway])
            .len()
    };
    assert_eq!(
        (at("default", "edge"), at("default", "other"), at("other", "edge")),
        (1, 0, 0)
    );
}

#[test]
fn a_policy_keeps_where_it_and_its_rules_are_written() {
    let (mesh, _) = Mesh::of(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: a\n  annotations: {istio.io/dry-run: \"true\"}\nspec:\n  rules:\n  - {}\n  - to: [{operation: {methods: [GET]}}]\n",
    );
    let found = mesh
        .snapshot()
        .authorization
        .for_workload("default", &Labels::new());
    let policy = &found[0];
    assert!(policy.dry_run);
    assert_eq!(&*policy.origin.place, "mesh.d.yaml:1:1");
    let places: Vec<&str> = policy.rules.iter().map(|rule| &*rule.place).collect();
    assert_eq!(places, ["mesh.d.yaml:8:5", "mesh.d.yaml:9:5"]);
    assert_eq!(policy.rule_name(1), "ns[default]-policy[a]-rule[1]");
}

#[test]
fn a_change_of_policies_concerns_their_namespace_only() {
    let (mut mesh, _) = Mesh::of(&policy("a", "default", "{}"));
    let outcome = mesh.file("other.yaml", &policy("b", "elsewhere", "{}"));
    assert_eq!(keys(&outcome), [Key::Authorization("elsewhere".into())]);
    let outcome = mesh.file("other.yaml", "");
    assert_eq!(keys(&outcome), [Key::Authorization("elsewhere".into())]);
}

#[test]
fn a_policy_that_would_ask_somebody_says_that_nobody_is_there() {
    let (_, outcome) = Mesh::of(&policy(
        "a",
        "default",
        "{action: CUSTOM, provider: {name: opa}, rules: [{}]}",
    ));
    assert_eq!(codes(&outcome), [Code::ProviderNotFound]);
}

/// What is said of a policy in a mesh with this `pathNormalization`.
fn said_of_paths(normalization: &str, spec: &str) -> Vec<String> {
    let mesh = format!("kind: MeshConfig\npathNormalization: {{normalization: {normalization}}}\n---\n");
    let (_, outcome) = Mesh::of(&(mesh + &policy("paths", "default", spec)));
    assert!(codes(&outcome).iter().all(|code| *code == Code::OtherSpellings));
    outcome.diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn a_forbidden_path_that_has_other_spellings_is_warned_of() {
    let denied = r#"{action: DENY, rules: [{to: [{operation: {paths: ["/admin*"]}}]}]}"#;
    for (normalization, spellings) in [
        ("NONE", "with /./, //, %2F and escaped letters,"),
        ("DEFAULT", "with // and %2F,"),
        ("BASE", "with // and %2F,"),
        ("MERGE_SLASHES", "with %2F,"),
    ] {
        let said = said_of_paths(normalization, denied).concat();
        assert!(said.contains(spellings), "{normalization}: {said}");
        assert!(said.contains("spec.rules[0].to[0].operation.paths"), "{said}");
    }
    assert_eq!(said_of_paths("DECODE_AND_MERGE_SLASHES", denied), [""; 0]);
    let all_but = r#"{rules: [{to: [{operation: {methods: [GET]}}, {operation: {notPaths: [/admin]}}]}]}"#;
    let said = said_of_paths("BASE", all_but).concat();
    assert!(said.contains("spec.rules[0].to[1].operation.notPaths"), "{said}");
}

#[test]
fn a_policy_that_no_spelling_comes_past_is_not_warned_of() {
    for spec in [
        r#"{rules: [{to: [{operation: {paths: ["/public*"]}}]}]}"#,
        r#"{action: DENY, rules: [{to: [{operation: {paths: ["*"]}}]}]}"#,
        r#"{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}"#,
        r#"{action: AUDIT, rules: [{to: [{operation: {paths: ["/admin*"]}}]}]}"#,
    ] {
        assert_eq!(said_of_paths("BASE", spec), [""; 0], "{spec}");
    }
}

const PROVIDERS: &str = "kind: MeshConfig\nextensionProviders:\n- name: opa\n  envoyExtAuthzGrpc: {service: authz.default.svc.cluster.local, port: 9000, failOpen: true}\n";

#[test]
fn a_policy_knows_its_provider_and_a_provider_that_its_service_is_missing() {
    let spec = "{action: CUSTOM, provider: {name: opa}, rules: [{}]}";
    let (mut mesh, outcome) = Mesh::of(&(PROVIDERS.to_owned() + "---\n" + &policy("a", "default", spec)));
    assert_eq!(codes(&outcome), [Code::HostNotFound]);
    let service = |port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: authz}}\nspec: {{ports: [{{name: grpc, port: {port}}}]}}\n"
        )
    };
    assert_eq!(
        codes(&mesh.file("authz.yaml", &service(9001))),
        [Code::PortNotFound]
    );
    assert_eq!(codes(&mesh.file("authz.yaml", &service(9000))), []);
}
