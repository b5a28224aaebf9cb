//! The control plane dies under load: what is known works on, what is new fails with a flag, nothing goes in plain.

use std::time::Duration;

use leno_testkit::{Mesh, Process, eventually_within};

use crate::support::{mesh, reviews, stdout};

/// Calls without end over a kept connection and over new ones; says every failure, and how far it is.
const LOAD: &str = r#"
import http.client, sys, time
kept = http.client.HTTPConnection("reviews", 9080, timeout=20); n = 0
def call(c):
    c.request("GET", "/"); r = c.getresponse(); r.read()
    if r.status != 200: raise Exception(r.status)
while True:
    for fresh in (False, True):
        c = http.client.HTTPConnection("reviews", 9080, timeout=20) if fresh else kept
        try: call(c)
        except Exception as e:
            print("FAIL", fresh, repr(e), flush=True); c.close()
        if fresh: c.close()
    n += 1
    if n % 100 == 0: print("DONE", n, flush=True)
    time.sleep(0.01)
"#;

#[track_caller]
pub fn load(mesh: &Mesh) -> Process {
    let script = mesh.user.write("load.py", LOAD);
    let load = mesh.run(
        &["--service", "client"],
        &["python3", &script.display().to_string()],
    );
    load.wait_for_output("DONE 100");
    load
}

/// Waits until the load has made `more` further rounds, none of which failed.
#[track_caller]
pub fn goes_on(load: &Process, more: usize) {
    let done = |output: &str| {
        output
            .lines()
            .rev()
            .find_map(|l| l.strip_prefix("DONE ")?.parse::<usize>().ok())
            .unwrap_or(0)
    };
    let goal = done(&load.output()) + more;
    eventually_within(Duration::from_secs(240), &format!("{more} more rounds"), || {
        let now = done(&load.output());
        if now >= goal { Ok(()) } else { Err(now) }
    });
    let output = load.output();
    let failures: Vec<&str> = output.lines().filter(|l| l.starts_with("FAIL")).collect();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn with_the_control_plane_dead_known_workloads_are_reached_and_new_destinations_fail_with_a_flag() {
    let other = "
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
";
    let mut mesh = mesh().file("other.yaml", other).start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let load = load(&mesh);
    // A second client that has called nobody yet.
    let idle = mesh.run(
        &["--service", "idle"],
        &["sh", "-c", "echo up; while ! [ -e go ]; do sleep 0.1; done; curl -sS -v --max-time 10 http://ratings:9080/; echo code $?"],
    );
    idle.wait_for_output("up");
    mesh.kill_control();
    // A round takes 10 ms at least: a minute without a control plane.
    goes_on(&load, 6000);
    mesh.user.write("go", "");
    let said = idle.wait_for_output("code ");
    assert!(
        !said.contains("code 0"),
        "a destination that nobody vouched for was reached: {said}"
    );
    goes_on(&load, 100);
}

#[test]
fn a_restarted_control_plane_fails_nothing_with_its_state_or_with_only_its_key() {
    let mut mesh = mesh().start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let load = load(&mesh);

    mesh.kill_control();
    goes_on(&load, 100);
    mesh.start_control();
    mesh.wait_for_instances("reviews", 2);
    goes_on(&load, 300);

    mesh.kill_control();
    keep_only_the_ca_key(&mesh);
    mesh.start_control();
    mesh.wait_for_instances("reviews", 2);
    goes_on(&load, 300);
    // And it is in charge again: a new workload joins and is called.
    assert_eq!(
        stdout(&mesh.client(&[
            "curl",
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://reviews:9080/"
        ])),
        "200"
    );
}

fn keep_only_the_ca_key(mesh: &Mesh) {
    let mut kept = 0;
    for entry in std::fs::read_dir(mesh.state_dir()).unwrap().flatten() {
        if entry.file_name() == "ca-key.pem" {
            kept += 1;
        } else {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(kept, 1);
}
