//! Virtual hosts that are asked for when a request needs them, while it waits.

use std::fmt::Write as _;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::type_url::VIRTUAL_HOST;
use leno_proto_text::Schema;
use leno_testkit::free_address;
use serde_json::{Value, json};

use super::files::Files;
use super::proxy::{Proxy, answer, answers};

const ON_DEMAND: &str = "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand";

pub(crate) fn sought(start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
    let (files, port, without) = (Files::new(), free_address(), free_address());
    let source = files.stream("DELTA_GRPC");
    let host = |name: &str, domains: &[&str], body: &str| {
        let direct = json!({"status": 200, "body": {"inline_string": body}});
        let routes = json!([{"match": {"prefix": "/"}, "direct_response": direct}]);
        json!({"name": name, "domains": domains, "routes": routes})
    };
    let schema = Schema::load();
    let say = |version: &str, hosts: &[(&str, Value)]| {
        let each = hosts.iter().map(|(name, host)| {
            let any = schema.any_from_text(&host.to_string(), "envoy.config.route.v3.VirtualHost");
            (*name, any.unwrap())
        });
        files.plane.set(VIRTUAL_HOST, version, each.collect());
    };
    let routes = |hosts: &[Value]| {
        // Envoy waits for a first answer that has something in it.
        let mut source = source.clone();
        source["initial_fetch_timeout"] = json!("0.1s");
        let table = json!({"name": "r", "virtual_hosts": hosts, "vhds": {"config_source": source}});
        files.say("1", "envoy.config.route.v3.RouteConfiguration", &[table]);
    };
    routes(&[host("known", &["known"], "known")]);
    say(
        "1",
        &[
            ("r/a", host("a", &["a"], "a")),
            ("r/b", host("b", &["b", "c"], "b")),
        ],
    );
    let filter = json!({"name": "on_demand", "typed_config": {"@type": ON_DEMAND}});
    let rds = json!({"rds": {"route_config_name": "r", "config_source": source}});
    let listeners = [
        Files::listener("l", port, rds.clone(), &[filter]),
        Files::listener("m", without, rds, &[]),
    ];
    let bootstrap = files.bootstrap(json!({
        "static_resources": {"listeners": listeners, "clusters": [files.cluster()]},
    }));
    let _proxy = start(&bootstrap);
    // Some host is not known: 404 without the filter, and asked for with it.
    answers(without, "host: known\r\n", "200 known");
    let mut text = String::new();
    let tell = |text: &mut String, host: &str| {
        let said = [without, port].map(|port| answer(port, &format!("host: {host}\r\n")).unwrap());
        let _ = writeln!(text, "{host}: {}, on demand {}", said[0], said[1]);
    };
    for host in ["known", "a", "A", "b", "c", "none", "a"] {
        tell(&mut text, host);
    }
    say(
        "2",
        &[
            ("r/a", host("a", &["a"], "another")),
            ("r/none", host("none", &["none"], "some")),
        ],
    );
    answers(port, "host: a\r\n", "200 another");
    let asked = files.plane.asked(VIRTUAL_HOST);
    let asked = asked.iter().filter(|line| line.starts_with(['+', '/']));
    let _ = writeln!(text, "{}", asked.cloned().collect::<Vec<_>>().join("\n"));
    text
}
