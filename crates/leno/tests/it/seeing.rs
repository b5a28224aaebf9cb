//! What operators see of the traffic: stat, edges, tap, top; and what Prometheus gets.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use leno_testkit::{Mesh, Process, eventually};
use serde_json::Value;

use crate::support::{CALLER, SUBSETS, mesh, reviews, stdout};

/// Two rules: `/a` goes to v1, the rest to v2.
const SPLIT: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: reviews, subset: v1}}]
  - name: rest
    route: [{destination: {host: reviews, subset: v2}}]
";

const IDENTITY: &str = "spiffe://cluster.local/ns/default/sa/default";

/// v1 and v2 of reviews, and a split by path.
#[track_caller]
fn split() -> (Mesh, [Process; 2]) {
    let mesh = mesh().file("split.yaml", &format!("{SUBSETS}---{SPLIT}")).start();
    let servers = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    (mesh, servers)
}

/// A workload that sends these requests, one after the other, and ends.
#[track_caller]
fn call(mesh: &Mesh, count: u32, path: &str) {
    let script = mesh.user.write("caller.py", CALLER);
    let (script, count) = (script.display().to_string(), count.to_string());
    let output = mesh.client(&["python3", &script, &count, path]);
    assert!(output.status.success(), "{output:?}");
}

/// One that calls `/a/1` and `/b/2` for ever.
#[track_caller]
fn caller_for_ever(mesh: &Mesh) -> Process {
    let script = "while true; do curl -sS --max-time 20 http://reviews:9080/a/1 http://reviews:9080/b/2 \
                  http://reviews:9080/status/503 -o /dev/null -o /dev/null -o /dev/null || exit 1; done";
    mesh.run(&["--service", "client", "--version", "v1"], &["sh", "-c", script])
}

#[track_caller]
fn json(mesh: &Mesh, args: &[&str]) -> Value {
    let output = mesh.leno(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {output:?}"))
}

/// The line of a table that is about this.
fn row<'v>(document: &'v Value, field: &str, name: &str) -> Option<&'v Value> {
    document["rows"].as_array()?.iter().find(|row| row[field] == name)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn stat_counts_exactly_what_was_sent_by_workload_service_and_route() {
    let (mesh, _servers) = split();
    call(&mesh, 30, "/a");
    call(&mesh, 20, "/");
    call(&mesh, 5, "/status/503");
    eventually("all is counted", || {
        let stat = json(&mesh, &["stat", "--total", "-o", "json"]);
        let counts =
            |name: &str| row(&stat, "name", name).map(|r| (r["requests"].clone(), r["failures"].clone()));
        let (v1, v2) = (counts("reviews-v1.default"), counts("reviews-v2.default"));
        let all = v1 == Some((30.into(), 0.into())) && v2 == Some((25.into(), 5.into()));
        if all { Ok(()) } else { Err(stat) }
    });
    let service = json(&mesh, &["stat", "svc/reviews", "--total", "-o", "json"]);
    let of_callers = row(&service, "name", "reviews.default").unwrap();
    assert_eq!(
        (&of_callers["requests"], &of_callers["failures"]),
        (&55.into(), &5.into()),
        "{service}"
    );
    let success = of_callers["success"].as_f64().unwrap();
    assert!((success - 50.0 / 55.0).abs() < 1e-9, "{success}");
    assert_eq!(
        of_callers["meshed"],
        serde_json::json!({ "healthy": 2, "instances": 2 })
    );

    let routes = json(
        &mesh,
        &["stat", "svc/reviews", "--routes", "--total", "-o", "json"],
    );
    let first = row(&routes, "route", "rule 1").unwrap();
    assert_eq!(
        (&first["requests"], &first["to"]),
        (&30.into(), &"reviews-v1.default".into())
    );
    let rest = row(&routes, "route", "rest").unwrap();
    assert_eq!(
        rest["statuses"],
        serde_json::json!({ "200": 20, "503": 5 }),
        "{routes}"
    );
    assert_eq!(
        rest["madeBy"],
        "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"
    );
    let table = stdout(&mesh.leno(&["stat", "svc/reviews", "--routes", "--total"]));
    assert!(table.contains("virtual-service/reviews "), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");

    // Who has gone takes nothing away, and a further run of the same workload is added.
    call(&mesh, 10, "/a");
    eventually("the sum of all runs", || {
        let stat = json(
            &mesh,
            &["stat", "reviews-v1", "--from", "client", "--total", "-o", "json"],
        );
        match row(&stat, "name", "reviews-v1.default") {
            Some(row) if row["requests"] == 40 => Ok(()),
            _ => Err(stat),
        }
    });
    let nobody = json(
        &mesh,
        &[
            "stat",
            "reviews-v1",
            "--from",
            "reviews-v2",
            "--total",
            "-o",
            "json",
        ],
    );
    assert_eq!(row(&nobody, "name", "reviews-v1.default").unwrap()["requests"], 0);
}

#[test]
fn stat_measures_for_a_while_what_happens_meanwhile() {
    let (mesh, _servers) = split();
    let _client = caller_for_ever(&mesh);
    eventually("requests in the window", || {
        let stat = json(&mesh, &["stat", "reviews", "--window", "1s", "-o", "json"]);
        let rows = stat["rows"].as_array().unwrap();
        let moving =
            |row: &Value| row["requestsPerSecond"].as_f64() > Some(0.0) && row["latencyMs"]["p99"].is_f64();
        if rows.len() == 2 && rows.iter().all(moving) {
            Ok(())
        } else {
            Err(stat)
        }
    });
    let yaml = stdout(&mesh.leno(&["stat", "ns", "--window", "100ms", "-o", "yaml"]));
    assert!(yaml.contains("name: default"), "{yaml}");
}

#[test]
fn edges_show_both_identities() {
    let (mesh, _servers) = split();
    call(&mesh, 1, "/a");
    let edges = eventually("the edge", || {
        let edges = json(&mesh, &["edges", "reviews-v1", "-o", "json"]);
        if edges["edges"].as_array().is_some_and(|all| all.len() == 1) {
            Ok(edges)
        } else {
            Err(edges)
        }
    });
    let edge = &edges["edges"][0];
    assert_eq!(
        (&edge["source"], &edge["destination"]),
        (&"client.default".into(), &"reviews-v1.default".into())
    );
    assert_eq!((&edge["mtls"], &edge["requests"]), (&true.into(), &1.into()));
    assert_eq!(
        (&edge["clientIdentity"], &edge["serverIdentity"]),
        (&IDENTITY.into(), &IDENTITY.into())
    );
    let table = stdout(&mesh.leno(&["edges"]));
    let line = table
        .lines()
        .find(|line| line.contains("reviews-v1.default"))
        .unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "client.default",
            "reviews-v1.default",
            "http",
            "yes",
            IDENTITY,
            IDENTITY,
            "1"
        ],
        "{table}"
    );
}

#[test]
fn tap_shows_what_is_asked_for_and_nothing_else() {
    let (mesh, _servers) = split();
    let _client = caller_for_ever(&mesh);
    let tap = |args: &[&str]| -> Vec<Value> {
        let args = [&["tap", "--count", "3", "-o", "json"], args].concat();
        let output = mesh.leno(&args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        let lines: Vec<Value> = stdout(&output)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3, "{output:?}");
        lines
    };
    for line in tap(&[
        "svc/reviews",
        "--path",
        "/a",
        "--method",
        "get",
        "--status",
        "2xx",
    ]) {
        assert_eq!(
            (&line["path"], &line["method"], &line["status"]),
            (&"/a/1".into(), &"GET".into(), &200.into())
        );
        // Of the called side's proxy.
        assert_eq!(
            (&line["reporter"], &line["mtls"]),
            (&"destination".into(), &true.into())
        );
        assert_eq!(line["source"]["principal"], IDENTITY);
        assert_eq!(line["source"]["workload"], "client-v1", "{line}");
    }
    for line in tap(&["client", "--to", "svc/reviews", "--status", "503"]) {
        assert_eq!(
            (&line["path"], &line["reporter"]),
            (&"/status/503".into(), &"source".into()),
            "{line}"
        );
        assert_eq!(line["destination"]["workload"], "reviews-v2");
        assert_eq!(
            (&line["route"]["name"], &line["route"]["rule"]),
            (&"rest".into(), &2.into())
        );
        assert!(
            line["route"]["place"].as_str().unwrap().contains("split.yaml:"),
            "{line}"
        );
        assert_eq!(line["failed"], true);
    }
    for line in tap(&["--path", "~/b/[0-9]+"]) {
        // Each request once, as the caller tells it.
        assert_eq!(
            (&line["path"], &line["reporter"]),
            (&"/b/2".into(), &"source".into()),
            "{line}"
        );
    }
    for line in tap(&["reviews", "--from", "client-v1.default"]) {
        assert_eq!(line["reporter"], "destination", "{line}");
    }
    let table = mesh.leno(&["tap", "--count", "2", "--peer", "ns/default"]);
    let lines: Vec<String> = stdout(&table).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{table:?}");
    assert_eq!(lines[0].find("REQUEST"), lines[1].find("GET"), "{lines:?}");
}

#[test]
fn top_adds_up_by_path() {
    let (mesh, _servers) = split();
    let _client = caller_for_ever(&mesh);
    eventually("three paths", || {
        let top = json(&mesh, &["top", "--for", "1s", "-o", "json"]);
        let failing = row(&top, "path", "/status/503").map(|row| &row["success"]);
        let fine = row(&top, "path", "/a/1").map(|row| (&row["success"], &row["destination"]));
        let all = failing == Some(&0.0.into()) && fine == Some((&1.0.into(), &"reviews-v1.default".into()));
        if all { Ok(()) } else { Err(top) }
    });
    let table = stdout(&mesh.leno(&["top", "reviews", "--for", "500ms"]));
    assert!(
        table.starts_with("FROM") || table.starts_with("No request"),
        "{table}"
    );
}

/// A tap whose output nobody reads after its first line.
struct Unread {
    child: std::process::Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Unread {
    fn start(mut tap: Command) -> Self {
        let mut child = tap.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with('{'), "{line}");
        Self { child, out }
    }

    /// What it says beside the lines once it is read again, up to and including this.
    fn read_until_said(mut self, words: &str) -> String {
        let mut notes = BufReader::new(self.child.stderr.take().unwrap());
        let reading = std::thread::spawn(move || {
            let mut rest = Vec::new();
            let _ = self.out.read_to_end(&mut rest);
        });
        let mut said = String::new();
        while notes.read_line(&mut said).unwrap() > 0 && !said.contains(words) {}
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        reading.join().unwrap();
        said
    }
}

#[test]
fn a_slow_reader_loses_lines_and_is_told_and_traffic_goes_on() {
    let (mesh, _servers) = split();
    let client = caller_for_ever(&mesh);
    let tap = Unread::start(mesh.command(&["tap", "--max-rps", "1000000", "-o", "json"]));
    // More than pipes, windows and queues hold.
    call(&mesh, 8000, "/a");
    drop(client);
    let said = tap.read_until_said("are lost: they are read too slowly");
    assert!(said.contains("are lost: they are read too slowly"), "{said}");
}

#[test]
fn a_limit_holds_and_what_is_beyond_is_counted() {
    let (mesh, _servers) = split();
    let _client = caller_for_ever(&mesh);
    let mut tap = mesh.command(&["tap", "--max-rps", "1", "--count", "3", "-o", "json"]);
    let output = tap.output().unwrap();
    assert!(
        output.status.success() && stdout(&output).lines().count() == 3,
        "{output:?}"
    );
    assert!(
        stderr(&output).contains("more than --max-rps allows are not shown"),
        "{output:?}"
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_remedy() {
    let (mesh, _servers) = split();
    let cases: [(&[&str], &str); 7] = [
        (&["stat", "revews", "--total"], "did you mean reviews?"),
        (&["edges", "reviews-v3"], "did you mean reviews-v"),
        (&["tap", "svc/revews"], "did you mean svc/reviews?"),
        (
            &["tap", "--status", "9xx"],
            "\"9xx\" is no status — status — write 404, 5xx",
        ),
        (&["tap", "--path", "~("], "is no regular expression"),
        (
            &["tap", "--path", "reviews"],
            "write the beginning of a path, as /reviews",
        ),
        (
            &["stat", "--control", "127.0.0.1:1"],
            "the control plane does not answer",
        ),
    ];
    for (args, words) in cases {
        let output = mesh.leno(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let said = stderr(&output);
        assert!(
            said.starts_with("error: ") && said.contains(words),
            "{args:?}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    }
    for args in [
        &["stat", "pod/x"][..],
        &["tap", "--max-rps", "0"],
        &["top", "--for", "x"],
        &["edges", "svc/"],
    ] {
        let output = mesh.leno(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    }
    // Nothing has happened: that is no error.
    let empty = mesh.leno(&["edges"]);
    assert!(
        empty.status.success() && stdout(&empty).contains("Nobody has talked"),
        "{empty:?}"
    );
}

#[test]
fn get_shows_objects_with_what_became_of_them() {
    let (mesh, _servers) = split();
    let table = stdout(&mesh.leno(&["get", "vs"]));
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row[..4],
        ["default", "VirtualService", "reviews", "accepted"],
        "{table}"
    );
    assert!(row[4].contains("split.yaml:"), "{table}");
    let object = json(&mesh, &["get", "virtualservice", "reviews", "-o", "json"]);
    assert_eq!(object["spec"]["http"][1]["name"], "rest");
    assert_eq!(object["status"]["leno"]["status"], "accepted");

    // The last good one stays, and the reason is there.
    mesh.write(
        "split.yaml",
        &format!("{SUBSETS}---{}", SPLIT.replace("hosts:", "hots:")),
    );
    let stale = eventually("the broken version is noticed", || {
        let object = json(&mesh, &["get", "vs", "reviews.default", "-o", "json"]);
        if object["status"]["leno"]["status"] == "stale" {
            Ok(object)
        } else {
            Err(object)
        }
    });
    assert_eq!(stale["spec"]["hosts"][0], "reviews", "{stale}");
    let table = stdout(&mesh.leno(&["get", "vs", "reviews"]));
    assert!(
        table.contains("unknown field hots") && table.contains("did you mean hosts"),
        "{table}"
    );

    // One that never was in force.
    mesh.write(
        "new.yaml",
        &SPLIT
            .replace("name: reviews", "name: other")
            .replace("hosts:", "hots:"),
    );
    eventually("it is rejected", || {
        let list = json(&mesh, &["get", "vs", "-n", "default", "-o", "json"]);
        let items = list["items"].as_array().unwrap();
        let other = items.iter().find(|item| item["metadata"]["name"] == "other");
        if other.is_some_and(|o| o["status"]["leno"]["status"] == "rejected") {
            Ok(())
        } else {
            Err(list)
        }
    });
    let yaml = stdout(&mesh.leno(&["get", "dr", "-o", "yaml"]));
    assert!(
        yaml.contains("kind: DestinationRule") && yaml.contains("status: accepted"),
        "{yaml}"
    );
    let workloads = json(&mesh, &["get", "workloads", "reviews-v1", "-o", "json"]);
    assert_eq!(workloads["items"][0]["identity"], IDENTITY, "{workloads}");
    for (args, words) in [
        (&["get", "virtualservics"][..], "did you mean virtualservices?"),
        (&["get", "vs", "revews"], "did you mean reviews?"),
        (&["get", "workloads", "reviews-v9"], "did you mean reviews-v"),
    ] {
        let output = mesh.leno(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(words), "{output:?}");
    }
}

/// Reads a page as Prometheus' text format 0.0.4 has it: name and labels by value.
fn samples(page: &str) -> Vec<(String, f64)> {
    assert!(page.ends_with('\n'), "{page}");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = series.split('{').next().unwrap_or_default();
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'),
                "{line}"
            );
            assert!(series == name || series.ends_with("\"}"), "{line}");
            (
                series.to_owned(),
                value.parse().unwrap_or_else(|_| panic!("{line}")),
            )
        })
        .collect()
}

#[test]
fn prometheus_can_scrape_a_sidecar_and_counts_the_same() {
    let (mesh, _servers) = split();
    call(&mesh, 12, "/a");
    let status = mesh.status();
    let proxies = status["proxies"].as_array().unwrap();
    let v1 = proxies
        .iter()
        .find(|p| p["workload"].as_str().unwrap().starts_with("reviews-v1"))
        .unwrap();
    let url = format!(
        "http://{}:15020/stats/prometheus",
        v1["address"].as_str().unwrap()
    );
    eventually("the page", || {
        let mut curl = mesh.user.command("curl");
        let page = stdout(&curl.args(["-sSi", "--max-time", "20", &url]).output().unwrap());
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(
            head.to_lowercase()
                .contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        let samples = samples(body);
        let of = |name: &str| -> Vec<f64> {
            let with = |series: &String| series.starts_with(name);
            samples
                .iter()
                .filter(|(series, _)| with(series))
                .map(|(_, value)| *value)
                .collect()
        };
        let total = of("istio_requests_total{").iter().sum::<f64>();
        let count = of("istio_request_duration_milliseconds_count{")
            .iter()
            .sum::<f64>();
        let buckets = of("istio_request_duration_milliseconds_bucket{");
        let grows = buckets.windows(2).all(|pair| pair[0] <= pair[1]);
        if (total, count) == (12.0, 12.0) && grows && buckets.last() == Some(&12.0) {
            Ok(())
        } else {
            Err(page)
        }
    });
}

#[test]
fn the_commands_of_the_page_work_as_they_stand() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/observability.md");
    let page = std::fs::read_to_string(page).unwrap();
    let commands: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("$ leno "))
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    let (mesh, _servers) = split();
    let script =
        "while true; do curl -sS --max-time 20 http://reviews:9080/reviews/1 -o /dev/null || exit 1; done";
    let _client = mesh.run(&["--service", "client"], &["sh", "-c", script]);
    eventually("calls are counted", || {
        let edges = stdout(&mesh.leno(&["edges", "client"]));
        if edges.contains("client") {
            Ok(())
        } else {
            Err(edges)
        }
    });
    for command in commands {
        let output = mesh.leno(&command.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{command}: {output:?}");
        assert!(stdout(&output).lines().count() >= 1, "{command}: {output:?}");
    }
}
