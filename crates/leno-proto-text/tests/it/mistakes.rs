//! Every mistake gets its place and its remedy; no input does more than that.

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::{Error, Schema};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn refusal(text: &str) -> String {
    Schema::load()
        .from_text::<Bootstrap>(text)
        .unwrap_err()
        .to_string()
}

#[test]
fn an_unknown_field_is_named_with_its_path_its_place_and_the_likely_name() {
    let text = "static_resources:\n  clusters:\n  - name: a\n    lb_polciy: ROUND_ROBIN\n";
    assert_eq!(
        refusal(text),
        "unknown field `lb_polciy` of envoy.config.cluster.v3.Cluster: did you mean `lb_policy`? \
         — static_resources.clusters[0].lb_polciy, at 4:5"
    );
}

#[test]
fn a_mistake_inside_an_any_has_its_place_as_well() {
    let text = "static_resources:\n  listeners:\n  - filter_chains:\n    - filters:\n      - name: x\n        \
                typed_config:\n          stat_prefx: y\n          '@type': type.googleapis.com/\
                envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n";
    let error = refusal(text);
    assert!(error.contains("did you mean `stat_prefix`?"), "{error}");
    assert!(
        error.ends_with(
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefx, at 7:11"
        ),
        "{error}"
    );
}

#[test]
fn wrong_values_say_what_was_expected() {
    for (text, want) in [
        (
            "node: {id: 7}",
            "expected a string, got the number 7: put it in quotes — node.id, at 1:12",
        ),
        (
            "static_resources: {clusters: {}}",
            "expected a list, got a mapping — static_resources.clusters, at 1:30",
        ),
        (
            "static_resources: {clusters: [{connect_timeout: 5}]}",
            "expected a duration in seconds such as `1.5s`, got the number 5 — \
             static_resources.clusters[0].connect_timeout, at 1:49",
        ),
        (
            "static_resources: {clusters: [{dns_lookup_family: V5}]}",
            "unknown value `V5` of envoy.config.cluster.v3.Cluster.DnsLookupFamily: use one of AUTO, V4_ONLY, \
             V6_ONLY, V4_PREFERRED, ALL — static_resources.clusters[0].dns_lookup_family, at 1:51",
        ),
        (
            "admin: {address: {socket_address: {port_value: 5, named_port: http}}}",
            "`named_port` excludes `port_value`: remove one of them — admin.address.socket_address.named_port, \
             at 1:51",
        ),
        (
            "flags_path: a\nflagsPath: b",
            "`flags_path` is given twice — flagsPath, at 2:1",
        ),
        (
            "static_resources: {secrets: [{name: 1}]}",
            "expected a string, got the number 1: put it in quotes — static_resources.secrets[0].name, at 1:37",
        ),
        (
            "bootstrap_extensions: [{typed_config: {a: b}}]",
            "no `@type`: name the message's type, as type.googleapis.com/… — \
             bootstrap_extensions[0].typed_config, at 1:39",
        ),
        (
            "bootstrap_extensions: [{typed_config: {'@type': a/b.C}}]",
            "unknown message type `a/b.C` in `@type` — bootstrap_extensions[0].typed_config, at 1:49",
        ),
    ] {
        assert_eq!(refusal(text), want, "{text}");
    }
}

#[test]
fn text_that_is_not_yaml_is_refused_at_its_place() {
    let error = Schema::load()
        .from_text::<Bootstrap>("node:\n  id: 'a\n")
        .unwrap_err();
    let Error::Syntax { message, position } = error else {
        panic!("{error:?}")
    };
    assert!(!message.contains("line 3"), "{message}");
    assert!(position.is_some_and(|at| at.line >= 2), "{position:?}");
}

#[test]
fn the_same_key_twice_is_refused() {
    let error = refusal("node: {id: a, id: b}");
    assert!(error.contains("duplicate"), "{error}");
}

#[test]
fn a_deep_text_is_refused_and_not_followed() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!(
            "node: {{metadata: {{a: {}1{}}}}}",
            open.repeat(3000),
            close.repeat(3000)
        );
        assert!(Schema::load().from_text::<Bootstrap>(&text).is_err());
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    assert!(matches!(
        Schema::load().from_text::<Bootstrap>(&text),
        Err(Error::Syntax { .. })
    ));
}

#[test]
fn no_text_makes_it_panic() {
    let schema = Schema::load();
    TestRunner::new(Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    })
    .run(&fragments(), |text| {
        let _ = schema.from_text::<Bootstrap>(&text);
        Ok(())
    })
    .unwrap();
}

/// Text that is often nearly a bootstrap.
fn fragments() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("node"),
        Just("id"),
        Just("metadata"),
        Just("static_resources"),
        Just("clusters"),
        Just("name"),
        Just("connect_timeout"),
        Just("'@type'"),
        Just("typed_config"),
        Just("bootstrap_extensions"),
        Just(": "),
        Just("- "),
        Just("\n"),
        Just("\n  "),
        Just("\n    "),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(", "),
        Just("&a "),
        Just("*a"),
        Just("1"),
        Just("-9e999"),
        Just("1.5s"),
        Just("null"),
        Just("true"),
        Just("'"),
        Just("type.googleapis.com/google.protobuf.Duration"),
        Just("value"),
        Just("<<"),
        Just("!!binary "),
        Just("|"),
        Just("type.googleapis.com/envoy.config.cluster.v3.Cluster"),
        Just("lb_subset_config"),
        Just("#"),
        Just("%"),
    ];
    prop_oneof![
        4 => prop::collection::vec(word, 0..40).prop_map(|words| words.concat()),
        1 => any::<String>(),
    ]
}
