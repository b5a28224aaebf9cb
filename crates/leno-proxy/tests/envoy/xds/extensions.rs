//! Configurations of filters that come by themselves, beside those that hold without.

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::free_address;
use serde_json::{Value, json};

use super::files::Files;
use super::proxy::{Proxy, answer, answers};

const EXTENSION: &str = "envoy.config.core.v3.TypedExtensionConfig";
const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
const MUTATION: &str = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";

pub(crate) fn extended(start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
    let (files, ports) = (
        Files::new(),
        [free_address(), free_address(), free_address(), free_address()],
    );
    let put = |version: &str, configs: &[(&str, Value)]| {
        let each = configs.iter();
        let each: Vec<_> = each
            .map(|(name, config)| json!({"name": name, "typed_config": config}))
            .collect();
        files.say(version, EXTENSION, &each);
    };
    let discovered = |name: &str, more: Value| {
        let mut discovery = json!({"config_source": files.stream("GRPC"), "type_urls": [FAULT]});
        for (field, value) in more.as_object().unwrap() {
            discovery[field] = value.clone();
        }
        json!({"name": name, "config_discovery": discovery})
    };
    let direct = json!({"status": 200, "body": {"inline_string": "direct"}});
    let table = json!({"route_config": {"virtual_hosts": [{
        "name": "all",
        "domains": ["*"],
        "routes": [
            {
                "match": {"prefix": "/", "headers": [{"name": "off", "present_match": true}]},
                "direct_response": direct,
                "typed_per_filter_config": {"one": {
                    "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                    "disabled": true,
                }},
            },
            {"match": {"prefix": "/"}, "direct_response": direct},
        ],
    }]}});
    let mut never = files.stream("GRPC");
    never["initial_fetch_timeout"] = json!("0.05s");
    let never = json!({"config_source": never});
    let at_once = json!({"default_config": fault(418), "apply_default_config_without_warming": true});
    let later = json!({"default_config": fault(418)});
    let filters = [
        discovered("one", json!({})),
        discovered("two", at_once),
        discovered("three", later),
        discovered("none", never),
    ];
    put("1", &[("one", fault(500 + 1)), ("three", fault(500 + 3))]);
    let listeners: Vec<_> = filters
        .iter()
        .zip(ports)
        .map(|(filter, port)| {
            let name = filter["name"].as_str().unwrap();
            Files::listener(name, port, table.clone(), std::slice::from_ref(filter))
        })
        .collect();
    let bootstrap =
        files.bootstrap(json!({"static_resources": {"listeners": listeners, "clusters": [files.cluster()]}}));
    let _proxy = start(&bootstrap);
    let [one, two, three, none] = ports;
    answers(one, "", "501 fault filter abort");
    answers(three, "", "503 fault filter abort");
    // Of this one nobody ever says anything: nothing passes.
    answers(none, "", "500");
    let mut text = format!(
        "without its own: {}\nturned off by the route: {}\n",
        answer(two, "").unwrap(),
        answer(one, "off: 1\r\n").unwrap(),
    );
    text.push_str(&files.dumped("ecds_filters", |body| body.contains("501")));
    put(
        "2",
        &[("one", fault(511)), ("two", fault(512)), ("three", fault(513))],
    );
    answers(one, "", "511 fault filter abort");
    answers(two, "", "512 fault filter abort");
    answers(three, "", "513 fault filter abort");
    // Of a type that none of the filters may be: all is as it was.
    put("3", &[("one", json!({"@type": MUTATION, "mutations": {}}))]);
    put("4", &[("two", fault(522))]);
    answers(two, "", "522 fault filter abort");
    text.push_str(&format!("not of its type: {}\n", answer(one, "").unwrap()));
    text
}

fn fault(status: u16) -> Value {
    json!({"@type": FAULT, "abort": {"http_status": status, "percentage": {"numerator": 100}}})
}
