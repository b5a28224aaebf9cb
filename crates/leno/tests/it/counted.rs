//! What is denied is counted: by the workload's own sidecar, under the name of the rule that denied, or of the nearest one.

use leno_testkit::{Mesh, eventually};

use crate::support::{mesh, reviews, stdout};

const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin}
spec:
  action: DENY
  rules: [{to: [{operation: {ports: ['9080'], paths: ['/admin*']}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  rules: [{to: [{operation: {methods: [GET]}}]}]
";

/// Prometheus' page of the sidecar of reviews.
fn page(mesh: &Mesh) -> String {
    let status = mesh.status();
    let mut proxies = status["proxies"].as_array().into_iter().flatten();
    let reviews = proxies.find(|proxy| proxy["service"] == "reviews").unwrap();
    let address = reviews["address"].as_str().unwrap();
    let url = format!("http://{address}:15020/stats/prometheus");
    let mut curl = mesh.program("curl");
    stdout(&curl.args(["-sS", "-m", "20", &url]).output().unwrap())
}

/// The sum of the series that have all of these parts.
fn sum(page: &str, parts: &[&str]) -> f64 {
    let series = page
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)));
    series
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[test]
fn a_denial_counts_for_the_rule_that_denies_or_that_is_nearest() {
    let mesh = mesh().file("policies.yaml", POLICIES).start();
    let _server = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let status = |more: &[&str], path: &str| {
        let url = format!("http://reviews:9080{path}");
        let curl = ["curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"];
        stdout(&mesh.client(&[&curl[..], more, &[&url]].concat()))
    };
    eventually("the policies hold", || match status(&["-X", "PUT"], "/") {
        code if code == "403" => Ok(()),
        code => Err(code),
    });
    let missed = ["policy[readers]-rule[0]", "missed"];
    let before = eventually("it is counted", || match sum(&page(&mesh), &missed) {
        0.0 => Err(page(&mesh)
            .lines()
            .filter(|line| line.contains("rbac"))
            .map(str::to_owned)
            .collect::<Vec<_>>()),
        count => Ok(count),
    });
    assert_eq!(status(&["-X", "PUT"], "/"), "403");
    for _ in 0..2 {
        assert_eq!(status(&[], "/admin"), "403");
    }
    assert_eq!(status(&[], "/"), "200");
    let page = eventually("all are counted", || match page(&mesh) {
        page if sum(&page, &["policy[no-admin]-rule[0]", "denied"]) == 2.0 => Ok(page),
        page => Err(page),
    });
    assert_eq!(sum(&page, &missed), before + 1.0);
    // Istio's own metric tells them by their status.
    assert_eq!(
        sum(
            &page,
            &[
                "istio_requests_total",
                "reporter=\"destination\"",
                "response_code=\"403\""
            ]
        ),
        before + 3.0,
        "{page}"
    );
}
