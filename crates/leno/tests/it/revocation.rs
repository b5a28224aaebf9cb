//! A certificate is taken back as the page says: who has it is let in no more, anywhere.

use leno_testkit::{Mesh, eventually};
use serde_json::Value;

use crate::support::{mesh, reviews, stdout};

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
    let _workload = reviews(&mesh, "v1");
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

    // Calls over new connections of its own each time, when told to.
    let script = "echo up; while ! [ -e go ]; do sleep 0.05; done; curl -s -m 10 -o /dev/null -w 'code %{http_code}\\n' http://reviews:9080/; exec sleep 100";
    let suspect = mesh.run(
        &["--service", "suspect", "--service-account", "suspect"],
        &["sh", "-c", script],
    );
    suspect.wait_for_output("up");
    make_list(&mesh, true);
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
