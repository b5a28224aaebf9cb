//! Clusters that are asked for when a request needs them, while it waits.

use std::fmt::Write as _;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::type_url::CLUSTER;
use leno_testkit::free_address;
use serde_json::json;

use super::files::Files;
use super::proxy::{Proxy, answer, serves};
use super::script::{assignment, backend};

const ON_DEMAND: &str = "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand";
const PER_ROUTE: &str = "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.PerRouteConfig";

pub(crate) fn sought(start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
    let (files, port) = (Files::new(), free_address());
    let one = backend("one");
    let cluster = |name: &str| json!({"name": name, "load_assignment": assignment(name, one)});
    files.say(
        "1",
        "envoy.config.cluster.v3.Cluster",
        &[cluster("one"), cluster("two")],
    );
    let source = files.stream("DELTA_GRPC");
    let off = json!({"on_demand": {"@type": PER_ROUTE}});
    let is_off = json!([{"name": "off", "present_match": true}]);
    let route = json!({"cluster_header": "x-cluster"});
    let routes = json!([
        {"match": {"prefix": "/", "headers": is_off}, "route": route, "typed_per_filter_config": off},
        {"match": {"prefix": "/", "headers": [{"name": "x-cluster", "present_match": true}]}, "route": route},
        {"match": {"prefix": "/"}, "route": {"cluster": "two"}},
    ]);
    let table = json!({"route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}], "validate_clusters": false}});
    let filter = json!({
        "name": "on_demand",
        "typed_config": {"@type": ON_DEMAND, "odcds": {"source": source, "timeout": "1s"}},
    });
    let listener = Files::listener("l", port, table, &[filter]);
    let bootstrap = files.bootstrap(json!({
        "static_resources": {"listeners": [listener], "clusters": [files.cluster()]},
    }));
    let _proxy = start(&bootstrap);
    serves(port, "one");
    let mut text = String::new();
    for headers in [
        "off: 1|x-cluster: one|",
        "x-cluster: one|",
        "off: 1|x-cluster: one|",
        // Nobody says anything of it.
        "x-cluster: none|",
        "x-cluster: |",
    ] {
        let headers = headers.replace('|', "\r\n");
        let _ = writeln!(text, "{headers:?}: {}", answer(port, &headers).unwrap());
    }
    let asked = files.plane.asked(CLUSTER);
    let asked = asked
        .iter()
        .filter(|line| line.starts_with('+') || line.starts_with('/'));
    let _ = writeln!(text, "{}", asked.cloned().collect::<Vec<_>>().join("\n"));
    text
}
