//! Before a port takes mutual TLS only: who still comes without it is seen, and is refused afterwards.

use leno_testkit::{Mesh, eventually};

use crate::support::{mesh, reviews, stdout};

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}}\n";

/// The page says what is looked at.
const PAGE: &str = include_str!("../../../../docs/identity.md");

/// From outside of the mesh: the status, `000` where there is no answer.
fn plain(mesh: &Mesh) -> String {
    let status = mesh.status();
    let mut proxies = status["proxies"].as_array().into_iter().flatten();
    let reviews = proxies.find(|proxy| proxy["service"] == "reviews").unwrap();
    let url = format!("http://{}:9080/", reviews["address"].as_str().unwrap());
    let mut curl = mesh.program("curl");
    let output = curl.args(["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", &url]);
    stdout(&output.output().unwrap())
}

fn meshed(mesh: &Mesh) -> String {
    stdout(&mesh.client(&["curl", "-sS", "-m", "20", "http://reviews:9080/"]))
}

/// The lines of `leno edges svc/reviews --plaintext`.
fn edges(mesh: &Mesh, more: &[&str]) -> Vec<String> {
    let output = mesh.leno(&[&["edges", "svc/reviews"], more].concat());
    assert!(output.status.success(), "{output:?}");
    let one_space = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    stdout(&output).lines().map(one_space).collect()
}

#[test]
fn who_comes_in_plaintext_is_seen_before_strict_and_refused_after() {
    let mesh = mesh().start();
    let server = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    assert_eq!(meshed(&mesh), "v1\n");
    for _ in 0..3 {
        assert_eq!(plain(&mesh), "200");
    }
    let counted = |table: &[String]| {
        table
            .iter()
            .any(|line| line.contains(" NO ") && line.ends_with(" 3"))
    };
    let table = eventually("both edges are there", || match edges(&mesh, &[]) {
        table if table.len() >= 3 && counted(&table) => Ok(table),
        table => Err(table),
    });
    assert_eq!(table[0], "FROM TO PROTO MTLS CLIENT SERVER TOTAL");
    let line = |part: &str| {
        table
            .iter()
            .find(|line| line.contains(part))
            .unwrap_or_else(|| panic!("{table:?}"))
    };
    assert!(
        line("client").ends_with("http yes spiffe://cluster.local/ns/default/sa/default spiffe://cluster.local/ns/default/sa/default 1"),
        "{table:?}"
    );
    assert!(
        line(" NO ").ends_with("reviews-v1.default http NO - - 3"),
        "{table:?}"
    );

    let only = edges(&mesh, &["--plaintext"]);
    assert!(only.len() == 2 && only[1] == *line(" NO "), "{only:?}");
    assert!(PAGE.contains("$ leno edges svc/reviews --plaintext"));

    mesh.write("strict.yaml", STRICT);
    eventually("plaintext is refused", || match plain(&mesh) {
        status if status == "000" => Ok(()),
        status => Err(status),
    });
    let log = server.wait_for_output("STRICT");
    assert!(log.contains("PeerAuthentication/default/default"), "{log}");
    assert_eq!(meshed(&mesh), "v1\n");
    let after = edges(&mesh, &["--plaintext"]);
    assert!(after[1].ends_with(" 3"), "what was refused is no edge: {after:?}");
}
