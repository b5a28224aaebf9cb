//! Workloads end in every way; the mesh goes on and nothing is left behind.

use std::fs;
use std::time::Duration;

use leno_testkit::{Mesh, eventually, eventually_within};
use rustix::process::Signal;

use crate::support::{CALLER, mesh, reviews, stdout};

/// The processes of this mesh's user.
fn processes(mesh: &Mesh) -> Vec<String> {
    let uid = stdout(&mesh.user.command("id").arg("-u").output().unwrap());
    let home = mesh.user.home().display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        let owner = status.lines().find_map(|l| l.strip_prefix("Uid:")).and_then(|l| l.split_whitespace().next());
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        if owner == Some(uid.trim()) && String::from_utf8_lossy(&environment).contains(&home) {
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&command).replace('\0', " "));
        }
    }
    found
}

#[test]
fn a_killed_workload_is_gone_within_two_seconds_and_calls_go_to_the_others() {
    let mesh = mesh().alone().start();
    let _survivor = reviews(&mesh, "v1");
    let mut victim = reviews(&mesh, "v2");
    mesh.wait_for_instances("reviews", 2);
    victim.kill();
    eventually_within(Duration::from_secs(2), "the control plane drops it", || {
        let status = mesh.status();
        let count = status["proxies"].as_array().map_or(0, |p| p.iter().filter(|p| p["service"] == "reviews").count());
        if count == 1 { Ok(()) } else { Err(status) }
    });
    let script = mesh.user.write("caller.py", CALLER);
    let output = mesh.client(&["python3", &script.display().to_string(), "50"]);
    assert_eq!(stdout(&output), "200 v1\n".repeat(50));
}

#[test]
fn a_workload_killed_in_any_part_leaves_nothing_behind() {
    let mesh = mesh().start();
    let before = processes(&mesh).len();
    for part in ["leno run", "python3", "proxy sidecar"] {
        let workload = reviews(&mesh, "v1");
        mesh.wait_for_instances("reviews", 1);
        kill_by_command(&mesh, part);
        if part == "proxy sidecar" {
            // The sidecar is replaced; the application does not notice.
            mesh.wait_for_instances("reviews", 1);
            drop(workload);
        }
        eventually(&format!("everything ends after {part} was killed"), || {
            let now = processes(&mesh);
            if now.len() == before { Ok(()) } else { Err(now) }
        });
    }
}

/// Kills the first process of this mesh whose command line has this in it.
fn kill_by_command(mesh: &Mesh, part: &str) {
    let home = mesh.user.home().display().to_string();
    let words: Vec<&str> = part.split(' ').collect();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| String::from_utf8_lossy(&fs::read(entry.path().join(name)).unwrap_or_default()).replace('\0', " ");
        let command = read("cmdline");
        let program = command.split(' ').next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
        let wanted = match words.as_slice() {
            ["python3"] => program.starts_with("python3"),
            [.., verb] => command.contains(&format!(" {verb} ")) && !program.starts_with("python3"),
            [] => false,
        };
        if wanted && read("environ").contains(&home) {
            let pid = entry.file_name().to_string_lossy().parse().unwrap();
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            return;
        }
    }
    panic!("no process with `{part}`");
}

#[test]
fn a_stopped_workload_finishes_the_request_it_is_serving() {
    let slow = r#"
import http.server, signal, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        print("serving", flush=True); time.sleep(1.5)
        self.send_response(200); self.send_header("content-length", "5"); self.end_headers(); self.wfile.write(b"done\n")
server = http.server.ThreadingHTTPServer(("", 9080), Handler); server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *a: threading.Thread(target=server.shutdown).start())
server.serve_forever(); server.server_close()
"#;
    let mesh = mesh().start();
    let script = mesh.user.write("slow.py", slow);
    let mut workload = mesh.run(
        &["--service", "reviews", "--port", "9080:http"],
        &["python3", &script.display().to_string()],
    );
    mesh.wait_for_instances("reviews", 1);
    let client = mesh.run(&["--service", "client"], &["curl", "-sS", "--max-time", "20", "http://reviews:9080/"]);
    workload.wait_for_output("serving");
    assert!(workload.stop().success(), "{}", workload.output());
    client.wait_for_output("done");
}
