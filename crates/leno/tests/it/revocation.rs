//! A certificate is taken back as the page says: who has it is let in no more, anywhere.

use leno_testkit::{Mesh, eventually};
use serde_json::Value;

use crate::support::{mesh, reviews, stdout};

/// As docs/identity.md has it.
const MAKE_LIST: &str = r#"set -e
cat > crl.cnf <<'END'
[ca]
default_ca = mesh
[mesh]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 30
crl_extensions = extensions
[extensions]
authorityKeyIdentifier = keyid:always
END
test -e index.txt || { touch index.txt; echo 01 > crlnumber; }
ca="openssl ca -config crl.cnf -keyfile state/ca-key.pem -cert state/root-cert.pem"
test -z "$1" || $ca -revoke "$1"
$ca -gencrl -out ca-crl.new
mv ca-crl.new state/ca-crl.pem
"#;

#[track_caller]
fn make_list(mesh: &Mesh, certificate: &str) {
    let mut shell = mesh.program("sh");
    let output = shell.args(["-c", MAKE_LIST, "sh", certificate]).output().unwrap();
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
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    // A list that takes nothing back lets everybody in.
    make_list(&mesh, "");
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

    // Calls over new connections of its own each time, when told to.
    let script = "echo up; while ! [ -e go ]; do sleep 0.05; done; curl -s -m 10 -o /dev/null -w 'code %{http_code}\\n' http://reviews:9080/";
    let suspect = mesh.run(
        &["--service", "suspect", "--service-account", "suspect"],
        &["sh", "-c", script],
    );
    suspect.wait_for_output("up");
    let secrets = mesh.leno(&["config", "secrets", "suspect", "-o", "json"]);
    let inspected = mesh.leno(&["cert", "inspect", "suspect", "--pem"]);
    assert!(inspected.status.success(), "{inspected:?} {secrets:?}");
    mesh.user.write("suspect.pem", &stdout(&inspected));
    make_list(&mesh, "suspect.pem");
    revoked(&mesh, 1);
    // Everybody has it when everybody follows.
    eventually("all follow", || {
        let dry = stdout(&mesh.leno(&["cert", "rotate-root", "--dry-run"]));
        if dry.contains("All of") { Ok(()) } else { Err(dry) }
    });
    mesh.user.write("go", "");
    let answer = suspect.wait_for_output("code ");
    assert!(answer.contains("code 503"), "{answer}");
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
