//! DestinationRule, PeerAuthentication, MeshConfig.

use std::time::Duration;

use leno_api::Code;
use leno_model::{LoadBalancer, MtlsMode, OutboundPolicy, TlsMode};

use crate::{Mesh, codes, host, istio, service, workload};

fn peer_authentication(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

#[test]
fn a_subset_replaces_whole_sections_and_ports_stand_for_themselves() {
    let spec = "{host: reviews, trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 7}}, portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: u, ttl: 5s}}}}}]}";
    let (mesh, outcome) = Mesh::of(&(service("reviews") + &istio("DestinationRule", "r", spec)));
    assert_eq!(codes(&outcome), []);
    let snapshot = mesh.snapshot();
    let policy = &snapshot.policies[&host("reviews")].rules[0];
    assert_eq!(policy.policy.balancer, Some(LoadBalancer::Random));
    let (port, at_port) = &policy.policy.ports[0];
    assert_eq!(
        (*port, at_port.tls.clone(), at_port.balancer.clone()),
        (80, Some(TlsMode::Disable), None)
    );
    let subset = &policy.subsets[0].policy;
    assert_eq!(subset.pool.max_connections, Some(7));
    let cookie = LoadBalancer::HashCookie {
        name: "u".into(),
        path: None,
        ttl: Duration::from_secs(5),
        attributes: Vec::new(),
    };
    assert_eq!(subset.balancer, Some(cookie.clone()));
    assert_eq!(
        (subset.ports[0].1.tls.clone(), subset.ports[0].1.balancer.clone()),
        (Some(TlsMode::Disable), Some(cookie))
    );
}

#[test]
fn destination_rules_of_one_host_add_up_their_subsets() {
    let text = service("reviews")
        + &istio(
            "DestinationRule",
            "a",
            "{host: reviews, subsets: [{name: v1, labels: {version: v1}}]}",
        )
        + &istio(
            "DestinationRule",
            "b",
            "{host: reviews, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1}, {name: v2}]}",
        )
        + &istio(
            "DestinationRule",
            "c",
            "{host: reviews, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}",
        );
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), [Code::PolicyConflict, Code::PolicyConflict]);
    let snapshot = mesh.snapshot();
    let policy = &snapshot.policies[&host("reviews")].rules[0];
    assert_eq!(
        policy.subsets.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["v1", "v2"]
    );
    assert_eq!(policy.policy.balancer, Some(LoadBalancer::Random));
}

/// Which of the rules is in force for a caller.
fn in_force(mesh: &Mesh, service: &str, namespace: &str, label: &str) -> Option<String> {
    let labels = [("app".to_owned(), label.to_owned())].into();
    let snapshot = mesh.snapshot();
    let rule = snapshot.policy(&host(service), namespace, &labels)?;
    Some(rule.origin.name.to_string())
}

fn rule_in(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

#[test]
fn a_caller_has_the_rule_of_its_own_namespace_then_the_services_then_the_roots() {
    const HOST: &str = "{host: reviews.default.svc.cluster.local}";
    let own = rule_in("own", "callers", HOST);
    let services = rule_in("services", "default", HOST);
    let root = rule_in("root", "istio-system", HOST);
    let mut mesh = Mesh::new();
    mesh.file("s.yaml", &service("reviews"));
    mesh.file("r.yaml", &root);
    assert_eq!(in_force(&mesh, "reviews", "callers", "").as_deref(), Some("root"));
    mesh.file("r.yaml", &(root.clone() + &services));
    assert_eq!(
        in_force(&mesh, "reviews", "callers", "").as_deref(),
        Some("services")
    );
    mesh.file("r.yaml", &(root + &services + &own));
    assert_eq!(in_force(&mesh, "reviews", "callers", "").as_deref(), Some("own"));
    assert_eq!(
        in_force(&mesh, "reviews", "elsewhere", "").as_deref(),
        Some("services"),
        "a third namespace's rule is its own affair"
    );
}

#[test]
fn the_most_specific_host_of_a_namespace_holds() {
    let text = service("reviews")
        + &service("ratings")
        + &rule_in("all", "default", "{host: '*'}")
        + &rule_in("suffix", "default", "{host: '*.default.svc.cluster.local'}")
        + &rule_in("exact", "default", "{host: reviews}");
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), []);
    assert_eq!(
        in_force(&mesh, "reviews", "default", "").as_deref(),
        Some("exact")
    );
    assert_eq!(
        in_force(&mesh, "ratings", "default", "").as_deref(),
        Some("suffix")
    );
    let (_, outcome) =
        Mesh::of(&(service("reviews") + &rule_in("far", "default", "{host: '*.far.example'}")));
    assert_eq!(codes(&outcome), [Code::HostNotFound]);
}

#[test]
fn a_rule_that_selects_its_callers_goes_before_one_for_everybody() {
    let text = service("reviews")
        + &rule_in("all", "default", "{host: reviews}")
        + &rule_in(
            "web",
            "default",
            "{host: reviews, workloadSelector: {matchLabels: {app: web}}}",
        );
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), []);
    assert_eq!(
        in_force(&mesh, "reviews", "default", "web").as_deref(),
        Some("web")
    );
    assert_eq!(
        in_force(&mesh, "reviews", "default", "shop").as_deref(),
        Some("all")
    );
    assert_eq!(
        in_force(&mesh, "reviews", "elsewhere", "web").as_deref(),
        Some("all"),
        "workloads of other namespaces are not selected"
    );
}

#[test]
fn a_caller_is_told_its_own_namespaces_rule_then_the_services_then_the_roots() {
    let rule = |namespace: &str, export: &str, balancer: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: {namespace}}}\nspec: {{exportTo: {export}, host: reviews.default.svc.cluster.local, trafficPolicy: {{loadBalancer: {{simple: {balancer}}}}}}}\n"
        )
    };
    let told = |rules: &[String], namespace: &str| {
        let (mesh, _) = Mesh::of(&(service("reviews") + &rules.concat()));
        let snapshot = mesh.snapshot();
        let rule = snapshot.policy(&host("reviews"), namespace, &Default::default());
        rule.map(|rule| rule.policy.balancer.clone().unwrap())
    };
    let own = rule("shop", "['*']", "RANDOM");
    let home = rule("default", "['*']", "ROUND_ROBIN");
    let root = rule("istio-system", "['*']", "PASSTHROUGH");
    let all = [own, home, root];
    assert_eq!(told(&all, "shop"), Some(LoadBalancer::Random));
    // A rule of a namespace that is neither the caller's nor the service's nor the root holds for nobody there.
    assert_eq!(told(&all, "elsewhere"), Some(LoadBalancer::RoundRobin));
    assert_eq!(told(&all[..1], "elsewhere"), None);
    assert_eq!(told(&all[2..], "elsewhere"), Some(LoadBalancer::Passthrough));
    // What is not exported to the caller is passed over.
    let private = [
        rule("default", "[.]", "ROUND_ROBIN"),
        rule("istio-system", "['*']", "PASSTHROUGH"),
    ];
    assert_eq!(told(&private, "default"), Some(LoadBalancer::RoundRobin));
    assert_eq!(told(&private, "elsewhere"), Some(LoadBalancer::Passthrough));
    let named = [rule("default", "[shop]", "ROUND_ROBIN")];
    assert_eq!(told(&named, "shop"), Some(LoadBalancer::RoundRobin));
    assert_eq!(told(&named, "default"), None);
}

#[test]
fn the_narrowest_peer_authentication_decides() {
    let mut mesh = Mesh::new();
    mesh.register(workload("a", "reviews", "v1"));
    mesh.register(workload("b", "ratings", "v1"));
    let mode = |mesh: &Mesh, id: &str| {
        let snapshot = mesh.snapshot();
        let (_, mtls) = snapshot.mtls.iter().find(|(key, _)| &*key.0 == id).unwrap();
        (mtls.mode, mtls.ports.clone())
    };
    assert_eq!(mode(&mesh, "a.default"), (MtlsMode::Permissive, vec![]));

    let strict_mesh = peer_authentication("m", "istio-system", "{mtls: {mode: STRICT}}");
    mesh.file("1.yaml", &strict_mesh);
    assert_eq!(mode(&mesh, "a.default").0, MtlsMode::Strict);

    mesh.file(
        "2.yaml",
        &peer_authentication("n", "default", "{mtls: {mode: DISABLE}}"),
    );
    assert_eq!(mode(&mesh, "a.default").0, MtlsMode::Disable);

    let narrow = "{selector: {matchLabels: {app: reviews}}, mtls: {mode: UNSET}, portLevelMtls: {9080: {mode: STRICT}}}";
    mesh.file("3.yaml", &peer_authentication("w", "default", narrow));
    assert_eq!(
        mode(&mesh, "a.default"),
        (MtlsMode::Disable, vec![(9080, MtlsMode::Strict)])
    );
    assert_eq!(mode(&mesh, "b.default"), (MtlsMode::Disable, vec![]));
}

#[test]
fn two_peer_authentications_of_one_target_conflict() {
    let text = peer_authentication("b", "default", "{mtls: {mode: DISABLE}}")
        + &peer_authentication("a", "default", "{mtls: {mode: STRICT}}");
    let (mut mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), [Code::PolicyConflict]);
    let outcome = mesh.register(workload("a", "reviews", "v1"));
    assert_eq!(
        outcome.snapshot.mtls.values().next().unwrap().mode,
        MtlsMode::Strict
    );
}

#[test]
fn mesh_config_arrives_and_goes_back_to_its_defaults() {
    let (mut mesh, outcome) = Mesh::of(
        "kind: MeshConfig\ntrustDomain: example.org\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\n",
    );
    assert_eq!(outcome.snapshot.mesh.trust_domain, "example.org");
    assert_eq!(outcome.snapshot.mesh.outbound, OutboundPolicy::RegistryOnly);
    let outcome = mesh.file("mesh.d.yaml", "");
    assert_eq!(outcome.snapshot.mesh.trust_domain, "cluster.local");
}
