//! Routes by scopes that come from elsewhere: each when its routes are there; a key is of one scope.

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::free_address;
use serde_json::{Value, json};

use super::files::Files;
use super::proxy::{Proxy, answer, answers};

const SCOPE: &str = "envoy.config.route.v3.ScopedRouteConfiguration";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

pub(crate) fn scoped(start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
    let (files, port, waiting) = (Files::new(), free_address(), free_address());
    let element = json!({"separator": "=", "key": "vip"});
    let key = json!({"fragments": [
        {"header_value_extractor": {"name": "X-Scope", "element_separator": ",", "element": element}},
        {"header_value_extractor": {"name": "x-part", "element_separator": "/", "index": 1}},
    ]});
    let scoped = |name: &str, key: &Value| {
        json!({"scoped_routes": {
            "name": name,
            "scope_key_builder": key,
            "rds_config_source": files.stream("GRPC"),
            "scoped_rds": {"scoped_rds_config_source": files.stream("GRPC")},
        }})
    };
    let on_demand = json!({
        "name": "on_demand",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand"},
    });
    let listeners = [
        Files::listener("l", port, scoped("scopes", &key), &[]),
        Files::listener("m", waiting, scoped("others", &key), &[on_demand]),
    ];
    let routes = |name: &str| {
        let direct = json!({"status": 200, "body": {"inline_string": name}});
        let routes = json!([{"match": {"prefix": "/"}, "direct_response": direct}]);
        json!({"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]})
    };
    let scope = |name: &str, routes: &str, key: [&str; 2]| {
        let fragments = key.map(|text| json!({"string_key": text}));
        json!({"name": name, "route_configuration_name": routes, "key": {"fragments": fragments}})
    };
    let lazy = |mut scope: Value| {
        scope["on_demand"] = json!(true);
        scope
    };
    files.say("1", ROUTES, &[routes("one"), routes("two"), routes("three")]);
    let first = [
        scope("a", "one", ["1", "x"]),
        scope("b", "two", ["2", "x"]),
        lazy(scope("c", "three", ["3", "x"])),
    ];
    files.say("1", SCOPE, &first);
    let bootstrap =
        files.bootstrap(json!({"static_resources": {"listeners": listeners, "clusters": [files.cluster()]}}));
    let _proxy = start(&bootstrap);
    answers(port, "x-scope: a,vip=1\r\nx-part: /x\r\n", "200 one");
    let mut text = String::new();
    let tell = |text: &mut String, headers: &str| {
        let headers = headers.replace('|', "\r\n");
        let said = [port, waiting].map(|port| answer(port, &headers).unwrap());
        text.push_str(&format!("{headers:?}: {}, on demand {}\n", said[0], said[1]));
    };
    for headers in [
        "x-scope: vip=1|x-part: a/x/b|",
        "x-scope: vip=2|x-part: /x|",
        "x-scope: vip=2,vip=1|x-part: /x|",
        "x-scope: vip=3|x-part: /x|",
        "x-scope: vip=4|x-part: /x|",
        "x-scope: vip=1|x-part: x|",
        "x-scope: vip=1|",
        "x-scope: 1|x-part: /x|",
        "",
    ] {
        tell(&mut text, headers);
    }
    text.push_str(&files.dumped("dynamic_scoped_route_configs", |body| body.contains("three")));
    // Two scopes change keys, and one goes. (Of the key that was taken first Envoy forgets both.)
    files.say(
        "2",
        SCOPE,
        &[scope("a", "one", ["2", "x"]), scope("b", "two", ["1", "x"])],
    );
    answers(port, "x-scope: vip=1\r\nx-part: /x\r\n", "200 two");
    answers(waiting, "x-scope: vip=3\r\nx-part: /x\r\n", "404");
    files.say("2", ROUTES, &[routes("one"), routes("four")]);
    files.say("3", SCOPE, &[scope("a", "four", ["2", "x"])]);
    answers(port, "x-scope: vip=2\r\nx-part: /x\r\n", "200 four");
    tell(&mut text, "x-scope: vip=1|x-part: /x|");
    text
}
