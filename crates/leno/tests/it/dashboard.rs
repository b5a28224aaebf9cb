//! `leno dashboard`, and its page in a real browser.

use std::fs;
use std::path::{Path, PathBuf};

use leno_testkit::{Browser, Mesh, OrdinaryUser, Process, Scheme, eventually, shared_binary};

use crate::demo::demo;
use crate::support::{LENO, mesh, reviews, stdout};

fn browser(test: &str, user: &OrdinaryUser) -> Option<Browser> {
    let mut browser = Browser::start(test, &user.home().join("chromium"), |program| {
        user.command(program)
    })?;
    browser.size(1440, 900);
    Some(browser)
}

/// The link between two cards.
fn edge(from: &str, to: &str) -> String {
    format!("document.querySelector('.edge[data-from=\"default/{from}\"][data-to=\"default/{to}\"]')")
}

/// The label of the same, as text.
fn label(from: &str, to: &str) -> String {
    format!("document.querySelector('[data-label=\"default/{from}→default/{to}\"]')?.textContent ?? ''")
}

fn start_demo(user: &OrdinaryUser) -> (Process, PathBuf, String) {
    let demo = demo(user, &[]);
    let said = demo.wait_for_output("/dashboard/");
    let after = |words: &str| {
        said.split(words)
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .trim()
            .to_owned()
    };
    let directory = PathBuf::from(after("configuration is in "));
    (demo, directory, after("dashboard is at "))
}

#[test]
fn the_demo_is_a_graph_that_follows_its_weights_and_outlives_its_control_plane() {
    let user = OrdinaryUser::new();
    let test = "the_demo_is_a_graph_that_follows_its_weights_and_outlives_its_control_plane";
    let Some(mut browser) = browser(test, &user) else {
        return;
    };
    let (mut demo, mesh, url) = start_demo(&user);
    browser.open(&url);
    let names = "[...document.querySelectorAll('[data-node]')].map((n) => n.dataset.node.split('/')[1]).sort().join()";
    browser.wait_until(&format!(
        "{names} == 'details,gateway,load,productpage,ratings,reviews'"
    ));
    let calls = [
        ("load/v1", "productpage/v1"),
        ("productpage/v1", "details/v1"),
        ("productpage/v1", "reviews/v1"),
        ("productpage/v1", "reviews/v2"),
        ("productpage/v1", "reviews/v3"),
        ("reviews/v2", "ratings/v1"),
        ("reviews/v3", "ratings/v1"),
    ];
    for (from, to) in calls {
        browser.wait_until(&format!(
            "{}?.classList.contains('mtls') ?? false",
            edge(from, to)
        ));
        browser.wait_until(&format!("({}).includes('100%')", label(from, to)));
    }
    browser.wait_until("document.querySelector('.summary').textContent.includes('everywhere')");
    browser.keep("dashboard-light");
    browser.scheme(Scheme::Dark);
    browser.keep("dashboard-dark");
    browser.scheme(Scheme::Light);

    // All of it to v3.
    let route = mesh.join("reviews.yaml");
    let text = fs::read_to_string(&route).unwrap();
    let moved = text
        .replace("weight: 70", "weight: 0")
        .replace("weight: 20", "weight: 0")
        .replace("weight: 10", "weight: 100");
    assert_ne!(text, moved);
    fs::write(&route, moved).unwrap();
    browser.wait_until(&format!(
        "{}.classList.contains('idle')",
        edge("productpage/v1", "reviews/v1")
    ));
    browser.wait_until(&format!(
        "parseFloat(({}).match(/[0-9.]+/)[0]) > 5",
        label("productpage/v1", "reviews/v3")
    ));
    browser.value("location.hash = '#/workload/default/reviews-v3'");
    browser.wait_until(
        "[...document.querySelectorAll('.share')].map((s) => s.textContent).join().endsWith('0%,0%,100%')",
    );
    browser.wait_until("document.querySelectorAll('.types .ok').length >= 4");
    // While it is looked at its requests are shown.
    browser.wait_until(
        "[...document.querySelectorAll('.requests tr')].some((r) => r.textContent.includes('GET/reviews/') && r.textContent.includes('200'))",
    );
    browser.keep("dashboard-workload");
    browser.value("location.hash = '#/configuration'");
    browser.wait_until("document.querySelectorAll('tbody tr').length == 8");
    browser.keep("dashboard-configuration");
    browser.value("location.hash = '#/configuration/VirtualService/default/reviews'");
    browser.wait_until("document.querySelector('.yaml')?.textContent.includes('weight: 100') ?? false");
    browser.keep("dashboard-object");
    browser.value("location.hash = '#/'");
    browser.wait_until("document.querySelectorAll('[data-node]').length == 6");
    browser.size(420, 860);
    browser.keep("dashboard-narrow");
    browser.size(1440, 900);

    // What was there stays, with what to do about it.
    demo.kill();
    browser
        .wait_until("document.querySelector('[role=alert]')?.textContent.includes('Lost contact') ?? false");
    browser.wait_until("document.querySelector('[role=alert]').textContent.includes('leno control')");
    assert_eq!(
        browser.value("document.querySelectorAll('[data-node]').length"),
        6
    );
    browser.keep("dashboard-lost");
}

/// A mesh in which `client` calls `reviews` ten times a second.
fn called() -> (Mesh, Process, Process) {
    let mesh = mesh().start();
    let server = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let script = "while true; do curl -s -o /dev/null --max-time 5 http://reviews:9080/; sleep 0.1; done";
    let client = mesh.run(&["--service", "client"], &["sh", "-c", script]);
    (mesh, server, client)
}

#[test]
fn a_workload_that_dies_shows_as_an_error() {
    let (mesh, mut server, _client) = called();
    let Some(mut browser) = browser("a_workload_that_dies_shows_as_an_error", &mesh.user) else {
        return;
    };
    let said = mesh.leno(&["dashboard", "--no-open"]);
    let url = stdout(&said).trim().to_owned();
    browser.open(&url);
    browser.wait_until(&format!(
        "{}?.classList.contains('ok') ?? false",
        edge("client/", "reviews/v1")
    ));
    assert_eq!(
        browser.value("document.querySelector('.node.error') === null"),
        true
    );

    server.kill();
    let failing = "document.querySelector('.edge.error[data-from=\"default/client/\"]')";
    browser.wait_until(&format!("{failing} !== null"));
    browser
        .wait_until("document.querySelector('[data-node=\"default/reviews\"]').classList.contains('error')");
    // Not by colour alone: in words, and by another line.
    browser.wait_until("document.querySelector('[data-node=\"default/reviews\"]').getAttribute('aria-label').includes('failing')");
    let dashes = browser.value(&format!(
        "getComputedStyle({failing}.querySelector('.line')).strokeDasharray"
    ));
    assert_ne!(dashes, "none");
    browser.value("document.querySelector('[data-node=\"default/reviews\"]').dispatchEvent(new MouseEvent('click', {bubbles: true}))");
    browser.wait_until("document.querySelector('.details .state.error')?.textContent.includes('of the requests fail') ?? false");
    browser.keep("dashboard-failing");

    let _again = reviews(&mesh, "v1");
    browser.wait_until("document.querySelector('[data-node=\"default/reviews\"]').classList.contains('ok')");
}

#[test]
fn its_address_is_printed_and_a_silent_control_plane_is_said_so() {
    let mut mesh = mesh().start();
    let said = mesh.leno(&["dashboard"]);
    assert!(said.status.success());
    let url = stdout(&said);
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with("/dashboard/\n"),
        "{url}"
    );

    mesh.kill_control();
    let error = eventually("it is gone", || {
        let output = mesh.leno(&["dashboard", "--no-open"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Err(error)
        } else {
            Ok(error)
        }
    });
    assert!(
        error.contains("does not answer") && error.contains("leno control --config DIR"),
        "{error}"
    );

    let lonely = OrdinaryUser::new();
    let output = lonely
        .command(shared_binary(Path::new(LENO)))
        .arg("dashboard")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("no control plane runs here"), "{error}");
}
