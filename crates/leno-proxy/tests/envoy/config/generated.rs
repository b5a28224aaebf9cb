//! Generated route tables and generated requests over them: Envoy and leno send each the same way.
//!
//! Every table comes from a number, so that what differs comes again. `LENO_TABLES=2000` tries more of them,
//! `LENO_FIRST_TABLE=17` begins elsewhere.

use std::path::Path;

use serde_json::{Value, json};

use super::case::{Case, Place};
use super::{Backends, Category, exchange};
use crate::envoy::{Envoy, Leno, program};

const TABLES: u64 = 48;
const REQUESTS: u64 = 40;
/// So many listeners at a time.
const BATCH: usize = 48;

#[tokio::test]
async fn generated_requests_take_the_same_way_over_generated_routes() {
    let Some(program) = program("generated_requests_take_the_same_way_over_generated_routes") else {
        return;
    };
    let number = |name: &str, otherwise| {
        let said = std::env::var(name).ok();
        said.map_or(otherwise, |said| said.parse().unwrap())
    };
    let first = number("LENO_FIRST_TABLE", 0);
    let numbers: Vec<u64> = (first..first + number("LENO_TABLES", TABLES)).collect();
    let backends = Backends::start().await;
    let place = Place {
        backends: &backends,
        directory: Path::new("/tmp"),
    };
    let mut wrong = Vec::new();
    for numbers in numbers.chunks(BATCH) {
        let category = Category {
            name: "generated".into(),
            cases: numbers.iter().map(|number| generated(*number)).collect(),
            bootstrap: Value::Null,
        };
        let bootstrap = category.bootstrap(&category.cases, place);
        let envoy = Envoy::start(&program, &bootstrap);
        let leno = Leno::start(&bootstrap);
        for (n, case) in category.cases.iter().enumerate() {
            let by_envoy = exchange::all(case, place, "e", envoy.listeners[n]).await;
            let by_leno = exchange::all(case, place, "l", leno.listeners[n]).await;
            let steps = by_envoy.split("\n> ").zip(by_leno.split("\n> "));
            let differs = steps.filter(|(envoy, leno)| envoy != leno).take(1);
            wrong.extend(differs.map(|(envoy, leno)| {
                let table = case.listener(n, place);
                format!("\ntable {}\n{table:#}\nEnvoy: {envoy}\nleno: {leno}", case.name)
            }));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn generated(number: u64) -> Case {
    let mut dice = Dice(number);
    let hosts = hosts(&mut dice);
    let requests: Vec<Value> = (0..REQUESTS).map(|_| request(&mut dice)).collect();
    Case::made(
        number.to_string(),
        json!({
            "manager": manager(&mut dice), "table": table(&mut dice), "hosts": hosts, "requests": requests,
        }),
    )
}

fn manager(dice: &mut Dice) -> Value {
    let mut fields = json!({});
    dice.sometimes(3, |_| fields["normalize_path"] = true.into());
    dice.sometimes(3, |_| fields["merge_slashes"] = true.into());
    dice.sometimes(4, |dice| {
        let actions = [
            "KEEP_UNCHANGED",
            "REJECT_REQUEST",
            "UNESCAPE_AND_REDIRECT",
            "UNESCAPE_AND_FORWARD",
        ];
        fields["path_with_escaped_slashes_action"] = dice.one_of(&actions).into();
    });
    dice.sometimes(4, |_| fields["strip_any_host_port"] = true.into());
    fields
}

fn table(dice: &mut Dice) -> Value {
    // Some routes go to nobody.
    let mut fields = json!({"validate_clusters": false});
    dice.sometimes(3, |_| fields["most_specific_header_mutations_wins"] = true.into());
    dice.sometimes(4, |_| fields["ignore_port_in_host_matching"] = true.into());
    dice.sometimes(4, |_| {
        fields["ignore_path_parameters_in_path_matching"] = true.into()
    });
    dice.sometimes(2, |dice| headers(dice, "table", &mut fields));
    fields
}

/// Each domain once.
fn hosts(dice: &mut Dice) -> Vec<Value> {
    let mut domains = vec![
        "*",
        "a.example",
        "*.example",
        "a.*",
        "b.example:8080",
        "*.b.example",
        "*-x.example",
        "b.example",
        "B.*",
    ];
    let hosts = (0..=dice.below(4)).map(|n| {
        let domains: Vec<&str> = (0..=dice.below(2))
            .map(|_| domains.remove(dice.below(domains.len() as u64) as usize))
            .collect();
        let routes: Vec<Value> = (0..=dice.below(6)).map(|_| route(dice)).collect();
        let mut host = json!({"name": format!("host {n}"), "domains": domains, "routes": routes});
        dice.sometimes(3, |dice| headers(dice, "host", &mut host));
        dice.sometimes(12, |dice| {
            host["require_tls"] = dice.one_of(&["ALL", "EXTERNAL_ONLY"]).into();
        });
        host
    });
    hosts.collect()
}

const PATHS: [&str; 8] = ["/", "/a", "/a/b", "/ab", "/a/b/c", "/A/B", "/a/", "/c"];

fn route(dice: &mut Dice) -> Value {
    let mut matches = json!({});
    let by_prefix = match dice.below(8) {
        0..3 => Some("prefix"),
        3 => {
            matches["path"] = dice.one_of(&PATHS).into();
            None
        }
        4 => {
            let regex = dice.one_of(&["/a.*", "/[ab]/?", "/.*/c", "(/[^/]+){2}"]);
            matches["safe_regex"] = json!({"regex": regex});
            None
        }
        5 => {
            let template = dice.one_of(&["/a/{x}", "/{x}/b/*", "/a/**", "/{x=a/*}/c"]);
            matches["path_match_policy"] = json!({
                "name": "envoy.path.match.uri_template.uri_template_matcher",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                    "path_template": template,
                },
            });
            None
        }
        _ => Some("path_separated_prefix"),
    };
    if let Some(kind) = by_prefix {
        let separated = ["/a", "/a/b", "/ab", "/A", "/c"];
        matches[kind] = match kind {
            "prefix" => dice.one_of(&PATHS),
            _ => dice.one_of(&separated),
        }
        .into();
    }
    dice.sometimes(4, |_| matches["case_sensitive"] = false.into());
    if matches.get("path_match_policy").is_some() {
        matches.as_object_mut().unwrap().remove("case_sensitive");
    }
    dice.sometimes(3, |dice| matches["headers"] = json!([header_matcher(dice)]));
    dice.sometimes(4, |dice| {
        matches["query_parameters"] = json!([query_matcher(dice)])
    });
    dice.sometimes(12, |_| matches["grpc"] = json!({}));
    dice.sometimes(8, |dice| {
        let numerator = dice.one_of(&[0, 100]);
        matches["runtime_fraction"] = json!({"default_value": {"numerator": numerator}, "runtime_key": "x"});
    });
    let mut route = json!({"match": matches});
    match dice.below(8) {
        0 => route["redirect"] = redirect(dice, by_prefix.is_some()),
        1 => {
            let status = dice.one_of(&[200, 204, 404, 503]);
            // Envoy sends one with a 204 too.
            let body = if status == 204 {
                ""
            } else {
                dice.one_of(&["", "here"])
            };
            route["direct_response"] = json!({"status": status});
            if !body.is_empty() {
                route["direct_response"]["body"] = json!({"inline_string": body});
            }
        }
        _ => route["route"] = action(dice, by_prefix.is_some()),
    }
    dice.sometimes(3, |dice| headers(dice, "route", &mut route));
    route
}

fn header_matcher(dice: &mut Dice) -> Value {
    let mut matcher = json!({"name": dice.one_of(&["x-a", "x-b", ":method", ":authority", "x-n"])});
    let text = dice.one_of(&["one", "two", "GET", "a.example", "o", ""]);
    match dice.below(8) {
        0 => matcher["present_match"] = (dice.below(2) == 0).into(),
        1 => matcher["string_match"] = json!({"exact": text, "ignore_case": dice.below(2) == 0}),
        2 if !text.is_empty() => matcher["string_match"] = json!({"prefix": text}),
        3 if !text.is_empty() => matcher["string_match"] = json!({"suffix": text}),
        4 if !text.is_empty() => matcher["string_match"] = json!({"contains": text}),
        5 => {
            matcher["string_match"] =
                json!({"safe_regex": {"regex": dice.one_of(&["o.*", "[a-z]+", "one|two", ".*"])}})
        }
        6 => matcher["range_match"] = json!({"start": -5, "end": 50}),
        _ => {}
    }
    dice.sometimes(4, |_| matcher["invert_match"] = true.into());
    dice.sometimes(4, |_| matcher["treat_missing_header_as_empty"] = true.into());
    matcher
}

fn query_matcher(dice: &mut Dice) -> Value {
    let mut matcher = json!({"name": dice.one_of(&["x", "y"])});
    match dice.below(4) {
        0 => matcher["present_match"] = true.into(),
        1 => matcher["string_match"] = json!({"exact": dice.one_of(&["1", "one", ""])}),
        2 => matcher["string_match"] = json!({"prefix": "o", "ignore_case": true}),
        _ => {}
    }
    matcher
}

fn action(dice: &mut Dice, has_prefix: bool) -> Value {
    let mut action = match dice.below(6) {
        0 => json!({"cluster_header": "x-cluster"}),
        1 => {
            let (all, none) = (dice.one_of(&["a", "b"]), "c");
            let mut heavy = json!({"name": all, "weight": 100});
            dice.sometimes(2, |dice| headers(dice, "share", &mut heavy));
            json!({"weighted_clusters": {"clusters": [heavy, {"name": none, "weight": 0}]}})
        }
        2 => json!({"cluster": "nobody", "cluster_not_found_response_code": "NOT_FOUND"}),
        _ => json!({"cluster": dice.one_of(&["a", "b", "c"])}),
    };
    match dice.below(6) {
        0 | 1 if has_prefix => action["prefix_rewrite"] = dice.one_of(&["/", "/new", "/new/"]).into(),
        2 => {
            let (regex, substitution) = dice.one_of(&[("^/a", "/z"), ("/([^/]+)", r"/\1x"), ("b", "")]);
            action["regex_rewrite"] = json!({"pattern": {"regex": regex}, "substitution": substitution});
        }
        _ => {}
    }
    match dice.below(10) {
        0 => action["host_rewrite_literal"] = "new.example".into(),
        1 => action["host_rewrite_header"] = "x-a".into(),
        2 => action["auto_host_rewrite"] = true.into(),
        3 => {
            let rewrite = json!({"pattern": {"regex": "^/(.).*$"}, "substitution": r"\1.example"});
            action["host_rewrite_path_regex"] = rewrite;
        }
        _ => {}
    }
    dice.sometimes(6, |_| action["append_x_forwarded_host"] = true.into());
    action
}

fn redirect(dice: &mut Dice, has_prefix: bool) -> Value {
    let mut redirect = json!({});
    match dice.below(3) {
        0 => redirect["https_redirect"] = true.into(),
        1 => redirect["scheme_redirect"] = dice.one_of(&["http", "https"]).into(),
        _ => {}
    }
    dice.sometimes(2, |_| redirect["host_redirect"] = "new.example".into());
    dice.sometimes(3, |dice| {
        redirect["port_redirect"] = dice.one_of(&[80, 443, 8080]).into()
    });
    match dice.below(4) {
        0 => redirect["path_redirect"] = dice.one_of(&["/new", "/new?p=1"]).into(),
        1 if has_prefix => redirect["prefix_rewrite"] = dice.one_of(&["/new", "/"]).into(),
        2 => redirect["regex_rewrite"] = json!({"pattern": {"regex": "^/a"}, "substitution": "/z"}),
        _ => {}
    }
    dice.sometimes(3, |_| redirect["strip_query"] = true.into());
    dice.sometimes(2, |dice| {
        let codes = ["FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"];
        redirect["response_code"] = dice.one_of(&codes).into();
    });
    redirect
}

fn headers(dice: &mut Dice, level: &str, of: &mut Value) {
    let edit = |dice: &mut Dice| {
        let actions = [
            "APPEND_IF_EXISTS_OR_ADD",
            "ADD_IF_ABSENT",
            "OVERWRITE_IF_EXISTS_OR_ADD",
            "OVERWRITE_IF_EXISTS",
        ];
        let value = dice.one_of(&[level, "%REQ(x-a)%", "%PROTOCOL%-%REQ(:METHOD)%", ""]);
        json!([{
            "header": {"key": dice.one_of(&["x-a", "x-b", "x-c"]), "value": value},
            "append_action": dice.one_of(&actions), "keep_empty_value": dice.below(2) == 0,
        }])
    };
    of["request_headers_to_add"] = edit(dice);
    of["response_headers_to_add"] = edit(dice);
    dice.sometimes(3, |dice| {
        of["request_headers_to_remove"] = json!([dice.one_of(&["x-a", "x-b"])]);
    });
    dice.sometimes(3, |_| of["response_headers_to_remove"] = json!(["x-c"]));
}

fn request(dice: &mut Dice) -> Value {
    let paths = [
        "/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/A/B", "/a//b", "/a/../c", "/a%2Fb", "/a;v=1/b", "/c",
        "/d/b/e", "/%61",
    ];
    let query = dice.one_of(&["", "", "?x=1", "?x=one&y", "?y=OK&x=", "?x"]);
    let method = dice.one_of(&["GET", "GET", "POST", "DELETE", "OPTIONS"]);
    let hosts = [
        "a.example",
        "A.Example",
        "b.example:8080",
        "b.example",
        "x.b.example",
        "y-x.example",
        "other",
        "a.example:80",
    ];
    let mut headers = json!({});
    for name in ["x-a", "x-b"] {
        dice.sometimes(2, |dice| {
            headers[name] = dice.one_of(&[
                json!("one"),
                json!("two"),
                json!("ONE"),
                json!(""),
                json!(["one", "two"]),
            ]);
        });
    }
    dice.sometimes(3, |dice| {
        headers["x-n"] = dice.one_of(&["7", "-3", "50", "x", "7a"]).into()
    });
    dice.sometimes(2, |dice| {
        headers["x-cluster"] = dice.one_of(&["a", "b", "nobody"]).into()
    });
    dice.sometimes(6, |_| headers["content-type"] = "application/grpc".into());
    json!({
        "send": format!("{method} {}{query}", dice.one_of(&paths)),
        "host": dice.one_of(&hosts), "headers": headers,
    })
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// Once in `n`.
    fn sometimes(&mut self, n: u64, does: impl FnOnce(&mut Self)) {
        if self.below(n) == 0 {
            does(self);
        }
    }
}
