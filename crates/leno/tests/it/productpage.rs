//! The demo's product page in a real browser, through a gateway.

use leno_testkit::{Browser, Mesh, Process, Scheme, eventually};

use crate::support::{SUBSETS, mesh};

/// As the demo has it.
const GATEWAY: &str = include_str!("../../src/demo/mesh/gateway.yaml");
const PAGE: &str = "http://127.0.0.1:8080/productpage";

fn start() -> (Mesh, Vec<Process>) {
    let three = SUBSETS.to_owned() + "  - {name: v3, labels: {version: v3}}\n";
    let mesh = mesh()
        .on_a_machine("")
        .file("rules.yaml", &three)
        .file("route.yaml", &reviews("v1"))
        .file("gateway.yaml", GATEWAY)
        .start();
    let workload = |service: &str, version: &str| {
        let leno = mesh.binary().display().to_string();
        let args = ["--service", service, "--version", version, "--port", "9080:http"];
        mesh.run(&args, &[&leno, "sample", service, "--version", version])
    };
    let gateway = mesh.command(&["proxy", "gateway", "--metrics-port", "0"]);
    let workloads = vec![
        Process::spawn(gateway),
        workload("details", "v1"),
        workload("ratings", "v1"),
        workload("reviews", "v1"),
        workload("reviews", "v2"),
        workload("reviews", "v3"),
        workload("productpage", "v1"),
    ];
    for (service, count) in [("details", 1), ("ratings", 1), ("reviews", 3), ("productpage", 1)] {
        mesh.wait_for_instances(service, count);
    }
    eventually("the page is served at the gateway", || {
        let mut curl = mesh.program("curl");
        let output = curl.args(["-sS", "--fail", "-m", "20", PAGE]).output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(output)
        }
    });
    (mesh, workloads)
}

/// Jason goes to v2, all others to this version.
fn reviews(version: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]
    route: [{{destination: {{host: reviews, subset: v2}}}}]
  - route: [{{destination: {{host: reviews, subset: {version}}}}}]
"
    )
}

fn browser(test: &str, mesh: &Mesh) -> Option<Browser> {
    let profile = mesh.user.home().join("chromium");
    Browser::start(test, &profile, |program| mesh.program(program))
}

const STARS: &str = "document.querySelector('#reviews .stars')";

#[test]
fn a_browser_shows_reviews_that_change_with_their_version() {
    let (mesh, _workloads) = start();
    let Some(mut browser) = browser("a_browser_shows_reviews_that_change_with_their_version", &mesh) else {
        return;
    };
    browser.open(PAGE);
    browser.wait_until("document.querySelector('h1').textContent == 'The Comedy of Errors'");
    browser.wait_until("document.querySelector('#details').innerText.includes('William Shakespeare')");
    browser.wait_until("document.querySelector('#reviews').innerText.includes('answered by reviews-v1')");
    assert_eq!(browser.value(&format!("{STARS} === null")), true);
    assert_eq!(
        browser.value("document.querySelector('#reviews article') !== null"),
        true
    );

    // The page goes on asking, without being loaded anew, and follows the route.
    browser.wait_until("!document.querySelector('#answers').hidden");
    browser.value("document.querySelector('#ask').click()");
    mesh.write("route.yaml", &reviews("v3"));
    browser.wait_until(&format!("{STARS}?.className == 'stars red'"));
    browser.wait_until("document.querySelector('#legend').innerText.includes('reviews-v1')");
    browser.wait_until("document.querySelector('#legend').innerText.includes('reviews-v3')");

    // Signing in makes the requests jason's.
    browser.value("document.querySelector('[name=username]').value = 'jason'");
    browser.value("document.querySelector('form.user button').click()");
    browser.wait_until("document.querySelector('.user b')?.textContent == 'jason'");
    browser.wait_until(&format!("{STARS}?.className == 'stars black'"));
    browser.value("document.querySelector('a[href=\"/logout\"]').click()");
    browser.wait_until(&format!("{STARS}?.className == 'stars red'"));
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_fits_every_window() {
    let (mesh, _workloads) = start();
    let Some(mut browser) = browser(
        "the_page_needs_nothing_from_elsewhere_and_fits_every_window",
        &mesh,
    ) else {
        return;
    };
    for (scheme, dark) in [(Scheme::Light, false), (Scheme::Dark, true)] {
        browser.scheme(scheme);
        for (width, height) in [(1200, 900), (480, 900)] {
            browser.size(width, height);
            browser.open(PAGE);
            let elsewhere = "performance.getEntriesByType('resource').filter(r => !r.name.startsWith(location.origin)).length";
            assert_eq!(browser.value(elsewhere), 0);
            // Everything that the page names has come: style, script, pictures.
            assert_eq!(
                browser.value("[...document.images].every(image => image.naturalWidth > 0)"),
                true
            );
            assert_eq!(
                browser.value("document.styleSheets[0].cssRules.length > 20"),
                true
            );
            browser.wait_until("!document.querySelector('#answers').hidden");
            assert_eq!(
                browser.value("document.documentElement.scrollWidth <= innerWidth"),
                true
            );
            // Of the paper's colour, red, green and blue are dark or light.
            let brightness = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g))";
            assert_eq!(browser.value(&format!("{brightness} < 64")), dark);
        }
    }
}
