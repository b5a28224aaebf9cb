//! RequestAuthentications by what leno's engine makes of them: which tokens pass, and what is known of them behind.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::listener::{self, FilterChain, TerminalFilter};
use leno_engine::compile::{NoFiles, Warnings};
use leno_engine::decide::notes::Notes;
use leno_engine::message::{Headers, RequestHead, Version};
use leno_model::{Change, KeyNews, KeySource, Protocol, Workload, WorkloadPort, World};
use leno_proto::envoy::config::listener::v3::Listener;
use leno_testkit::Issuer;
use leno_translate::{Cache, Proxy, ResourceType, answer};
use prost::Message;
use serde_json::{Value, json};

use crate::mesh;

struct Mesh(World);

impl Mesh {
    fn of(policies: &[String]) -> Self {
        let text = policies.concat();
        let parsed = leno_api::read("in.yaml", text.as_bytes());
        let errors: Vec<_> = parsed
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        let workload = Workload {
            ports: vec![WorkloadPort {
                port: 80,
                name: "http".into(),
                protocol: Protocol::Http,
            }],
            ..mesh::workload("web", "v1", 2, &[])
        };
        let mut mesh = Self(World::default());
        let file = Change::File {
            file: "in.yaml".into(),
            objects: parsed.objects,
        };
        mesh.apply(file);
        mesh.apply(Change::Workload(workload));
        mesh
    }

    fn apply(&mut self, change: Change) {
        self.0.apply([change], Duration::from_secs(1));
    }

    fn listener(&self, on_demand: bool) -> Listener {
        let snapshot = self.0.snapshot();
        let proxy = Proxy {
            on_demand,
            workload: snapshot.workloads.keys().next().cloned(),
            ..mesh::sidecar("web-v1")
        };
        let kind = ResourceType::Listener;
        let answer = answer(&mut Cache::default(), snapshot, &proxy, kind, "virtualInbound");
        Listener::decode(answer.resource.unwrap().body.clone()).unwrap()
    }

    fn chain(&self) -> Arc<FilterChain> {
        let mut warnings = Warnings::default();
        let compiled = listener::compile(&self.listener(true), &NoFiles, &mut warnings);
        let compiled = compiled.unwrap_or_else(|e| panic!("{e}"));
        assert!(warnings.0.is_empty(), "{:?}", warnings.0);
        let mut chains = compiled.chains.iter();
        let http = chains.find(|chain| chain.name == "0.0.0.0_80-mtls-http");
        Arc::clone(http.unwrap())
    }

    /// What is said of a request with these headers; "" if it passes.
    fn says(&self, headers: &[(&str, &str)]) -> String {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.append(*name, *value);
        }
        let head = RequestHead {
            method: "GET".into(),
            authority: "web".into(),
            path: "/".into(),
            scheme: "http".into(),
            headers: all,
            version: Version::Http11,
            upgrade: None,
        };
        let chain = self.chain();
        let TerminalFilter::Http(manager) = &chain.terminal else {
            panic!("{chain:?}");
        };
        let now = (Instant::now(), SystemTime::now());
        let notes = Notes::default();
        let mut refusals = manager
            .filters
            .iter()
            .filter_map(|filter| filter.refuses_token(None, &head, now, &notes, &NoValues));
        refusals
            .next()
            .map(|refusal| refusal.said.to_owned())
            .unwrap_or_default()
    }

    fn bearer(&self, token: &str) -> String {
        self.says(&[("authorization", &format!("Bearer {token}"))])
    }
}

/// A policy with these rules.
fn policy(name: &str, rules: &[Value]) -> String {
    let object = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": name},
        "spec": {"jwtRules": rules},
    });
    format!("{object}\n---\n")
}

fn claims(issuer: &str) -> Value {
    json!({"iss": issuer, "sub": "somebody", "exp": 4_102_444_800_u64})
}

const GOOD: &str = "";
const MISSING: &str = "Jwt is missing";
const UNKNOWN: &str = "Jwt issuer is not configured";
const NO_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt";

#[test]
fn tokens_of_several_policies_are_taken_at_one_place_and_at_several() {
    let (a, b, c) = (Issuer::new("a"), Issuer::new("b"), Issuer::new("c"));
    let rule = |name: &str, issuer: &Issuer| json!({"issuer": name, "jwks": issuer.key_set()});
    let elsewhere = json!({"issuer": "c", "jwks": c.key_set(), "fromHeaders": [{"name": "x-token"}]});
    let mesh = Mesh::of(&[
        policy("one", &[rule("a", &a), elsewhere]),
        policy("other", &[rule("b", &b)]),
    ]);
    let (ta, tb, tc) = (
        a.token(&claims("a")),
        b.token(&claims("b")),
        c.token(&claims("c")),
    );
    assert_eq!(mesh.says(&[]), GOOD);
    assert_eq!(mesh.bearer(&ta), GOOD);
    assert_eq!(mesh.bearer(&tb), GOOD);
    assert_eq!(mesh.says(&[("x-token", &tc)]), GOOD);
    assert_eq!(mesh.bearer(&tc), UNKNOWN);
    assert_eq!(mesh.bearer(&b.token(&claims("a"))), NO_KEY);
    assert_eq!(
        mesh.says(&[("x-token", "a.b.c")]),
        "Jwt header is an invalid Base64url encoded"
    );
}

#[test]
fn a_rule_may_demand_its_token() {
    let (a, b) = (Issuer::new("a"), Issuer::new("b"));
    let demanded = json!({"issuer": "a", "jwks": a.key_set(), "presence": "REQUIRED"});
    let optional = json!({"issuer": "b", "jwks": b.key_set()});
    let mesh = Mesh::of(&[policy("one", &[demanded, optional])]);
    assert_eq!(mesh.says(&[]), MISSING);
    assert_eq!(mesh.bearer(&a.token(&claims("a"))), GOOD);
    assert_eq!(mesh.bearer(&b.token(&claims("b"))), UNKNOWN);
}

#[test]
fn without_fetched_keys_only_their_issuer_has_no_good_tokens() {
    let (a, b) = (Issuer::new("a"), Issuer::new("b"));
    let fetched = json!({"issuer": "a", "jwksUri": "http://a/"});
    let inline = json!({"issuer": "b", "jwks": b.key_set()});
    let mut mesh = Mesh::of(&[policy("one", &[fetched, inline])]);
    let (ta, tb) = (a.token(&claims("a")), b.token(&claims("b")));
    assert_eq!(
        (mesh.bearer(&ta).as_str(), mesh.bearer(&tb).as_str()),
        (NO_KEY, GOOD)
    );
    let news = KeyNews {
        keys: Some(leno_api::key_set::reduce(a.key_set().as_bytes()).unwrap().into()),
        trouble: None,
    };
    mesh.apply(Change::Keys(KeySource::Uri("http://a/".into()), Some(news)));
    assert_eq!(
        (mesh.bearer(&ta).as_str(), mesh.bearer(&tb).as_str()),
        (GOOD, GOOD)
    );
}

#[test]
fn a_set_of_points_that_are_none_still_makes_a_listener() {
    // Of the right size, but on no curve.
    let point = "A".repeat(43);
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": point, "y": point}]}).to_string();
    let mesh = Mesh::of(&[policy("one", &[json!({"issuer": "a", "jwks": keys})])]);
    assert_eq!(mesh.says(&[]), GOOD);
}

#[test]
fn nobodys_key_is_the_point_that_its_words_say() {
    let mesh = Mesh::of(&[policy("one", &[json!({"issuer": "a", "jwksUri": "http://a/"})])]);
    let said = String::from_utf8_lossy(&mesh.listener(false).encode_to_vec()).into_owned();
    // base64url of SHA-256("leno: nobody has this key 0"), by `openssl dgst -sha256 -binary`.
    assert!(
        said.contains("hqnTWCEDHeqCtb6CiPAxD3L8UQ6ieT8Q3q6e97oxSQs"),
        "{said}"
    );
}

#[test]
fn an_envoy_has_istiods_names_and_no_place_in_a_file() {
    let a = Issuer::new("a");
    let rule = |name: &str| json!({"issuer": name, "jwks": a.key_set()});
    let mesh = Mesh::of(&[policy("one", &[rule("z"), rule("a")])]);
    let encoded = |listener: &Listener| String::from_utf8_lossy(&listener.encode_to_vec()).into_owned();
    let (envoys, leno) = (encoded(&mesh.listener(false)), encoded(&mesh.listener(true)));
    assert!(envoys.contains("origins-0") && envoys.contains("origins-1") && !envoys.contains("in.yaml"));
    assert!(leno.contains("ns[default]-tokens[one]-rule[0]") && leno.contains("in.yaml"));
}
