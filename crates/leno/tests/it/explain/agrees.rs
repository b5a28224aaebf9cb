//! What is explained is what the data plane then does: generated routes in a mesh that runs, generated requests through
//! its real proxies, and each answer held against `leno explain` of the same request.

use std::fs;

use leno_testkit::{Mesh, Process};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::{SUBSETS, mesh};

/// Configurations, and requests to each: bounded by the time that a change takes to arrive.
const CONFIGURATIONS: usize = 12;
const REQUESTS: usize = 10;

/// Tells its version and what it was asked (by the request line: `path` has lost slashes).
const SERVER: &str = r#"
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        said = {"version": sys.argv[1], "path": self.requestline.split()[1], "rule": self.headers.get("x-rule")}
        body = json.dumps(said).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 9080), Handler).serve_forever()
"#;

/// Makes the requests of `requests-N.json` once the configuration N is in force, which `/__rev` tells.
const CALLER: &str = r#"
import http.client, json, os, sys, time
def call(method, path, headers):
    c = http.client.HTTPConnection("reviews", 9080, timeout=20)
    c.putrequest(method, path)
    for name, value in headers: c.putheader(name, value)
    if method == "POST": c.putheader("content-length", "0")
    c.endheaders(); r = c.getresponse(); body = r.read().decode()
    return {"status": r.status, "location": r.getheader("location"), "body": body}
home, number = sys.argv[1], 0
while True:
    try:
        with open(f"{home}/requests-{number}.json") as file: requests = json.load(file)
    except (OSError, ValueError):
        time.sleep(0.02); continue
    while not str(call("GET", "/__rev", [])["location"]).endswith(f"/rev-{number}"): time.sleep(0.02)
    answers = [call(*request) for request in requests]
    with open(f"{home}/answers-{number}.json", "w") as file: json.dump(answers, file)
    print("DONE", number, "END", flush=True); number += 1
"#;

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews-v1}
spec: {selector: {app: reviews, version: v1}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-v2}
spec: {selector: {app: reviews, version: v2}, ports: [{name: http, port: 9080}]}
";

#[derive(Clone, Debug)]
struct Rule {
    /// Exact, prefix, or (VirtualService) an expression.
    path: Option<(&'static str, &'static str)>,
    header: Option<(&'static str, &'static str)>,
    method: Option<&'static str>,
    query: Option<&'static str>,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Split(u32, u32),
    Rewrite(&'static str),
    Mark(&'static str),
    Redirect(&'static str),
    /// Of a VirtualService only.
    Abort(u16),
}

fn rule() -> impl Strategy<Value = Rule> {
    let path = select(vec![
        ("exact", "/a"),
        ("exact", "/b"),
        ("prefix", "/a"),
        ("prefix", "/a/"),
        ("prefix", "/"),
        ("regex", "/[ab]"),
        ("regex", "/a/.*"),
    ]);
    let header = select(vec![("exact", "jason"), ("prefix", "j"), ("regex", "jo.")]);
    let action = prop_oneof![
        4 => (0..3u32, 1..3u32).prop_map(|(v1, v2)| Action::Split(v1, v2)),
        1 => select(vec!["/", "/new"]).prop_map(Action::Rewrite),
        1 => select(vec!["one", "two"]).prop_map(Action::Mark),
        1 => select(vec!["/there", "/else?x=1"]).prop_map(Action::Redirect),
        1 => select(vec![418u16, 500]).prop_map(Action::Abort),
    ];
    (
        prop::option::weighted(0.8, path),
        prop::option::weighted(0.4, header),
        prop::option::weighted(0.2, select(vec!["GET", "POST"])),
        prop::option::weighted(0.2, select(vec!["1", "2"])),
        action,
    )
        .prop_map(|(path, header, method, query, action)| Rule {
            path,
            header,
            method,
            query,
            action,
        })
}

/// Method, path with query, headers.
type Request = (&'static str, String, Vec<(&'static str, &'static str)>);

fn request() -> impl Strategy<Value = Request> {
    let paths = vec![
        "/", "/a", "/a/", "/a/b", "/ab", "/b", "/A", "/a/../b", "/%61", "/a//b",
    ];
    (
        select(vec!["GET", "GET", "POST"]),
        select(paths),
        prop::option::weighted(0.4, select(vec!["q=1", "q=2", "x&q=1", "q"])),
        prop::option::weighted(0.6, select(vec!["jason", "joe", "Jason", "ann"])),
    )
        .prop_map(|(method, path, query, user)| {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let headers = user.into_iter().map(|user| ("x-user", user)).collect();
            (method, format!("{path}{query}"), headers)
        })
}

fn virtual_service(rules: &[Rule], revision: usize) -> Value {
    let text = |(kind, value): (&str, &str)| json!({ kind: value });
    let rules = rules.iter().map(|rule| {
        let mut matches = serde_json::Map::new();
        matches.extend(rule.path.map(|path| ("uri".to_owned(), text(path))));
        matches.extend(rule.header.map(|user| ("headers".to_owned(), json!({"x-user": text(user)}))));
        matches.extend(rule.method.map(|method| ("method".to_owned(), json!({"exact": method}))));
        matches.extend(rule.query.map(|q| ("queryParams".to_owned(), json!({"q": {"exact": q}}))));
        let to = |subset: &str, weight: u32| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight});
        let one = json!([{"destination": {"host": "reviews", "subset": "v1"}}]);
        let mut said = match rule.action {
            Action::Split(v1, v2) => json!({"route": [to("v1", v1), to("v2", v2)]}),
            Action::Rewrite(path) => json!({"route": one, "rewrite": {"uri": path}}),
            Action::Mark(mark) => json!({"route": one, "headers": {"request": {"set": {"x-rule": mark}}}}),
            Action::Redirect(path) => json!({"redirect": {"uri": path}}),
            Action::Abort(status) => {
                json!({"route": one, "fault": {"abort": {"httpStatus": status, "percentage": {"value": 100}}}})
            }
        };
        if !matches.is_empty() {
            said["match"] = json!([matches]);
        }
        said
    });
    let first =
        json!({"match": [{"uri": {"exact": "/__rev"}}], "redirect": {"uri": format!("/rev-{revision}")}});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "reviews"},
        "spec": {"hosts": ["reviews"], "http": std::iter::once(first).chain(rules).collect::<Vec<_>>()},
    })
}

fn http_route(rules: &[Rule], revision: usize) -> Value {
    let rewritten = |path: &str| json!({"type": "ReplaceFullPath", "replaceFullPath": path});
    let redirect = |path: &str| {
        let to = json!({"path": rewritten(path), "statusCode": 302});
        json!([{"type": "RequestRedirect", "requestRedirect": to}])
    };
    let rules = rules.iter().map(|rule| {
        let mut matches = serde_json::Map::new();
        matches.extend(rule.path.map(|(kind, path)| {
            let kind = match kind {
                "exact" => "Exact",
                "prefix" => "PathPrefix",
                _ => "RegularExpression",
            };
            ("path".to_owned(), json!({"type": kind, "value": path}))
        }));
        matches.extend(rule.header.map(|(kind, user)| {
            let kind = if kind == "exact" {
                "Exact"
            } else {
                "RegularExpression"
            };
            (
                "headers".to_owned(),
                json!([{"name": "x-user", "type": kind, "value": user}]),
            )
        }));
        matches.extend(rule.method.map(|method| ("method".to_owned(), method.into())));
        matches.extend(
            rule.query
                .map(|q| ("queryParams".to_owned(), json!([{"name": "q", "value": q}]))),
        );
        let to = |name: &str, weight: u32| json!({"name": name, "port": 9080, "weight": weight});
        let one = json!([to("reviews-v1", 1)]);
        let mut said = match rule.action {
            Action::Split(v1, v2) => json!({"backendRefs": [to("reviews-v1", v1), to("reviews-v2", v2)]}),
            Action::Rewrite(path) => {
                let rewrite = json!({"type": "URLRewrite", "urlRewrite": {"path": rewritten(path)}});
                json!({"backendRefs": one, "filters": [rewrite]})
            }
            Action::Mark(mark) => {
                let set = json!({"set": [{"name": "x-rule", "value": mark}]});
                let filter = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": set});
                json!({"backendRefs": one, "filters": [filter]})
            }
            Action::Redirect(path) => json!({"filters": redirect(path.split('?').next().unwrap())}),
            // The Gateway API has no faults.
            Action::Abort(_) => json!({"backendRefs": [to("reviews-v2", 1)]}),
        };
        if !matches.is_empty() {
            said["matches"] = json!([matches]);
        }
        said
    });
    let exact = json!([{"path": {"type": "Exact", "value": "/__rev"}}]);
    let first = json!({"matches": exact, "filters": redirect(&format!("/rev-{revision}"))});
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "reviews"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
            "rules": std::iter::once(first).chain(rules).collect::<Vec<_>>(),
        },
    })
}

#[track_caller]
fn start(mesh: &Mesh, version: &str) -> Process {
    let script = mesh.user.write("versions.py", SERVER);
    let args = [
        "--service",
        "reviews",
        "--version",
        version,
        "--port",
        "9080:http",
    ];
    mesh.run(&args, &["python3", &script.display().to_string(), version])
}

fn explained(mesh: &Mesh, (method, path, headers): &Request) -> Value {
    let url = format!("http://reviews:9080{path}");
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let mut args = vec!["explain", "client", &url, "-X", method, "-o", "json"];
    args.extend(headers.iter().flat_map(|header| ["-H", header.as_str()]));
    let output = mesh.leno(&args);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{url}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// What was explained and is not so.
fn disagreement(told: &Value, got: &Value) -> Option<String> {
    let differs = |what: &str, told: &Value, got: &Value| {
        (told != got).then(|| format!("{what}: {told} was explained, {got} it is"))
    };
    let status = match told["outcome"]["kind"].as_str() {
        Some("forwarded") => json!(200),
        _ => told["outcome"]["status"].clone(),
    };
    if status != got["status"] {
        return differs("status", &status, &got["status"]);
    }
    if got["status"] != 200 {
        return differs(
            "location",
            &told["action"]["answer"]["location"],
            &got["location"],
        );
    }
    let body: Value = serde_json::from_str(got["body"].as_str()?).ok()?;
    let version = body["version"].as_str()?;
    let targets = told["targets"].as_array()?;
    let takes = |target: &Value| {
        let cluster = target["cluster"].as_str().unwrap_or_default();
        let subset = target["subset"].as_str().unwrap_or_default();
        let is = subset == version || cluster.contains(&format!("reviews-{version}."));
        is && target["share"].as_f64() > Some(0.0)
    };
    if !targets.iter().any(takes) {
        return Some(format!("version: {version} answers, of {targets:?}"));
    }
    let action = &told["action"];
    let path = if action["path"].is_null() {
        &told["request"]["path"]
    } else {
        &action["path"]
    };
    let edits = action["requestHeaders"].as_array().into_iter().flatten();
    let mut marks = edits.filter_map(|edit| edit.as_str()?.strip_prefix("set x-rule: "));
    let mark = marks.next().map_or(Value::Null, Value::from);
    differs("path", path, &body["path"]).or_else(|| differs("x-rule", &mark, &body["rule"]))
}

#[test]
fn what_is_explained_is_what_the_data_plane_does() {
    let mesh = mesh()
        .file("subsets.yaml", SUBSETS)
        .file("versions.yaml", SERVICES)
        .start();
    let _workloads = [start(&mesh, "v1"), start(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let script = mesh.user.write("caller.py", CALLER);
    let home = mesh.user.home().display().to_string();
    let caller = mesh.run(
        &["--service", "client"],
        &["python3", &script.display().to_string(), &home],
    );
    let mut runner = TestRunner::deterministic();
    let rules = prop::collection::vec(rule(), 1..6);
    let requests = prop::collection::vec(request(), REQUESTS);
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    let mut wrong = Vec::new();
    for revision in 0..CONFIGURATIONS {
        let rules = rules.new_tree(&mut runner).unwrap().current();
        let requests = requests.new_tree(&mut runner).unwrap().current();
        let route = match revision % 2 {
            0 => virtual_service(&rules, revision),
            _ => http_route(&rules, revision),
        };
        mesh.write("route.json", &route.to_string());
        mesh.user
            .write(&format!("requests-{revision}.json"), &json!(requests).to_string());
        caller.wait_for_output(&format!("DONE {revision} END"));
        let answers = fs::read_to_string(format!("{home}/answers-{revision}.json")).unwrap();
        let answers: Vec<Value> = serde_json::from_str(&answers).unwrap();
        for (request, got) in requests.iter().zip(&answers) {
            let told = explained(&mesh, request);
            let kind = told["outcome"]["kind"].as_str().unwrap_or_default();
            *kinds.entry(kind.to_owned()).or_default() += 1;
            if let Some(difference) = disagreement(&told, got) {
                wrong.push(format!("{request:?}: {difference}\n{route:#}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // It would mean little if all of them were of one kind.
    let all = ["answered", "forwarded", "noRoute"];
    assert!(all.iter().all(|kind| kinds.contains_key(*kind)), "{kinds:?}");
}
