//! Routes change under load: nothing fails, and open connections follow.

use std::time::Duration;

use leno_testkit::{Process, eventually, eventually_within};

use crate::support::{SUBSETS, mesh, reviews, weighted};

const CONNECTIONS: usize = 4;
const CHANGES: usize = 200;

/// Calls over open connections without end; says when a connection's answer changes, and every failure.
const WATCHER: &str = r#"
import http.client, sys, threading
def watch(i):
    c = http.client.HTTPConnection("reviews", 9080, timeout=20); last = None; n = 0
    while True:
        try:
            c.request("GET", "/"); r = c.getresponse(); body = r.read().decode().strip(); n += 1
            if r.status != 200: print("FAIL", i, r.status, body, flush=True)
            if r.will_close: print("FAIL", i, "closed", flush=True)
        except Exception as e:
            print("FAIL", i, repr(e), flush=True); c.close(); continue
        if body != last: print("SEES", i, body, flush=True); last = body
threads = [threading.Thread(target=watch, args=(i,)) for i in range(int(sys.argv[1]))]
for t in threads: t.start()
for t in threads: t.join()
"#;

/// What each connection saw last.
fn seen(watcher: &Process) -> Vec<String> {
    let output = watcher.output();
    let last = |i: usize| {
        let prefix = format!("SEES {i} ");
        output.lines().rev().find_map(|l| l.strip_prefix(prefix.as_str())).unwrap_or_default().to_owned()
    };
    (0..CONNECTIONS).map(last).collect()
}

#[test]
fn two_hundred_route_changes_show_within_a_second_on_open_connections_and_fail_nothing() {
    let mesh = mesh().alone().file("rules.yaml", SUBSETS).file("route.yaml", &weighted(100, 0)).start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let script = mesh.user.write("watcher.py", WATCHER);
    let watcher = mesh.run(&["--service", "client"], &["python3", &script.display().to_string(), &CONNECTIONS.to_string()]);
    let all = |version: &str| {
        let seen = seen(&watcher);
        if seen.iter().all(|s| s == version) { Ok(()) } else { Err(seen) }
    };
    eventually("every connection is answered by v1", || all("v1"));
    for change in 0..CHANGES {
        let (v1, v2, now) = if change % 2 == 0 { (0, 100, "v2") } else { (100, 0, "v1") };
        mesh.write("route.yaml", &weighted(v1, v2));
        eventually_within(Duration::from_secs(1), &format!("change {change} shows on every connection"), || all(now));
    }
    let output = watcher.output();
    let failures: Vec<&str> = output.lines().filter(|l| l.starts_with("FAIL")).collect();
    assert!(failures.is_empty(), "{failures:?}");
}
