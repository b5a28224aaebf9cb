//! Routes of both dialects, as an application sees them.

use leno_testkit::{Mesh, eventually};

use crate::support::{CALLER, SUBSETS, mesh, reviews, stdout, weighted};

/// How often each version answered `count` calls over one connection; every call must succeed.
#[track_caller]
fn answers(mesh: &Mesh, count: usize) -> (usize, usize) {
    let script = mesh.user.write("caller.py", CALLER);
    let output = mesh.client(&["python3", &script.display().to_string(), &count.to_string()]);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), count, "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(lines.iter().all(|l| l.starts_with("200 ")), "{text}");
    let of = |version: &str| lines.iter().filter(|l| l.ends_with(version)).count();
    (of("v1"), of("v2"))
}

#[test]
fn weights_of_a_virtual_service_hold_over_one_connection() {
    let mesh = mesh().file("rules.yaml", SUBSETS).file("route.yaml", &weighted(75, 25)).start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let (v1, v2) = answers(&mesh, 1000);
    assert_eq!(v1 + v2, 1000);
    // Binomial, mean 750, deviation 13.7: 6.2 deviations away happens once in 10^9.
    assert!((665..=835).contains(&v1), "v1 answered {v1} of 1000, expected 750");
}

#[test]
fn weights_of_an_http_route_hold_and_a_weight_of_zero_gets_nothing() {
    let route = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: '', kind: Service, name: reviews}]
  rules:
  - backendRefs:
    - {name: reviews-v1, port: 9080, weight: 0}
    - {name: reviews-v2, port: 9080, weight: 10}
";
    let version = |v: &str| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: reviews-{v}}}
spec:
  selector: {{app: reviews, version: {v}}}
  ports: [{{name: http, port: 9080}}]
"
        )
    };
    let mesh = mesh().file("route.yaml", route).file("v1.yaml", &version("v1")).file("v2.yaml", &version("v2")).start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    assert_eq!(answers(&mesh, 50), (0, 50));
}

#[test]
fn without_a_route_calls_are_balanced_over_all_instances() {
    let mesh = mesh().start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    // LEAST_REQUEST with nothing else under way is a fair coin: mean 200, deviation 10.
    let (v1, _) = answers(&mesh, 400);
    assert!((137..=263).contains(&v1), "v1 answered {v1} of 400");
}

#[test]
fn header_and_path_matches_choose_the_version() {
    let route = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match:
    - headers: {end-user: {exact: jason}}
    - uri: {prefix: /beta}
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
";
    let mesh = mesh().file("rules.yaml", SUBSETS).file("route.yaml", route).start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let url = "http://reviews:9080";
    let output = mesh.client(&[
        "curl", "-s", "--max-time", "20", &format!("{url}/"), "-H", "end-user: jason", "--next", "-s", &format!("{url}/beta/x"),
        "--next", "-s", &format!("{url}/"),
    ]);
    assert_eq!(stdout(&output), "v2\nv2\nv1\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_abort_is_answered_without_the_service_and_a_timeout_cuts_a_delay() {
    let route = |fault: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - {fault}
    route: [{{destination: {{host: reviews}}}}]
"
        )
    };
    let mesh = mesh().file("route.yaml", &route("fault: {abort: {httpStatus: 418, percentage: {value: 100}}}")).start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let code = ["curl", "-s", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", "http://reviews:9080/"];
    assert!(stdout(&mesh.client(&code)).starts_with("418 "));

    mesh.write("route.yaml", &route("fault: {delay: {fixedDelay: 700ms, percentage: {value: 100}}}"));
    eventually("the delay takes the abort's place", || {
        let answer = stdout(&mesh.client(&code));
        let (status, seconds) = answer.split_once(' ').unwrap_or_default();
        let seconds: f64 = seconds.parse().unwrap_or(0.0);
        if status == "200" && seconds >= 0.7 { Ok(()) } else { Err(answer) }
    });
}
