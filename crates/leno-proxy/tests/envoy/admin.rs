//! The admin port beside Envoy's: the same bootstrap, the same questions, the same answers but for ports, times and what
//! each says of its own process. What Envoy 1.40 answers is kept in `admin.txt`; `UPDATE=1` writes it.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use regex::Regex;
use serde_json::Value;

use crate::config::Pki;
use crate::envoy::{Envoy, Leno, answer, program};

const FACTS: &str = "tests/envoy/admin.txt";

const BOOTSTRAP: &str = include_str!("admin.yaml");

/// The order matters: the last ones change something.
const ASKED: [(&str, &str); 48] = [
    ("GET", "/ready"),
    ("GET", "/listeners"),
    ("GET", "/listeners?format=json"),
    ("GET", "/clusters?format=json"),
    ("GET", "/clusters?filter=%5Eb&format=json"),
    ("GET", "/memory"),
    ("GET", "/server_info"),
    ("GET", "/init_dump"),
    ("GET", "/hot_restart_version"),
    ("GET", "/config_dump"),
    ("GET", "/config_dump?include_eds"),
    ("GET", "/config_dump?resource=static_clusters"),
    (
        "GET",
        "/config_dump?resource=static_listeners&mask=listener.name,last_updated",
    ),
    (
        "GET",
        "/config_dump?resource=static_route_configs&name_regex=ro.*",
    ),
    ("GET", "/config_dump?resource=dynamic_listeners"),
    ("GET", "/config_dump?resource=static_secrets"),
    ("GET", "/config_dump?resource=static_endpoint_configs"),
    ("GET", "/config_dump?resource=static_endpoint_configs&include_eds"),
    ("GET", "/config_dump?resource=nothing"),
    ("GET", "/config_dump?mask=static_clusters.cluster.name"),
    ("GET", "/runtime"),
    ("GET", "/runtime_modify?a=b"),
    ("POST", "/runtime_modify"),
    (
        "POST",
        "/runtime_modify?routes.few=%7Bnumerator:%205%7D&base.number=12",
    ),
    ("GET", "/runtime"),
    ("POST", "/runtime_modify?base.number="),
    ("GET", "/runtime"),
    ("GET", "/stats?filter=%5Eruntime.(num|admin)"),
    ("GET", "/certs"),
    ("GET", "/logging"),
    ("POST", "/reopen_logs"),
    ("GET", "/reopen_logs"),
    ("GET", "/contention"),
    ("GET", "/cpuprofiler"),
    ("GET", "/heapprofiler"),
    ("GET", "/allocprofiler"),
    ("GET", "/stats/recentlookups/clear"),
    ("GET", "/stats/recentlookups/enable"),
    ("GET", "/stats/recentlookups/disable"),
    ("GET", "/quitquitquit"),
    ("GET", "/healthcheck/fail"),
    ("GET", "/drain_listeners"),
    ("POST", "/healthcheck/fail"),
    ("GET", "/ready"),
    ("POST", "/healthcheck/ok"),
    ("POST", "/ready"),
    ("POST", "/drain_listeners?inboundonly"),
    ("POST", "/drain_listeners?skip_exit"),
];

fn bootstrap() -> Bootstrap {
    let pki = Pki::new();
    let quoted = |name: &str| Value::from(pki.pem(name)).to_string();
    let text = BOOTSTRAP
        .replace("CERTIFICATE", &quoted("server.crt"))
        .replace("KEY", &quoted("server.key"))
        .replace("AUTHORITY", &quoted("ca.crt"));
    Schema::load().from_text(&text).unwrap()
}

fn facts() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FACTS)).unwrap_or_default()
}

#[test]
fn the_facts_of_the_admin_port_are_what_envoy_answers() {
    let Some(program) = program("the_facts_of_the_admin_port_are_what_envoy_answers") else {
        return;
    };
    let envoy = Envoy::start(&program, &bootstrap());
    let mut text = String::new();
    for (method, path) in ASKED {
        let answered = answer(&envoy.admin, method, path).unwrap();
        tell(&mut text, method, path, &answered);
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(FACTS), &text).unwrap();
    }
    pretty_same(&facts(), &text);
}

#[tokio::test]
async fn the_admin_port_answers_as_envoys() {
    let leno = Leno::start(&bootstrap());
    let mut text = String::new();
    for (method, path) in ASKED {
        let answered = leno.ask(method, path).await.unwrap();
        tell(&mut text, method, path, &answered);
    }
    pretty_same(&facts(), &text);
}

/// A disk layer is read again when its link is replaced; what the admin port says counts before it, until it is taken back.
#[tokio::test]
async fn a_runtime_is_changed_by_files_and_by_the_admin_port() {
    let root = tempfile::tempdir().unwrap();
    let version = |name: &str, value: &str| {
        let directory = root.path().join(name).join("shop");
        std::fs::create_dir_all(directory.join("routes")).unwrap();
        std::fs::write(directory.join("routes/all"), value).unwrap();
        let link = root.path().join("next");
        std::os::unix::fs::symlink(root.path().join(name), &link).unwrap();
        std::fs::rename(link, root.path().join("now")).unwrap();
    };
    version("first", "1");
    let layers = serde_json::json!({"layers": [
        {"name": "disk", "disk_layer": {"symlink_root": root.path().join("now"), "append_service_cluster": true}},
        {"name": "admin", "admin_layer": {}},
    ]});
    let text = serde_json::json!({
        "node": {"id": "n-1", "cluster": "shop"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "layered_runtime": layers,
    });
    let leno = Leno::start(&Schema::load().from_text(&text.to_string()).unwrap());
    let says = |value: &'static str| {
        let leno = &leno;
        async move {
            loop {
                let (_, body) = leno.ask("GET", "/runtime").await.unwrap();
                let json: Value = serde_json::from_str(&body).unwrap();
                if json["entries"]["routes.all"]["final_value"] == value {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    says("1").await;
    version("second", "2");
    says("2").await;
    leno.ask("POST", "/runtime_modify?routes.all=3").await.unwrap();
    says("3").await;
    version("third", "4");
    leno.ask("POST", "/runtime_modify?routes.all=").await.unwrap();
    says("4").await;
}

#[tokio::test]
async fn the_levels_of_the_log_are_told_and_changed() {
    let leno = Leno::start(&bootstrap());
    let (line, first) = leno.ask("POST", "/logging").await.unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK");
    assert!(first.contains("  router: info\n"), "{first}");
    let (_, changed) = leno
        .ask("POST", "/logging?paths=router:debug,pool:critical")
        .await
        .unwrap();
    let wanted = first
        .replace("  router: info", "  router: debug")
        .replace("  pool: info", "  pool: critical");
    assert_eq!(changed, wanted);
    let (line, refused) = leno.ask("POST", "/logging?quic=debug").await.unwrap();
    assert_eq!(line, "HTTP/1.1 400 Bad Request");
    assert!(
        refused.starts_with("error: unknown logger name\n\nusage: "),
        "{refused}"
    );
    let (_, all) = leno.ask("POST", "/logging?level=off").await.unwrap();
    assert_eq!(all, first.replace("info", "off"));
}

/// What is counted for Istio costs those that ask for it, and nobody else.
#[tokio::test]
async fn istio_s_metrics_are_where_istio_stats_asks_for_them() {
    let asking = |stats: &str| {
        format!(
            "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: it
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: it
          route_config: {{virtual_hosts: [{{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]}}
          http_filters:
{stats}          - name: router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"
        )
    };
    let filter = "          - name: istio.stats
            typed_config:
              '@type': type.googleapis.com/udpa.type.v1.TypedStruct
              type_url: type.googleapis.com/stats.PluginConfig
              value: {}
";
    for (stats, counted) in [("", false), (filter, true)] {
        let leno = Leno::start(&Schema::load().from_text(&asking(stats)).unwrap());
        let address = leno.listeners[0].to_string();
        let asked = tokio::task::spawn_blocking(move || answer(&address, "GET", "/"));
        let (line, _) = asked.await.unwrap().unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK");
        // It is counted when all of it is, just after the client has its answer.
        let metrics = loop {
            let (_, metrics) = leno.ask("GET", "/stats/prometheus").await.unwrap();
            if metrics.contains("envoy_http_downstream_rq_completed{envoy_http_conn_manager_prefix=\"it\"} 1")
            {
                break metrics;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(metrics.contains("istio_requests_total{"), counted, "{metrics}");
    }
}

/// Commands of `docs/admin.md`.
#[tokio::test]
async fn what_the_documentation_asks_is_answered() {
    let leno = Leno::start(&bootstrap());
    let text = include_str!("../../../../docs/admin.md");
    let commands = text.lines().filter_map(|line| line.strip_prefix("$ curl -s "));
    let mut asked = 0;
    for command in commands {
        let (method, rest) = match command.strip_prefix("-X POST ") {
            Some(rest) => ("POST", rest),
            None => ("GET", command),
        };
        let rest = rest.replace(['\'', '\\'], "");
        let path = rest.strip_prefix("localhost:9901").expect("the admin port");
        let (line, body) = leno.ask(method, path).await.unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK", "{command}: {body}");
        asked += 1;
    }
    assert!(asked >= 5, "only {asked}");
}

fn pretty_same(want: &str, got: &str) {
    let sections = |text: &str| text.split("\n# ").map(str::to_owned).collect::<Vec<_>>();
    let (want, got) = (sections(want), sections(got));
    let differ = want.iter().zip(&got).filter(|(want, got)| want != got);
    let differ: Vec<String> = differ
        .map(|(want, got)| format!("--- Envoy\n{want}\n--- here\n{got}"))
        .collect();
    assert!(
        differ.is_empty() && want.len() == got.len(),
        "{}",
        differ.join("\n")
    );
}

fn tell(out: &mut String, method: &str, path: &str, (line, body): &(String, String)) {
    let body = match serde_json::from_str::<Value>(body) {
        Ok(mut json) => {
            comparable(&mut json);
            match path {
                // What it says is the process's own; which fields there are is not.
                "/memory" => keys(&json),
                "/server_info" => {
                    let told = ["state", "node", "hot_restart_version"];
                    serde_json::to_string_pretty(&told.map(|name| &json[name])).unwrap()
                }
                _ => serde_json::to_string_pretty(&json).unwrap(),
            }
        }
        Err(_) => body.clone(),
    };
    let ports = Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    let body = ports.replace_all(body.trim_end(), "127.0.0.1:PORT");
    writeln!(out, "\n# {method} {path}\n{line}\n{body}").unwrap();
}

/// Without what differs from run to run, and without what only Envoy can say of itself.
fn comparable(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            // Of a node: which program it is. Of a host: its own statistics.
            for own in [
                "user_agent_name",
                "user_agent_build_version",
                "extensions",
                "stats",
            ] {
                fields.remove(own);
            }
            // Of a certificate: Envoy writes that there are none.
            if fields
                .get("subject_alt_names")
                .is_some_and(|names| *names == Value::Array(Vec::new()))
            {
                fields.remove("subject_alt_names");
            }
            // In no order of Envoy's.
            if let Some(Value::Array(clusters)) = fields.get_mut("cluster_statuses") {
                clusters.sort_by_key(|cluster| cluster["name"].to_string());
            }
            for (name, value) in fields {
                match name.as_str() {
                    "last_updated" => *value = "TIME".into(),
                    "certificate_chain" | "trusted_ca" => *value = "PEM".into(),
                    "serial_number" => *value = "SERIAL".into(),
                    "days_until_expiration" if *value == days_until_4096() => *value = "DAYS".into(),
                    "port_value" => *value = "PORT".into(),
                    _ => comparable(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(comparable),
        _ => {}
    }
}

/// When the certificates expire.
fn days_until_4096() -> String {
    let (day, end) = (Duration::from_secs(86_400), Duration::from_secs(67_090_118_400));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    ((end - now).as_secs() / day.as_secs()).to_string()
}

fn keys(json: &Value) -> String {
    let fields = json.as_object().into_iter().flatten();
    fields.map(|(name, _)| format!("{name}\n")).collect()
}
