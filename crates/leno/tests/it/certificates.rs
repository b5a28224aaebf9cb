//! Certificates come and go while the calls go on.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, chown};
use std::time::{Duration, SystemTime};

use leno_ca::{TokenGrant, TokenStore};
use leno_testkit::{Mesh, eventually};

use crate::support::{mesh, reviews, stdout};

/// The serial number of the certificate that a workload shows now.
#[track_caller]
fn serial(mesh: &Mesh, workload: &str) -> String {
    let output = mesh.leno(&["config", "secrets", workload]);
    let table = stdout(&output);
    let row = table.lines().find(|line| line.contains(" default "));
    let row = row.unwrap_or_else(|| panic!("no certificate: {table}{output:?}"));
    row.split_whitespace().nth(2).expect("a version").to_owned()
}

#[test]
fn certificates_renew_at_half_life_while_a_connection_stays_open() {
    // Calls over one connection until it is told to stop, then once over a new one.
    let caller = r#"
import http.client, os, time
def call(c):
    c.request("GET", "/"); r = c.getresponse(); body = r.read(); assert r.status == 200, (r.status, body)
c = http.client.HTTPConnection("reviews", 9080, timeout=20)
call(c); print("first", flush=True); first = c.sock; calls = 1
while not os.path.exists("stop"):
    call(c); calls += 1; time.sleep(0.005)
assert c.sock is first
call(http.client.HTTPConnection("reviews", 9080, timeout=20))
print("all", calls, "succeeded", flush=True)
"#;
    let mesh = mesh().control_arg("--cert-ttl=4s").start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let script = mesh.user.write("caller.py", caller).display().to_string();
    let mut client = mesh.run(&["--service", "client"], &["python3", &script]);
    client.wait_for_output("first");

    for workload in ["reviews", "client"] {
        let mut seen = BTreeSet::new();
        // The third certificate is made after the first one's end.
        eventually("three certificates", || {
            seen.insert(serial(&mesh, workload));
            if seen.len() >= 3 {
                Ok(())
            } else {
                Err(seen.clone())
            }
        });
    }
    mesh.user.write("stop", "");
    let status = client.wait();
    assert!(status.success(), "{}", client.output());
    client.wait_for_output("succeeded");
}

#[test]
fn an_expired_token_is_refused_and_the_refusal_says_since_when() {
    let mut mesh = mesh().start();
    mesh.control().stop();
    let tokens = mesh.state_dir().join("tokens.json");
    let owner = tokens.metadata().unwrap();
    let grant = TokenGrant {
        expires: SystemTime::now().checked_sub(Duration::from_secs(3600)),
        reusable: true,
        ..TokenGrant::default()
    };
    let mut store = TokenStore::open(&mesh.state_dir()).unwrap();
    let (_, text) = store.create(grant, SystemTime::now()).unwrap();
    chown(&tokens, Some(owner.uid()), Some(owner.gid())).unwrap();
    mesh.start_control();

    let file = mesh.user.write("old-token", &text).display().to_string();
    let output = mesh.leno(&[
        "run",
        "--service",
        "client",
        "--token",
        &file,
        "--",
        "echo",
        "never",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(1), ""),
        "{said}"
    );
    for part in [
        "error: ",
        "the join token expired at ",
        "make a new one",
        "old-token",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    // The local token is as good as before.
    assert_eq!(stdout(&mesh.client(&["echo", "in"])), "in\n");
}
