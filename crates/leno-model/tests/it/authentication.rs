//! Which RequestAuthentications are in force for whom, and what is known of their keys.

use std::time::Duration;

use leno_api::Code;
use leno_model::delta::Key;
use leno_model::{Change, KeyNews, KeySource, Labels};

use crate::{Mesh, NOON, codes, keys};

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

fn rule(issuer: &str) -> String {
    format!("{{issuer: {issuer}, jwksUri: \"http://{issuer}/keys\"}}")
}

#[test]
fn the_policies_of_root_namespace_and_selector_hold_together() {
    let selecting = |rule: &str| format!("{{selector: {{matchLabels: {{app: web}}}}, jwtRules: [{rule}]}}");
    let plain = |rule: &str| format!("{{jwtRules: [{rule}]}}");
    let text = policy("mesh", "istio-system", &plain(&rule("a")))
        + &policy("namespace", "default", &plain(&rule("b")))
        + &policy("own", "default", &selecting(&rule("c")))
        + &policy("other", "elsewhere", &plain(&rule("d")));
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), []);
    let issuers = |namespace: &str, app: &str| -> Vec<String> {
        let labels: Labels = [("app".to_owned(), app.to_owned())].into();
        let snapshot = mesh.snapshot();
        let policies = snapshot.authentication.for_workload(namespace, &labels);
        let rules = policies.iter().flat_map(|policy| &policy.rules);
        rules.map(|rule| rule.issuer.clone()).collect()
    };
    assert_eq!(issuers("default", "web"), ["a", "b", "c"]);
    assert_eq!(issuers("default", "db"), ["a", "b"]);
    assert_eq!(issuers("elsewhere", "web"), ["a", "d"]);
}

#[test]
fn one_source_is_asked_once_with_the_longest_time_that_a_rule_gives() {
    let rules = "{jwtRules: [{issuer: a, jwksUri: \"http://k/\", timeout: 1s}, {issuer: b, jwksUri: \"http://k/\", timeout: 3s}, {issuer: \"https://c\"}]}";
    let (mesh, _) = Mesh::of(&policy("a", "default", rules));
    let sources: Vec<_> = mesh.snapshot().key_sources().into_iter().collect();
    let wanted = [
        (KeySource::Uri("http://k/".into()), Duration::from_secs(3)),
        (KeySource::Issuer("https://c".into()), Duration::from_secs(5)),
    ];
    assert_eq!(sources, wanted);
}

#[test]
fn what_is_known_of_keys_concerns_whoever_needs_them_and_trouble_is_told_at_the_rule() {
    let text = policy("a", "default", &format!("{{jwtRules: [{}]}}", rule("a")));
    let (mut mesh, _) = Mesh::of(&text);
    let source = KeySource::Uri("http://a/keys".into());
    let tell = |mesh: &mut Mesh, keys: Option<&str>, trouble: Option<&str>| {
        let news = KeyNews {
            keys: keys.map(Into::into),
            trouble: trouble.map(Into::into),
        };
        mesh.0.apply([Change::Keys(source.clone(), Some(news))], NOON)
    };
    let outcome = tell(&mut mesh, Some("{}"), None);
    assert_eq!(keys(&outcome), [Key::Keys(source.clone())]);
    assert_eq!(mesh.snapshot().keys[&source].as_ref(), "{}");
    assert_eq!(codes(&outcome), []);

    let outcome = tell(&mut mesh, Some("{}"), Some("it is down"));
    assert_eq!(
        (keys(&outcome), codes(&outcome)),
        (vec![], vec![Code::KeysNotFetched])
    );
    let found = &outcome.diagnostics[0];
    assert_eq!(found.place.to_string(), "mesh.d.yaml:4:19");
    assert_eq!(
        found.message,
        "the keys of a cannot be fetched: it is down; the last good ones hold"
    );

    // A change of something else leaves them as they are.
    let outcome = mesh.file("other.yaml", &policy("b", "elsewhere", "{}"));
    assert_eq!(keys(&outcome), [Key::Authentication("elsewhere".into())]);
    assert!(mesh.snapshot().keys.contains_key(&source));
    let outcome = mesh.0.apply([Change::Keys(source.clone(), None)], NOON);
    assert_eq!(
        (keys(&outcome), codes(&outcome)),
        (vec![Key::Keys(source)], vec![])
    );
}
