//! `leno explain`: the page does what it says, mistakes are told, and the data plane does what is explained.

mod agrees;

use std::fs;
use std::path::Path;
use std::process::Output;

use leno_testkit::{OrdinaryUser, shared_binary};
use serde_json::Value;

use crate::support::{LENO, SERVICE, SUBSETS, mesh, reviews, stdout, weighted};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory `mesh` in the user's home, and `leno explain` there.
struct Files(OrdinaryUser);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let user = OrdinaryUser::new();
        for (name, text) in files {
            user.write(&format!("mesh/{name}"), text);
        }
        Self(user)
    }

    fn explain(&self, args: &[&str]) -> Output {
        let mut command = self.0.command(shared_binary(Path::new(LENO)));
        command.current_dir(self.0.home()).arg("explain").args(args);
        command.args(["--config", "mesh"]).output().unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let output = self.explain(&[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
    }
}

fn page(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(name),
    )
    .unwrap()
}

fn fences<'p>(page: &'p str, kind: &str) -> Vec<&'p str> {
    let fence = format!("```{kind}\n");
    let at = |(begin, _): (usize, &str)| begin + fence.len();
    let begins = page.match_indices(&fence).map(at).collect::<Vec<_>>();
    let body = |begin| page.get(begin..).and_then(|rest| rest.split("```").next());
    begins.into_iter().filter_map(body).collect()
}

#[test]
fn the_examples_of_the_page_say_what_stands_there() {
    examples("explain.md", (3, 7));
}

#[test]
fn the_examples_of_the_page_on_authorization_say_what_stands_there() {
    examples("authorization.md", (3, 3));
}

#[test]
fn the_examples_of_the_page_on_tokens_say_what_stands_there() {
    examples("jwt.md", (3, 3));
}

/// Of a page with so many files, and so many examples at least.
#[track_caller]
fn examples(name: &str, (count, least): (usize, usize)) {
    let page = page(name);
    let files: Vec<(&str, &str)> = fences(&page, "yaml")
        .into_iter()
        .filter_map(|body| body.strip_prefix("# ")?.split_once('\n'))
        .collect();
    assert_eq!(files.len(), count, "{files:?}");
    let files = Files::new(&files);
    let examples = fences(&page, "console");
    assert!(examples.len() >= least, "{examples:?}");
    for example in examples {
        let (line, wanted) = example.split_once('\n').unwrap();
        let line = line
            .strip_prefix("$ leno explain ")
            .unwrap()
            .replace("--config mesh", "");
        let args = words(&line);
        let output = files.explain(&args);
        let said = stdout(&output) + &stderr(&output);
        match wanted {
            "" => assert!(output.status.success(), "{line}: {said}"),
            wanted => assert_eq!(said, wanted, "{line}"),
        }
        let wide = said.lines().find(|line| line.chars().count() > 80);
        assert!(wanted.is_empty() || wide.is_none(), "wider than 80: {wide:?}");
    }
}

/// As a shell has them: what stands between single quotes is one.
fn words(line: &str) -> Vec<&str> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().collect(),
        _ => vec![part],
    });
    words.collect()
}

#[test]
fn what_cannot_be_explained_says_what_and_how_to_mend_it() {
    let files = Files::new(&[("services.yaml", SERVICE)]);
    for (args, code, said) in [
        (&["reviews", "reviews"][..], 2, "no port: give reviews:PORT"),
        (
            &["reviews", "http://reviews:x/"],
            2,
            "`x` is no port: give a number from 1 to 65535",
        ),
        (
            &["reviews", "http://reviews/", "-H", "end-user"],
            2,
            "`end-user` is no header: give NAME:VALUE",
        ),
        (
            &["reviews", "http://reviews/", "-X", "G T"],
            2,
            "`G T` is no method",
        ),
        (
            &["review", "http://reviews:9080/"],
            1,
            "error: nobody is called review — FROM — did you mean reviews?",
        ),
        (
            &["gateway/web", "http://reviews:9080/"],
            1,
            "error: `gateway/` is not known — FROM — give NAME, service/NAME or workload/NAME",
        ),
    ] {
        let output = files.explain(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}: {}", stdout(&output));
    }
    let mut command = files.0.command(shared_binary(Path::new(LENO)));
    let nowhere = command
        .args(["explain", "a", "b:1", "--config", "/nowhere"])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(
        stderr(&nowhere)
            .contains("the configuration directory cannot be read — /nowhere — name another with --config"),
        "{}",
        stderr(&nowhere)
    );
}

#[test]
fn without_a_control_plane_and_files_both_ways_are_named() {
    let user = OrdinaryUser::new();
    let mut command = user.command(shared_binary(Path::new(LENO)));
    let output = command.args(["explain", "a", "b:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("no control plane runs here") && said.contains("--config DIR"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_in_the_files_is_left_out_and_said() {
    let broken = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{rout: []}]}
";
    let files = Files::new(&[
        ("services.yaml", SERVICE),
        ("broken.yaml", broken),
        ("worse.yaml", "a: ["),
    ]);
    let told = files.json(&["reviews", "http://reviews:9080/"]);
    assert_eq!(told["outcome"]["kind"], "forwarded", "{told:#}");
    assert!(told["route"]["object"].is_null(), "{told:#}");
    let left_out = told["leftOut"].to_string();
    assert!(
        left_out.contains("broken.yaml:5:")
            && left_out.contains("did you mean route?")
            && left_out.contains("worse.yaml"),
        "{left_out}"
    );
}

#[test]
fn plaintext_to_a_strict_port_is_refused_and_the_policy_named() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: closed}
spec: {mtls: {mode: STRICT}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1}
spec: {template: {metadata: {labels: {app: reviews}}}}
";
    let files = Files::new(&[("services.yaml", SERVICE), ("rule.yaml", rule)]);
    let output = files.explain(&["reviews", "http://reviews:9080/"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    let words: Vec<&str> = said.split_whitespace().collect();
    let last = words.join(" ");
    assert!(
        last.contains(
            "REFUSED 503: port 9080 takes mutual TLS only, and this is plaintext: STRICT by \
             PeerAuthentication/default/closed (mesh/rule.yaml:7:1)"
        ),
        "{said}"
    );
}

#[test]
fn a_mesh_that_knows_only_its_own_lets_nobody_else_be_reached() {
    let closed = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n";
    let files = Files::new(&[("services.yaml", SERVICE), ("mesh.yaml", closed)]);
    let told = files.json(&["reviews", "https://example.com/"]);
    assert_eq!(told["outcome"]["kind"], "refused", "{told:#}");
    assert_eq!(told["targets"][0]["cluster"], "BlackHoleCluster");
    let told = files.json(&["reviews", "http://reviews:1/"]);
    assert_eq!(
        told["outcome"]["said"],
        "reviews is not served on port 1: it has 9080"
    );
}

#[test]
fn a_live_mesh_has_addresses_and_says_what_the_proxy_has_of_it() {
    let mesh = mesh()
        .file("subsets.yaml", SUBSETS)
        .file("route.yaml", &weighted(0, 100))
        .start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let client = mesh.run(&["--service", "client"], &["sh", "-c", "echo up; exec sleep 600"]);
    client.wait_for_output("up");
    let explain = || {
        let output = mesh.leno(&["explain", "client", "http://reviews:9080/", "-o", "json"]);
        let told: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        told
    };
    let told = explain();
    let target = &told["targets"][0];
    assert_eq!(target["subset"], "v2", "{told:#}");
    assert_eq!(target["proxy"], "cluster not asked for yet", "{told:#}");
    let endpoint = &target["endpoints"][0];
    let status = mesh.status();
    let v2 = status["proxies"].as_array().unwrap().iter();
    let mut v2 = v2.filter(|proxy| proxy["workload"].as_str().unwrap().starts_with("reviews-v2"));
    let v2 = v2.next().unwrap();
    assert_eq!(endpoint["address"], v2["address"], "{told:#}");
    assert_eq!(endpoint["inbound"]["workload"], v2["workload"], "{told:#}");
    assert_eq!(endpoint["transport"]["mode"], "mTLS");
    assert_eq!(
        told["toldBy"].as_str().unwrap().split(" at ").next(),
        Some("the control plane")
    );
    // Somebody who is not there.
    let output = mesh.leno(&["explain", "clent", "http://reviews:9080/"]);
    assert!(
        stderr(&output).contains("nobody called clent is connected — FROM — did you mean client?"),
        "{}",
        stderr(&output)
    );
}

const ASKED: &str = "
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: opa}
spec: {selector: {app: opa}, ports: [{name: grpc, port: 9191}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ratings-v1}
spec: {template: {metadata: {labels: {app: ratings}}, spec: {serviceAccountName: ratings}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: curl}
spec: {template: {metadata: {labels: {app: curl}}, spec: {serviceAccountName: curl}}}
---
kind: MeshConfig
extensionProviders:
- name: opa
  envoyExtAuthzGrpc: {service: opa.default.svc.cluster.local, port: 9191}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask}
spec:
  selector: {matchLabels: {app: ratings}}
  action: CUSTOM
  provider: {name: opa}
  rules: [{to: [{operation: {paths: [\"/admin*\"]}}]}]
";

#[test]
fn who_is_asked_is_named_with_the_policy_that_wants_it() {
    let files = Files::new(&[("mesh-of-all.yaml", ASKED)]);
    let said = |path: &str| {
        let url = format!("http://ratings:9080{path}");
        let output = files.explain(&["curl", &url]);
        let words: Vec<String> = stdout(&output).split_whitespace().map(str::to_owned).collect();
        (words.join(" "), files.json(&["curl", &url]).to_string())
    };
    let (text, json) = said("/admin/users");
    assert!(text.contains("once opa allows it"), "{text}");
    assert!(
        text.contains(
            "ns[default]-policy[ask]-rule[0] AuthorizationPolicy/default/ask (mesh/mesh-of-all.yaml:"
        ),
        "{text}"
    );
    assert!(json.contains("\"asks\":[\"opa\"]"), "{json}");
    let (text, json) = said("/");
    assert!(!text.contains("opa") && !json.contains("\"asks\""), "{text}");
}
