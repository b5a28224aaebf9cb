//! Bad input: each is said with its code and place, and the mesh goes on with what was good.

use std::fs;
use std::net::TcpListener;

use leno_testkit::{Mesh, Process, eventually};
use serde_json::Value;

use crate::support::{SUBSETS, mesh, reviews, stdout, weighted};

/// Waits for a diagnostic that has all of these in its line.
#[track_caller]
fn diagnostic(mesh: &Mesh, parts: &[&str]) -> Value {
    eventually(&format!("a diagnostic with {parts:?}"), || {
        let status = mesh.status();
        let all = status["diagnostics"].as_array().cloned().unwrap_or_default();
        let found = all
            .iter()
            .find(|d| parts.iter().all(|p| d.to_string().contains(p)))
            .cloned();
        found.ok_or(all)
    })
}

#[track_caller]
fn answer(mesh: &Mesh) -> String {
    stdout(&mesh.client(&["curl", "-sS", "--max-time", "20", "http://reviews:9080/"]))
}

#[test]
fn broken_files_and_unknown_fields_are_placed_and_the_last_good_route_stays() {
    let mut mesh = mesh()
        .file("rules.yaml", SUBSETS)
        .file("route.yaml", &weighted(0, 100))
        .start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    assert_eq!(answer(&mesh), "v2\n");

    mesh.write(
        "route.yaml",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: {hosts: [rev",
    );
    let broken = diagnostic(&mesh, &["route.yaml:3:"]);
    assert!(broken["code"].as_str().unwrap().starts_with("LN"), "{broken}");
    assert_eq!(answer(&mesh), "v2\n", "the last good version stays");

    mesh.write("route.yaml", &weighted(100, 0).replace("hosts:", "hots:"));
    let unknown = diagnostic(&mesh, &["hots", "route.yaml:6:3"]);
    assert!(unknown["hint"].as_str().unwrap().contains("hosts"), "{unknown}");
    assert_eq!(answer(&mesh), "v2\n", "the last good version stays");
    let code = unknown["code"].as_str().unwrap().to_owned();
    assert!(
        mesh.control().output().contains(&code),
        "the log names {code}: {}",
        mesh.control().output()
    );

    mesh.write("route.yaml", &weighted(100, 0));
    eventually("the mended file is in force", || match answer(&mesh).as_str() {
        "v1\n" => Ok(()),
        other => Err(other.to_owned()),
    });
    let status = mesh.status();
    assert_eq!(status["diagnostics"], Value::Array(Vec::new()), "{status}");
}

#[test]
fn a_route_to_nowhere_and_two_routes_for_one_host_are_reported() {
    let nowhere = weighted(100, 0).replace("host: reviews", "host: nowhere");
    let mesh = mesh().file("a.yaml", &nowhere).start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    diagnostic(&mesh, &["nowhere", "a.yaml:"]);
    mesh.write(
        "b.yaml",
        &weighted(100, 0).replace("{name: reviews}", "{name: second}"),
    );
    diagnostic(&mesh, &["second", "b.yaml:", "VirtualService"]);
}

#[test]
fn an_endpoint_that_refuses_is_retried_elsewhere_and_with_none_left_the_answer_is_503() {
    // It listens until it is told to stop, and lives on.
    let closes = r#"
import http.server, os, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "3"); self.end_headers(); self.wfile.write(b"v2\n")
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("", 9080), Handler); threading.Thread(target=s.serve_forever, daemon=True).start()
while not os.path.exists("close"): time.sleep(0.05)
s.shutdown(); s.server_close(); print("closed", flush=True)
while True: time.sleep(1)
"#;
    let mesh = mesh().start();
    let script = mesh.user.write("closes.py", closes);
    let closing = mesh.run(
        &["--service", "reviews", "--version", "v2", "--port", "9080:http"],
        &["python3", &script.display().to_string()],
    );
    let survivor = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 2);
    mesh.user.write("close", "");
    closing.wait_for_output("closed");
    for _ in 0..5 {
        assert_eq!(answer(&mesh), "v1\n");
    }
    drop(survivor);
    mesh.wait_for_instances("reviews", 0);
    let code = mesh.client(&[
        "curl",
        "-sS",
        "--max-time",
        "20",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://reviews:9080/",
    ]);
    assert_eq!(stdout(&code), "503");
}

#[test]
fn a_wrong_token_is_refused_with_what_to_do() {
    let mesh = mesh().start();
    let token = mesh.user.write("wrong-token", "leno-this-is-no-token");
    let output = mesh
        .command(&[
            "run",
            "--service",
            "client",
            "--token",
            &token.display().to_string(),
            "--",
            "echo",
            "never",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("error: ") && said.contains("token") && said.contains("wrong-token"),
        "{said}"
    );
    assert_eq!(said.matches("error: ").count(), 1, "said once: {said}");
}

#[test]
fn without_a_control_plane_the_error_says_how_to_start_one() {
    let mut mesh = mesh().start();
    mesh.control().stop();
    for verb in [&["status"][..], &["run", "--service", "x", "--", "true"]] {
        let output = mesh.leno(verb);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("leno control --config"), "{said}");
    }
}

#[test]
fn a_taken_port_is_named_with_the_flag_that_moves_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mesh = mesh().start();
    let mut command = mesh.command(&["control", "--config"]);
    command
        .arg(mesh.config_dir())
        .args(["--state", "other", "--rendezvous", "other.json"]);
    command.args([&format!("--port={port}"), "--plaintext-port=0", "--admin-port=0"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&port.to_string()) && said.contains("--port"),
        "{said}"
    );

    let workload = mesh
        .command(&[
            "run",
            "--service",
            "x",
            "--port",
            "9080",
            "--publish",
            &format!("{port}:9080"),
            "--",
            "true",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&workload.stderr).into_owned();
    assert!(
        said.contains("port taken") && said.contains(&port.to_string()),
        "{said}"
    );
}

#[test]
fn a_full_disk_for_the_state_stops_nothing_and_is_said() {
    let mesh = mesh().start();
    // A control plane of its own, whose state lies on a file system of 256 KiB.
    let script = "mkdir -p small && mount -t tmpfs -o size=256k tmpfs small && exec \"$0\" control --config mesh --state small \
                  --rendezvous small.json --port=0 --plaintext-port=0 --admin-port=0";
    let binary = mesh.command(&[]).get_program().to_owned();
    let mut command = mesh.user.command("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(binary);
    let control = Process::spawn(command);
    let found: Value = eventually("its rendezvous file", || {
        let text = fs::read_to_string(mesh.user.home().join("small.json")).map_err(|e| e.to_string())?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    });
    let inside = format!("/proc/{}/root{}/small", control.pid(), mesh.user.home().display());
    let reach = |name: &str| {
        let text = fs::read(format!("{inside}/{name}")).unwrap();
        mesh.user
            .write(name, &String::from_utf8(text).unwrap())
            .display()
            .to_string()
    };
    let (ca, token) = (reach("root.pem"), reach("token"));
    let join = [
        "--control",
        found["address"].as_str().unwrap(),
        "--ca",
        &ca,
        "--token",
        &token,
    ];

    let filler = format!("{inside}/filler");
    // Until there is no room.
    mesh.user
        .command("dd")
        .args(["if=/dev/zero", &format!("of={filler}"), "bs=1024"])
        .output()
        .unwrap();
    let client = mesh
        .command(&["run", "--service", "client"])
        .args(join)
        .args(["--", "echo", "up"])
        .output()
        .unwrap();
    assert_eq!(
        stdout(&client),
        "up\n",
        "{}",
        String::from_utf8_lossy(&client.stderr)
    );
    control.wait_for_output("the disk is full");
    fs::remove_file(filler).unwrap();
    eventually("what could not be written is written", || {
        fs::metadata(format!("{inside}/registrations.json")).map_err(|e| e.to_string())
    });
}
