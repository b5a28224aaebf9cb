//! A table and requests for it, of few words, so that they meet.

use serde_json::{Map, Value, json};

use super::Dice;

const PATHS: [&str; 9] = [
    "/", "/a", "/a/", "/a/b", "/a/b/c", "/A/b", "/ab", "/b", "/b/a.txt",
];
const PREFIXES: [&str; 5] = ["/a", "/a/b", "/A", "/b", "/ab"];
const ODD_PATHS: [&str; 8] = [
    "/a//b",
    "/a/./b",
    "/a/../b",
    "/a%2Fb",
    "/%61/b",
    "/a;x=1/b",
    "/a/b;v=2",
    "/a%2fb/../c",
];
const QUERIES: [&str; 7] = ["?x=1", "?x=", "?x", "?x=1&y=2", "?y=abc&x=2", "?X=1", "?"];
const EXPRESSIONS: [&str; 5] = ["/a.*", "/[ab]/.*", "/(a|b)", ".*b", "/a/b/c?"];
const TEMPLATES: [&str; 5] = ["/a/{one}", "/{one}/b", "/a/**", "/{one}/{two=**}", "/*/b"];
const DOMAINS: [&str; 9] = [
    "a.example",
    "b.example",
    "*.example",
    "*.a.example",
    "a.*",
    "B.Example:8080",
    "a.example:8080",
    "*.b.example",
    "*",
];
const HOSTS: [&str; 8] = [
    "a.example",
    "b.example",
    "x.a.example",
    "a.other",
    "A.EXAMPLE",
    "a.example:8080",
    "b.example:8080",
    "other",
];
const NAMES: [&str; 3] = ["x-one", "x-two", "x-three"];
const VALUES: [&str; 7] = ["a", "b", "ab", "A", "12", "", "a,b"];
const CLUSTERS: [&str; 3] = ["a", "b", "c"];
const FORMATS: [&str; 8] = [
    "plain",
    "%REQ(:path)%",
    "%REQ(x-one)%",
    "%REQ(x-none?x-two)%",
    "[%REQ(:authority):4%]",
    "%PROTOCOL%",
    "50%%",
    "%REQ(x-none)%",
];
const APPEND: [&str; 4] = [
    "APPEND_IF_EXISTS_OR_ADD",
    "ADD_IF_ABSENT",
    "OVERWRITE_IF_EXISTS_OR_ADD",
    "OVERWRITE_IF_EXISTS",
];

/// A case's file.
pub(super) fn file(dice: &mut Dice) -> Value {
    let mut domains: Vec<&str> = DOMAINS.to_vec();
    let mut hosts = Vec::new();
    if dice.one_in(2) {
        hosts.push(host(dice, &[domains.swap_remove(DOMAINS.len() - 1)]));
    }
    for _ in 0..1 + dice.below(4) {
        let some = (0..1 + dice.below(2)).map(|_| domains.swap_remove(dice.below(domains.len())));
        let some: Vec<&str> = some.collect();
        hosts.push(host(dice, &some));
    }
    let mut table = edits(dice, 3);
    sometimes(dice, 3, &mut table, "ignore_port_in_host_matching", |_| {
        json!(true)
    });
    sometimes(dice, 3, &mut table, "most_specific_header_mutations_wins", |_| {
        json!(true)
    });
    sometimes(
        dice,
        4,
        &mut table,
        "ignore_path_parameters_in_path_matching",
        |_| json!(true),
    );
    let mut manager = Map::new();
    sometimes(dice, 3, &mut manager, "normalize_path", |_| json!(true));
    sometimes(dice, 3, &mut manager, "merge_slashes", |_| json!(true));
    sometimes(dice, 4, &mut manager, "strip_any_host_port", |_| json!(true));
    sometimes(
        dice,
        4,
        &mut manager,
        "path_with_escaped_slashes_action",
        |dice| {
            dice.text(&[
                "KEEP_UNCHANGED",
                "REJECT_REQUEST",
                "UNESCAPE_AND_REDIRECT",
                "UNESCAPE_AND_FORWARD",
            ])
        },
    );
    let requests: Vec<Value> = (0..15).map(|_| request(dice)).collect();
    json!({"table": table, "manager": manager, "hosts": hosts, "requests": requests})
}

fn host(dice: &mut Dice, domains: &[&str]) -> Value {
    let mut host = edits(dice, 3);
    host.insert("domains".into(), json!(domains));
    let mut routes: Vec<Value> = (0..1 + dice.below(6)).map(|_| route(dice)).collect();
    if dice.one_in(2) {
        let action = forward(dice, Kind::Text);
        routes.push(json!({"match": {"prefix": "/"}, "route": action}));
    }
    host.insert("routes".into(), routes.into());
    sometimes(dice, 4, &mut host, "include_request_attempt_count", |_| {
        json!(true)
    });
    sometimes(dice, 16, &mut host, "require_tls", |_| json!("ALL"));
    host.into()
}

/// How its path is matched decides what may be rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Expression,
    Template,
}

fn route(dice: &mut Dice) -> Value {
    let (kind, matched) = matching(dice);
    let mut route = edits(dice, 2);
    route.insert("match".into(), matched);
    let (name, action) = match dice.below(10) {
        0 => ("direct_response", direct_response(dice)),
        1 => ("redirect", redirect(dice, kind)),
        _ => ("route", forward(dice, kind)),
    };
    route.insert(name.into(), action);
    route.into()
}

fn matching(dice: &mut Dice) -> (Kind, Value) {
    let mut matched = Map::new();
    let (kind, name, path) = match dice.below(10) {
        0 => (
            Kind::Expression,
            "safe_regex",
            json!({"regex": dice.of(&EXPRESSIONS)}),
        ),
        1 => (Kind::Text, "path_separated_prefix", dice.text(&PREFIXES)),
        2 | 3 => (Kind::Text, "path", dice.text(&PATHS)),
        4 => (
            Kind::Template,
            "path_match_policy",
            json!({
                "name": "template",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                    "path_template": dice.of(&TEMPLATES),
                },
            }),
        ),
        _ => (Kind::Text, "prefix", dice.text(&PATHS)),
    };
    matched.insert(name.into(), path);
    if kind == Kind::Text {
        sometimes(dice, 4, &mut matched, "case_sensitive", |_| json!(false));
    }
    sometimes(dice, 4, &mut matched, "headers", |dice| json!([header(dice)]));
    sometimes(dice, 8, &mut matched, "query_parameters", |dice| {
        json!([query(dice)])
    });
    (kind, matched.into())
}

fn text_match(dice: &mut Dice) -> Value {
    let mut text = Map::new();
    match dice.below(5) {
        0 => text.insert("prefix".into(), json!("a")),
        1 => text.insert("suffix".into(), json!("b")),
        2 => text.insert("contains".into(), dice.text(&["a", "b", "1"])),
        3 => text.insert(
            "safe_regex".into(),
            json!({"regex": dice.of(&["[ab]*", "a.*", "[0-9]+", ".+"])}),
        ),
        _ => text.insert("exact".into(), dice.text(&VALUES)),
    };
    if !text.contains_key("safe_regex") {
        sometimes(dice, 4, &mut text, "ignore_case", |_| json!(true));
    }
    text.into()
}

fn header(dice: &mut Dice) -> Value {
    let mut header = Map::new();
    let name = dice.text(&["x-one", "x-two", "X-Three", ":method", ":authority", ":path"]);
    header.insert("name".into(), name);
    match dice.below(5) {
        0 => header.insert("present_match".into(), json!(!dice.one_in(3))),
        1 => header.insert(
            "range_match".into(),
            json!({"start": 10, "end": 12 + dice.below(2)}),
        ),
        _ => header.insert("string_match".into(), text_match(dice)),
    };
    sometimes(dice, 4, &mut header, "invert_match", |_| json!(true));
    sometimes(dice, 5, &mut header, "treat_missing_header_as_empty", |_| {
        json!(true)
    });
    header.into()
}

fn query(dice: &mut Dice) -> Value {
    match dice.below(3) {
        0 => json!({"name": dice.of(&["x", "y"]), "present_match": !dice.one_in(3)}),
        _ => json!({"name": dice.of(&["x", "y"]), "string_match": text_match(dice)}),
    }
}

fn direct_response(dice: &mut Dice) -> Value {
    let mut answer = Map::new();
    // No 204: Envoy sends a body with it, which is no HTTP.
    answer.insert("status".into(), json!(dice.of(&[200, 201, 302, 404, 503])));
    sometimes(
        dice,
        2,
        &mut answer,
        "body",
        |_| json!({"inline_string": "said by the route"}),
    );
    answer.into()
}

fn redirect(dice: &mut Dice, kind: Kind) -> Value {
    let mut redirect = Map::new();
    sometimes(dice, 2, &mut redirect, "host_redirect", |dice| {
        dice.text(&["new.example", "new.example:81"])
    });
    sometimes(dice, 3, &mut redirect, "port_redirect", |dice| {
        json!(dice.of(&[80, 443, 8443]))
    });
    sometimes(dice, 3, &mut redirect, "strip_query", |_| json!(true));
    sometimes(dice, 2, &mut redirect, "response_code", |dice| {
        dice.text(&["FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"])
    });
    match dice.below(4) {
        0 => redirect.insert("https_redirect".into(), json!(true)),
        1 => redirect.insert("scheme_redirect".into(), dice.text(&["http", "https"])),
        _ => None,
    };
    match dice.below(4) {
        0 => redirect.insert("path_redirect".into(), dice.text(&["/new", "/new?z=1"])),
        1 if kind == Kind::Text => redirect.insert("prefix_rewrite".into(), dice.text(&["/new", "/new/"])),
        2 => redirect.insert("regex_rewrite".into(), regex_rewrite(dice)),
        _ => None,
    };
    redirect.into()
}

fn forward(dice: &mut Dice, kind: Kind) -> Value {
    let mut forward = Map::new();
    match dice.below(6) {
        0 => {
            forward.insert("cluster_header".into(), json!("x-one"));
        }
        1 => {
            forward.insert("weighted_clusters".into(), weighted(dice));
        }
        _ => {
            forward.insert("cluster".into(), dice.text(&CLUSTERS));
        }
    }
    match dice.below(8) {
        0 | 1 if kind == Kind::Text => {
            forward.insert("prefix_rewrite".into(), dice.text(&["/new", "/new/", "/"]));
        }
        2 => {
            forward.insert("regex_rewrite".into(), regex_rewrite(dice));
        }
        _ => {}
    }
    match dice.below(10) {
        0 => {
            forward.insert("host_rewrite_literal".into(), json!("new.example"));
        }
        1 => {
            forward.insert("host_rewrite_header".into(), json!("x-two"));
        }
        2 => {
            forward.insert("auto_host_rewrite".into(), json!(true));
        }
        3 => {
            let rewrite = json!({"pattern": {"regex": "^/([a-z]+)/.*$"}, "substitution": "\\1.example"});
            forward.insert("host_rewrite_path_regex".into(), rewrite);
        }
        _ => {}
    }
    sometimes(dice, 4, &mut forward, "append_x_forwarded_host", |_| json!(true));
    sometimes(dice, 4, &mut forward, "timeout", |dice| {
        dice.text(&["0s", "5s", "20s"])
    });
    forward.into()
}

fn weighted(dice: &mut Dice) -> Value {
    let clusters = CLUSTERS.iter().map(|name| {
        let mut share = edits(dice, 3);
        share.insert("name".into(), json!(name));
        share.insert("weight".into(), json!(dice.below(3) + usize::from(*name == "a")));
        sometimes(dice, 4, &mut share, "host_rewrite_literal", |_| {
            json!("share.example")
        });
        Value::from(share)
    });
    let clusters: Vec<Value> = clusters.collect();
    // The header decides, so that it is not chance.
    json!({"clusters": clusters, "header_name": "x-random"})
}

fn regex_rewrite(dice: &mut Dice) -> Value {
    let (pattern, substitution) = dice.of(&[
        ("a", "A"),
        ("^/([^/]+)/(.*)$", "/\\2/\\1"),
        ("/b", ""),
        ("(b)", "<\\1\\0>"),
    ]);
    let substitution = if substitution.is_empty() {
        "/x"
    } else {
        substitution
    };
    json!({"pattern": {"regex": pattern}, "substitution": substitution})
}

/// One in `rare` levels has each kind of them.
fn edits(dice: &mut Dice, rare: usize) -> Map<String, Value> {
    let mut edits = Map::new();
    for field in ["request_headers_to_add", "response_headers_to_add"] {
        sometimes(dice, rare, &mut edits, field, |dice| {
            let added: Vec<Value> = (0..1 + dice.below(2)).map(|_| added(dice)).collect();
            json!(added)
        });
    }
    sometimes(dice, rare * 2, &mut edits, "request_headers_to_remove", |dice| {
        json!([dice.of(&NAMES)])
    });
    sometimes(dice, rare * 2, &mut edits, "response_headers_to_remove", |dice| {
        json!([dice.of(&["x-backend", "x-one"])])
    });
    edits
}

fn added(dice: &mut Dice) -> Value {
    let mut added = Map::new();
    added.insert(
        "header".into(),
        json!({"key": dice.of(&["x-one", "x-two", "x-new"]), "value": dice.of(&FORMATS)}),
    );
    sometimes(dice, 2, &mut added, "append_action", |dice| dice.text(&APPEND));
    sometimes(dice, 5, &mut added, "keep_empty_value", |_| json!(true));
    added.into()
}

fn request(dice: &mut Dice) -> Value {
    let path = match dice.one_in(4) {
        true => dice.of(&ODD_PATHS),
        false => dice.of(&PATHS),
    };
    let query = if dice.one_in(3) { dice.of(&QUERIES) } else { "" };
    let method = dice.of(&["GET", "GET", "GET", "DELETE", "HEAD"]);
    let mut headers = Map::new();
    for name in NAMES {
        sometimes(dice, 3, &mut headers, name, |dice| dice.text(&VALUES));
    }
    headers.insert("x-random".into(), dice.text(&["0", "1", "2", "3", "7"]));
    sometimes(dice, 3, &mut headers, "x-one", |dice| dice.text(&CLUSTERS));
    let mut request = Map::new();
    request.insert("send".into(), json!(format!("{method} {path}{query}")));
    request.insert("host".into(), dice.text(&HOSTS));
    request.insert("headers".into(), headers.into());
    sometimes(dice, 3, &mut request, "http2", |_| json!(true));
    request.into()
}

fn sometimes(
    dice: &mut Dice,
    rare: usize,
    into: &mut Map<String, Value>,
    field: &str,
    value: impl FnOnce(&mut Dice) -> Value,
) {
    if dice.one_in(rare) {
        let value = value(dice);
        into.insert(field.into(), value);
    }
}
