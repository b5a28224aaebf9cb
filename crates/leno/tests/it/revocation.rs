//! A certificate is taken back as the page says: who has it is let in no more, anywhere.

use leno_testkit::{Mesh, eventually};
use serde_json::Value;

use crate::support::{mesh, reviews, stdout};

/// Calls until it is refused, and stays then.
const SUSPECT: &str = r#"
import http.client, time
c = http.client.HTTPConnection("reviews", 9080, timeout=20)
def call():
    c.request("GET", "/"); r = c.getresponse(); r.read(); return r.status
print("up", call(), flush=True)
status = 200
while status == 200: status = call(); time.sleep(0.02)
print("code", status, flush=True)
time.sleep(100)
"#;

/// Where the page says how a list is made.
const PAGE: &str = include_str!("../../../../docs/identity.md");

/// As the page has it; of nobody without those lines that take something back.
#[track_caller]
fn make_list(mesh: &Mesh, of_suspect: bool) {
    let mut blocks = PAGE
        .split("```\n")
        .filter(|block| block.starts_with("cat > crl.cnf"));
    let script = blocks.next().expect("the page makes a list");
    let leno = format!("{} cert inspect", mesh.binary().display());
    let lines = script
        .lines()
        .filter(|line| of_suspect || !line.contains("suspect.pem"));
    // A second list counts on.
    let lines = lines.map(|line| match line.contains("touch index.txt") {
        true => "test -e index.txt || { touch index.txt; echo 01 > crlnumber; }".to_owned(),
        false => line.replace("leno cert inspect", &leno),
    });
    let script = lines.collect::<Vec<_>>().join("\n");
    let output = mesh.program("sh").args(["-ec", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[track_caller]
fn revoked(mesh: &Mesh, count: u64) {
    eventually("the list is in force", || {
        let output = mesh.leno(&["cert", "root", "-o", "json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match told["revoked"].as_u64() {
            Some(now) if now == count => Ok(()),
            _ => Err(told),
        }
    });
}

#[test]
fn a_revoked_certificate_is_refused_by_workloads_and_by_the_control_plane() {
    let mut mesh = mesh().start();
    let workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    // A list that takes nothing back lets everybody in.
    make_list(&mesh, false);
    let curl = [
        "curl",
        "-s",
        "-m",
        "10",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://reviews:9080/",
    ];
    eventually("calls go on under an empty list", || {
        match stdout(&mesh.client(&curl)).as_str() {
            "200" => Ok(()),
            other => Err(other.to_owned()),
        }
    });

    // Calls over a connection that it has, and that stays open between sidecars, when told to.
    let script = mesh.user.write("suspect.py", SUSPECT).display().to_string();
    let suspect = mesh.run(
        &["--service", "suspect", "--service-account", "suspect"],
        &["python3", &script],
    );
    suspect.wait_for_output("up 200");
    make_list(&mesh, true);
    revoked(&mesh, 1);
    let answer = suspect.wait_for_output("code ");
    assert!(answer.contains("code 503"), "{answer}");
    let said = workload.wait_for_output("has been revoked");
    assert!(said.contains("TLS handshake failed"), "{said}");
    assert_eq!(stdout(&mesh.client(&curl)), "200");

    // It does not outlive a restart of the control plane, which refuses it as well.
    mesh.control().stop();
    mesh.start_control();
    let said = mesh.control().wait_for_output("revoked");
    assert!(said.contains("LN0502"), "{said}");

    // A list that nobody could use is refused by name, and the one before stays.
    mesh.user.write("state/ca-crl.pem", "nonsense");
    let said = mesh.control().wait_for_output("LN0508");
    assert!(
        said.contains("ca-crl.pem") && said.contains("stay in force"),
        "{said}"
    );
    revoked(&mesh, 1);
}
