//! Configurations of network filters that come by themselves, beside those that hold without.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::{eventually, free_address};
use serde_json::{Value, json};

use super::files::Files;
use super::proxy::Proxy;
use super::script::socket;

const EXTENSION: &str = "envoy.config.core.v3.TypedExtensionConfig";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC";
const LIMIT: &str =
    "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit";
const ECHO: &str = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo";

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
        let mut discovery = json!({"config_source": files.stream("GRPC"), "type_urls": [RBAC]});
        for (field, value) in more.as_object().unwrap() {
            discovery[field] = value.clone();
        }
        json!({"name": name, "config_discovery": discovery})
    };
    let mut never = files.stream("GRPC");
    never["initial_fetch_timeout"] = json!("0.05s");
    let filters = [
        discovered("one", json!({})),
        discovered(
            "two",
            json!({"default_config": rules("DENY"), "apply_default_config_without_warming": true}),
        ),
        discovered("three", json!({"default_config": rules("DENY")})),
        discovered("none", json!({"config_source": never})),
    ];
    put("1", &[("one", rules("DENY")), ("three", rules("ALLOW"))]);
    let listeners: Vec<_> = filters
        .iter()
        .zip(ports)
        .map(|(filter, port)| {
            let echo = json!({"name": "echo", "typed_config": {"@type": ECHO}});
            json!({
                "name": filter["name"],
                "address": socket(port),
                "filter_chains": [{"filters": [filter, echo]}],
            })
        })
        .collect();
    let bootstrap =
        files.bootstrap(json!({"static_resources": {"listeners": listeners, "clusters": [files.cluster()]}}));
    let _proxy = start(&bootstrap);
    let [one, two, three, none] = ports;
    answers(one, "closed");
    answers(three, "echo");
    // Of this one nobody ever says anything: nobody comes in.
    answers(none, "closed");
    let mut text = format!("without its own: {}\n", answer(two).unwrap());
    text.push_str(&files.dumped("ecds_filters", |body| body.contains("three")));
    put(
        "2",
        &[
            ("one", rules("ALLOW")),
            ("two", rules("ALLOW")),
            ("three", rules("DENY")),
        ],
    );
    answers(one, "echo");
    answers(two, "echo");
    answers(three, "closed");
    // Of a type that the filter may not be: all is as it was.
    let limit = json!({"@type": LIMIT, "stat_prefix": "l", "max_connections": 1, "delay": "0s"});
    put("3", &[("one", limit)]);
    put("4", &[("two", rules("DENY"))]);
    answers(two, "closed");
    text.push_str(&format!("not of its type: {}\n", answer(one).unwrap()));
    text
}

fn rules(action: &str) -> Value {
    let all = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
    json!({"@type": RBAC, "stat_prefix": "r", "rules": {"action": action, "policies": {"all": all}}})
}

#[track_caller]
fn answers(address: SocketAddr, wanted: &str) {
    eventually(&format!("{address} is {wanted}"), || match answer(address) {
        Ok(answer) if answer == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Whether what is sent comes back. An error: nobody listens.
fn answer(address: SocketAddr) -> std::io::Result<&'static str> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut back = [0; 2];
    match stream
        .write_all(b"hi")
        .and_then(|()| stream.read_exact(&mut back))
    {
        Ok(()) => Ok("echo"),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(error),
        Err(_) => Ok("closed"),
    }
}
