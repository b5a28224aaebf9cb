//! A stock Envoy as a sidecar of leno's mesh, beside leno's own: it takes every resource, both are authenticated, and
//! traffic moves the same.

use std::process::Output;

use leno_testkit::{Process, eventually};

use crate::pod::{POD, Pod};
use crate::support::{CALLER, SERVICE, SUBSETS, stdout, weighted};

const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
";

fn reviews_on_leno(pod: &Pod, version: &str) -> Process {
    let server = pod.server(version);
    let command: Vec<&str> = server.iter().map(String::as_str).collect();
    let version = format!("--version={version}");
    pod.run(
        &[
            "--service",
            "reviews",
            "--service-account",
            "aye",
            &version,
            "--port",
            "9080",
        ],
        &command,
    )
}

fn reviews_on_envoy(pod: &Pod, version: &str) -> [Process; 2] {
    let version_flag = format!("--version={version}");
    let identity = ["--service", "reviews", "--service-account", "bee", &version_flag];
    let args = [&identity[..], &["--port", "9080:http"]].concat();
    [pod.application(version), pod.agent(&args)]
}

#[track_caller]
fn nothing_was_rejected(pod: &Pod) {
    let rejected = pod.stats("update_rejected");
    assert!(!rejected.is_empty());
    assert_eq!(rejected.iter().map(|(_, n)| n).sum::<u64>(), 0, "{rejected:?}");
    let status = pod.leno(&["status"]);
    assert!(!stdout(&status).contains("REJECTED"), "{}", stdout(&status));
}

/// What a peer's application is told of its client.
fn client_certificate(answer: &Output) -> String {
    let headers: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
    let all = headers.as_object().into_iter().flatten();
    let mut named = all.filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-client-cert"));
    named
        .next()
        .map(|(_, value)| value.to_string())
        .unwrap_or_default()
}

#[test]
fn an_envoy_and_a_leno_workload_prove_their_identities_to_each_other() {
    let test = "an_envoy_and_a_leno_workload_prove_their_identities_to_each_other";
    let other = SERVICE.replace("reviews", "ratings");
    let files = [("reviews.yaml", SERVICE), ("ratings.yaml", &other)];
    let Some(pod) = Pod::start(test, &files) else {
        return;
    };
    let server = pod.server("v1");
    let command: Vec<&str> = server.iter().map(String::as_str).collect();
    let ratings = [
        "--service",
        "ratings",
        "--service-account",
        "aye",
        "--port",
        "9080",
    ];
    let _ratings = pod.run(&ratings, &command);
    let _reviews = reviews_on_envoy(&pod, "v2");
    pod.wait_for(&["ratings", "reviews"]);

    let curl = |host: &str| {
        [
            "-s".to_owned(),
            "-m".into(),
            "10".into(),
            format!("http://{host}:9080/headers"),
        ]
    };
    let from_envoy = || {
        let args = curl("ratings");
        pod.inside("curl", &args.each_ref().map(String::as_str))
    };
    let from_leno = || {
        let args = curl("reviews");
        pod.client(&[&["curl"], &args.each_ref().map(String::as_str)[..]].concat())
    };
    for (call, client) in [(&from_envoy as &dyn Fn() -> Output, "bee"), (&from_leno, "cee")] {
        let answer = eventually("an answer", || {
            let answer = call();
            if client_certificate(&answer).is_empty() {
                Err(answer)
            } else {
                Ok(answer)
            }
        });
        let identity = format!("URI=spiffe://cluster.local/ns/default/sa/{client}");
        assert!(client_certificate(&answer).contains(&identity), "{answer:?}");
    }
    // Whom Envoy speaks to it has checked by name, and found right.
    let handshakes = pod.stats("9080||ratings.default.svc.cluster.local.ssl.handshake");
    assert!(handshakes.iter().any(|(_, n)| *n > 0), "{handshakes:?}");
    let failed = pod.stats("ssl.fail_verify_san");
    assert_eq!(failed.iter().map(|(_, n)| n).sum::<u64>(), 0, "{failed:?}");

    // Plaintext is taken under PERMISSIVE, and refused under STRICT, where the mesh goes on.
    let plaintext = || {
        let url = format!("http://{POD}:9080/");
        stdout(&pod.outside(
            "curl",
            &["-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", &url],
        ))
    };
    assert_eq!(plaintext(), "200");
    pod.user.write("mesh/strict.yaml", STRICT);
    eventually("plaintext is refused", || match plaintext().as_str() {
        "000" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert!(client_certificate(&from_envoy()).contains("sa/bee"));
    assert!(client_certificate(&from_leno()).contains("sa/cee"));
    nothing_was_rejected(&pod);
}

/// How often v1 answers `count` calls; every call must succeed.
#[track_caller]
fn v1(output: &Output, count: usize) -> usize {
    let text = stdout(output);
    assert_eq!(text.lines().count(), count, "{output:?}");
    assert!(text.lines().all(|l| l.starts_with("200 ")), "{text}");
    text.lines().filter(|l| l.ends_with("v1")).count()
}

#[test]
fn traffic_shifts_the_same_on_envoy_and_leno_and_no_update_is_ever_rejected() {
    let test = "traffic_shifts_the_same_on_envoy_and_leno_and_no_update_is_ever_rejected";
    let shares = weighted(75, 25);
    let files = [
        ("reviews.yaml", SERVICE),
        ("rules.yaml", SUBSETS),
        ("route.yaml", &shares),
    ];
    let Some(pod) = Pod::start(test, &files) else {
        return;
    };
    let mut first = reviews_on_leno(&pod, "v1");
    let _second = reviews_on_envoy(&pod, "v2");
    pod.wait_for(&["reviews", "reviews"]);

    let script = pod.user.write("caller.py", CALLER).display().to_string();
    let from_envoy = |count: usize| pod.inside("python3", &[&script, &count.to_string()]);
    let from_leno = |count: usize| pod.client(&["python3", &script, &count.to_string()]);
    let callers: [&dyn Fn(usize) -> Output; 2] = [&from_envoy, &from_leno];
    for call in callers {
        eventually("both versions answer", || {
            let text = stdout(&call(20));
            let all = text.lines().count() == 20 && text.lines().all(|l| l.starts_with("200 "));
            if all && text.contains("v1") && text.contains("v2") {
                Ok(())
            } else {
                Err(text)
            }
        });
        // Binomial, mean 300, deviation 8.7: 6.2 deviations away happens once in 10^9.
        let count = v1(&call(400), 400);
        assert!(
            (246..=354).contains(&count),
            "v1 answered {count} of 400, expected 300"
        );
    }
    pod.user.write("mesh/route.yaml", &weighted(0, 100));
    for call in callers {
        eventually("all goes to v2", || {
            let text = stdout(&call(50));
            if text.lines().filter(|l| *l == "200 v2").count() == 50 {
                Ok(())
            } else {
                Err(text)
            }
        });
    }
    nothing_was_rejected(&pod);

    for (at, rule) in RULES.iter().enumerate() {
        pod.user.write("mesh/route.yaml", rule);
        // What changes with it is told to Envoy, and taken.
        let marker = SERVICE.replace("reviews", &format!("marker-{at}"));
        pod.user.write("mesh/marker.yaml", &marker);
        eventually("Envoy has the newest configuration", || {
            let marked = pod.stats(&format!("|marker-{at}.default.svc.cluster.local.update_success"));
            if marked.iter().any(|(_, n)| *n > 0) {
                Ok(())
            } else {
                Err(at)
            }
        });
        nothing_was_rejected(&pod);
    }
    // Endpoints come and go.
    pod.user.write("mesh/route.yaml", &weighted(50, 50));
    first.stop();
    pod.wait_for(&["reviews"]);
    let third = reviews_on_leno(&pod, "v1");
    pod.wait_for(&["reviews", "reviews"]);
    for call in callers {
        eventually("the newcomer answers", || {
            let text = stdout(&call(20));
            if text.contains("v1") { Ok(()) } else { Err(text) }
        });
    }
    nothing_was_rejected(&pod);
    drop(third);
}

#[test]
fn an_envoy_with_a_wrong_node_id_is_told_what_would_be_right() {
    let test = "an_envoy_with_a_wrong_node_id_is_told_what_would_be_right";
    let Some(mut pod) = Pod::start(test, &[]) else {
        return;
    };
    let identity = ["--service", "reviews", "--dir", "agent"];
    let agent = Process::spawn(pod.agent_command(&identity));
    agent.wait_for_output("ready");
    let text = std::fs::read_to_string(pod.user.home().join("agent/bootstrap.json")).unwrap();
    let mut bootstrap: serde_json::Value = serde_json::from_str(&text).unwrap();
    bootstrap["node"]["id"] = "reviews".into();
    let bootstrap = pod.user.write("wrong.json", &bootstrap.to_string());
    let envoy = pod.envoy(&bootstrap);
    let remedy =
        "the node id \"reviews\" is not understood — xDS node — use sidecar~IP~NAME.NAMESPACE~DOMAIN";
    // Envoy shows the status as it travels, percent-encoded.
    envoy.wait_for_output("is%20not%20understood");
    let said = pod.control().wait_for_output(remedy);
    assert!(said.contains("LN0504"), "{said}");
}

/// Rules of every kind that translation knows.
const RULES: [&str; 4] = [
    "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}, uri: {prefix: /a}}, {queryParams: {q: {regex: x+}}}]
    fault: {delay: {fixedDelay: 10ms, percentage: {value: 50}}, abort: {httpStatus: 418, percentage: {value: 1}}}
    rewrite: {uri: /b, authority: other}
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx,409'}
    route: [{destination: {host: reviews, subset: v1}, headers: {request: {set: {x-a: b}, remove: [x-c]}}}]
  - match: [{uri: {exact: /old}}]
    redirect: {uri: /new, redirectCode: 308}
  - mirror: {host: reviews, subset: v2}
    mirrorPercentage: {value: 10}
    route: [{destination: {host: reviews}}]
",
    "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews-hash}
spec:
  host: reviews.default.svc.cluster.local
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: end-user}}
    connectionPool: {tcp: {maxConnections: 10, connectTimeout: 2s}, http: {http1MaxPendingRequests: 5}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 1s, maxEjectionPercent: 50}
",
    "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: '', kind: Service, name: reviews}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /a/b}, method: GET}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-a, value: b}]}}
    backendRefs: [{name: reviews, port: 9080, weight: 3}, {name: nobody, port: 1, weight: 1}]
  - backendRefs: [{name: reviews, port: 9080}]
",
    "
apiVersion: v1
kind: Service
metadata: {name: more}
spec:
  selector: {app: more}
  ports: [{name: tcp-a, port: 7000}, {name: b, port: 7001}, {name: grpc-c, port: 7002}, {name: https-d, port: 7003}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  mtls: {mode: STRICT}
  portLevelMtls: {9080: {mode: PERMISSIVE}}
",
];
