//! What operators ask, and what they are told.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use leno_testkit::{Mesh, OrdinaryUser, Process, eventually, free_port, shared_binary};
use serde_json::Value;

use crate::support::{LENO, mesh, reviews, stdout, weighted};

fn leno(user: &OrdinaryUser, args: &[&str]) -> Output {
    let mut command = user.command(shared_binary(Path::new(LENO)));
    command.args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A mesh in which `client` has called `reviews` and lives on.
#[track_caller]
fn called() -> (Mesh, [Process; 2]) {
    let mesh = mesh().start();
    let server = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let script = "curl -sS --max-time 20 http://reviews:9080/ && echo called && sleep 600";
    let client = mesh.run(&["--service", "client"], &["sh", "-c", script]);
    client.wait_for_output("called");
    (mesh, [server, client])
}

#[test]
fn status_is_a_table_for_people_and_data_for_programs() {
    let (mesh, _workloads) = called();
    let table = eventually("all is synced", || {
        let table = stdout(&mesh.leno(&["status"]));
        let bad = ["STALE", "NOT_SENT", "not ready"];
        if bad.iter().any(|b| table.contains(b)) {
            Err(table)
        } else {
            Ok(table)
        }
    });
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("WORKLOAD") && lines[0].ends_with("NDS"),
        "{table}"
    );
    assert!(
        lines[1].starts_with("client-") && lines[2].starts_with("reviews-v1-"),
        "{table}"
    );
    let row: Vec<&str> = lines[1].split_whitespace().skip(1).collect();
    let [service, kind, address, health, types @ ..] = row.as_slice() else {
        panic!("{table}")
    };
    assert_eq!(
        (*service, *kind, *health),
        ("client", "leno", "healthy"),
        "{table}"
    );
    assert!(address.starts_with("127."), "{table}");
    assert_eq!(*types, ["SYNCED"; 5], "{table}");

    let json = mesh.status();
    assert_eq!(json["diagnostics"], serde_json::json!([]));
    let proxy = &json["proxies"][1];
    assert_eq!(proxy["service"], "reviews");
    assert_eq!(proxy["principal"], "spiffe://cluster.local/ns/default/sa/default");
    assert!(
        proxy["node"].as_str().unwrap().starts_with("sidecar~127."),
        "{json}"
    );
    let yaml = stdout(&mesh.leno(&["status", "-o", "yaml"]));
    assert!(yaml.contains("\n  service: reviews\n"), "{yaml}");
}

#[test]
fn config_shows_every_kind_as_envoy_names_it_and_no_private_key() {
    let (mesh, _workloads) = called();
    let names = [
        (
            "clusters",
            "Cluster",
            "outbound|9080||reviews.default.svc.cluster.local",
        ),
        ("listeners", "Listener", "virtualOutbound"),
        (
            "routes",
            "RouteConfiguration",
            "reviews.default.svc.cluster.local:9080",
        ),
        (
            "endpoints",
            "ClusterLoadAssignment",
            "outbound|9080||reviews.default.svc.cluster.local",
        ),
        ("secrets", "Secret", "default"),
        ("secrets", "Secret", "ROOTCA"),
    ];
    let ask = |kind: &str, format: &str| {
        let output = mesh.leno(&["config", kind, "client", "-o", format]);
        assert!(output.status.success(), "{output:?}");
        let text = stdout(&output);
        assert!(
            !text.contains("PRIVATE KEY") && !text.contains("private_key"),
            "{text}"
        );
        text
    };
    let all: Value = serde_json::from_str(&ask("all", "json")).unwrap();
    for (kind, message, name) in names {
        let table = ask(kind, "table");
        let row = table
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_else(|| panic!("{table}"));
        assert!(row.starts_with(message) && row.ends_with("in force"), "{table}");
        let json: Value = serde_json::from_str(&ask(kind, "json")).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 1, "only {message}: {json}");
        for document in [&json, &all] {
            let resources = document[message].as_array().unwrap();
            let field = if kind == "endpoints" {
                "cluster_name"
            } else {
                "name"
            };
            assert!(resources.iter().any(|r| r[field] == name), "{document}");
        }
        assert!(ask(kind, "yaml").contains(name));
    }
    let cluster = all["Cluster"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == names[0].2)
        .unwrap();
    assert_eq!(
        (&cluster["type"], &cluster["lb_policy"]),
        (&"EDS".into(), &"LEAST_REQUEST".into())
    );
    let route = &all["RouteConfiguration"][0]["virtual_hosts"][0]["routes"][0];
    assert_eq!(route["route"]["cluster"], names[0].2, "{route}");
    let secrets = all["Secret"].to_string();
    assert!(
        secrets.contains("tls_certificate") && secrets.contains("trusted_ca"),
        "{secrets}"
    );

    let unknown = mesh.leno(&["config", "clusters", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        stderr(&unknown).contains("no proxy of nobody is connected"),
        "{unknown:?}"
    );
}

#[test]
fn validate_tells_good_from_bad_by_its_exit_code_and_says_where() {
    let user = OrdinaryUser::new();
    user.write("mesh/good.yaml", &weighted(50, 50));
    let good = leno(&user, &["validate", "-f", "mesh"]);
    assert_eq!(
        stdout(&good),
        "1 object in 1 file: 0 errors, 0 warnings\n",
        "{good:?}"
    );
    assert!(good.status.success());

    user.write(
        "mesh/bad.yaml",
        &weighted(50, 50).replace("weight: 50", "weigth: 50"),
    );
    user.write("mesh/broken.yaml", "kind: [");
    let bad = leno(&user, &["validate", "-f", "mesh"]);
    assert_eq!(bad.status.code(), Some(1));
    let said = stderr(&bad);
    for part in [
        "mesh/bad.yaml:10:",
        "weigth",
        "weight",
        "mesh/broken.yaml:1:",
        "error[LN",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    let absent = leno(&user, &["validate", "-f", "nowhere"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("nowhere cannot be read"), "{absent:?}");
}

#[test]
fn analyze_finds_what_no_object_shows_by_itself() {
    let user = OrdinaryUser::new();
    user.write(
        "mesh/deny.yaml",
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: no-admin}\nspec:\n  action: DENY\n  rules:\n  - to: [{operation: {ports: ['80'], paths: ['/admin*']}}]\n",
    );
    let validated = leno(&user, &["validate", "-f", "mesh"]);
    assert_eq!(stdout(&validated), "1 object in 1 file: 0 errors, 0 warnings\n");
    let analyzed = leno(&user, &["analyze", "-f", "mesh"]);
    let said = stderr(&analyzed);
    for part in [
        "warning[LN0329]: /admin* may be spelled with // and %2F",
        "mesh/deny.yaml:7:",
        "DECODE_AND_MERGE_SLASHES",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert_eq!(stdout(&analyzed), "1 object in 1 file: 0 errors, 1 warning\n");
    assert!(analyzed.status.success(), "{analyzed:?}");
    let strict = leno(&user, &["analyze", "--strict", "-f", "mesh"]);
    assert_eq!(strict.status.code(), Some(1), "{strict:?}");

    user.write("mesh/routes.yaml", &weighted(50, 50));
    let broken = leno(&user, &["analyze", "-f", "mesh"]);
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    assert!(stderr(&broken).contains("error[LN0301]"), "{broken:?}");
}

#[test]
fn the_kernel_takes_the_rules_that_capture_prints() {
    let user = OrdinaryUser::new();
    for args in [
        &["capture", "print"][..],
        &[
            "capture",
            "print",
            "-p",
            "15101",
            "-z",
            "15106",
            "-u",
            "1337,0",
            "-x",
            "10.0.0.0/8,fd00::/8",
            "-o",
            "22",
            "-d",
            "8080,9090",
        ],
    ] {
        let printed = leno(&user, args);
        assert!(printed.status.success(), "{printed:?}");
        let mut nft = user.command("unshare");
        let checked = fed(nft.args(["-Urn", "nft", "-c", "-f", "-"]), &printed.stdout);
        assert!(
            checked.status.success(),
            "{}{}",
            stdout(&printed),
            stderr(&checked)
        );
    }
}

/// Runs a command with this on its standard input.
fn fed(command: &mut Command, input: &[u8]) -> Output {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn completions_are_a_script_that_bash_accepts() {
    let user = OrdinaryUser::new();
    let script = leno(&user, &["completions", "bash"]);
    assert!(script.status.success());
    let try_out = b"\nCOMP_WORDS=(leno statu) COMP_CWORD=1; _leno leno statu leno; echo ${COMPREPLY[@]}\n";
    let ran = fed(
        user.command("bash").args(["--norc", "-s"]),
        &[&script.stdout[..], try_out].concat(),
    );
    assert_eq!(stdout(&ran), "status\n", "{ran:?}");
}

#[test]
fn wrong_usage_exits_2_and_a_reader_that_has_seen_enough_is_no_failure() {
    let user = OrdinaryUser::new();
    for args in [
        &["nonsense"][..],
        &["run", "--", "true"],
        &["run", "--service", "x"],
        &["run", "--service", "x", "--port", "http", "--", "true"],
        &["control"],
        &["config", "everything", "client"],
        &["status", "-o", "xml"],
        &["demo", "--for", "20"],
    ] {
        let output = leno(&user, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(stderr(&output).starts_with("error: "), "{args:?}: {output:?}");
        assert_eq!(stdout(&output), "");
    }
    // Longer than what a pipe holds, and the reader is gone.
    let mut command = user.command(shared_binary(Path::new(LENO)));
    command
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// A metrics page of `address`, asked for by the host.
#[track_caller]
fn scrape(mesh: &Mesh, address: &str) -> String {
    let url = format!("http://{address}/metrics");
    let output = mesh
        .user
        .command("curl")
        .args(["-sS", "--max-time", "20", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
}

#[test]
fn both_sidecars_of_a_call_count_it_with_both_principals() {
    let (mesh, _workloads) = called();
    let status = mesh.status();
    let address = |at: usize| format!("{}:15020", status["proxies"][at]["address"].as_str().unwrap());
    // The destination alone has checked that it was mutual TLS; the source says "unknown", as Istio's does.
    for (at, reporter, policy) in [(0, "source", "unknown"), (1, "destination", "mutual_tls")] {
        let expected = [
            format!("reporter=\"{reporter}\""),
            format!("connection_security_policy=\"{policy}\""),
            "source_workload=\"client\"".into(),
            "source_principal=\"spiffe://cluster.local/ns/default/sa/default\"".into(),
            "destination_principal=\"spiffe://cluster.local/ns/default/sa/default\"".into(),
            "destination_workload=\"reviews-v1\"".into(),
            "destination_service=\"reviews.default.svc.cluster.local\"".into(),
            "destination_version=\"v1\"".into(),
            "response_code=\"200\"".into(),
        ];
        eventually("the call is counted", || {
            let page = scrape(&mesh, &address(at));
            let counted = page.lines().any(|line| {
                line.starts_with("istio_requests_total{")
                    && line.ends_with("} 1")
                    && expected.iter().all(|label| line.contains(label))
            });
            if counted { Ok(()) } else { Err(page) }
        });
    }
}

#[test]
fn the_control_plane_has_metrics_and_lists_its_debug_pages() {
    let port = free_port();
    let mesh = mesh().control_arg(&format!("--admin-port={port}")).start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let page = scrape(&mesh, &format!("127.0.0.1:{port}"));
    for line in [
        "leno_control_workloads 1",
        "leno_control_certificates_issued_total 1",
        "leno_control_config_errors 0",
    ] {
        assert!(page.lines().any(|l| l == line), "`{line}` is not in: {page}");
    }
    let index = mesh
        .user
        .command("curl")
        .args(["-sS", &format!("http://127.0.0.1:{port}/debug")])
        .output()
        .unwrap();
    let index = stdout(&index);
    let pages: Vec<&str> = index
        .split("href=\"")
        .skip(1)
        .filter_map(|p| p.split('"').next())
        .collect();
    assert!(pages.len() >= 5, "{index}");
    for path in pages {
        let url = format!("http://127.0.0.1:{port}{path}");
        let output = mesh
            .user
            .command("curl")
            .args(["-sSf", "-o", "page", &url])
            .output()
            .unwrap();
        assert!(output.status.success(), "{path}: {output:?}");
    }
}
