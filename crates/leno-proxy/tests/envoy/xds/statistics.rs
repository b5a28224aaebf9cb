//! The statistics of a proxy that has everything from elsewhere.

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::free_address;
use serde_json::json;

use super::files::Files;
use super::proxy::{Proxy, serves};

/// What `/stats/prometheus` says once it serves.
pub(crate) fn told(start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
    let (files, port) = (Files::new(), free_address());
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    let direct = json!({"status": 200, "body": {"inline_string": "here"}});
    let assigned = json!({"name": "shop", "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": ads}});
    let endpoints = json!({"cluster_name": "shop"});
    let manager = json!({"rds": {"route_config_name": "routes", "config_source": ads}});
    let table = json!({"name": "routes", "virtual_hosts": [{
        "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": direct}],
    }]});
    files.say("1", "envoy.config.cluster.v3.Cluster", &[assigned]);
    files.say(
        "1",
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        &[endpoints],
    );
    files.say(
        "1",
        "envoy.config.listener.v3.Listener",
        &[Files::listener("web", port, manager, &[])],
    );
    files.say("1", "envoy.config.route.v3.RouteConfiguration", &[table]);
    let bootstrap = files.bootstrap(json!({
        "dynamic_resources": {
            "ads_config": super::script::Script::api("GRPC"),
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [files.cluster()]},
    }));
    let _proxy = start(&bootstrap);
    serves(port, "here");
    files.says("/stats/prometheus", |text| {
        text.contains("envoy_http_downstream_rq_xx")
    })
}
