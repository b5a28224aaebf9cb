//! The application notices nothing: names, streams, signals, exit codes, both IP versions.

use std::io::Write;
use std::process::Stdio;

use leno_testkit::{eventually, free_port};
use rustix::process::Signal;

use crate::support::{SERVER, mesh, reviews, stdout};

#[test]
fn every_form_of_the_name_resolves_and_answers() {
    let mesh = mesh().start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    for name in [
        "reviews",
        "reviews.default",
        "reviews.default.svc",
        "reviews.default.svc.cluster.local",
    ] {
        for version in ["-4", "-6"] {
            let output = mesh.client(&[
                "curl",
                version,
                "-sS",
                "--max-time",
                "20",
                &format!("http://{name}:9080/"),
            ]);
            assert_eq!(
                stdout(&output),
                "v1\n",
                "{name} {version}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn an_application_on_ipv6_loopback_only_is_reached() {
    let mesh = mesh().start();
    let script = mesh.user.write("server.py", SERVER);
    let _workload = mesh.run(
        &["--service", "reviews", "--version", "v6", "--port", "9080:http"],
        &["python3", &script.display().to_string(), "v6", "9080", "v6"],
    );
    mesh.wait_for_instances("reviews", 1);
    assert_eq!(
        stdout(&mesh.client(&["curl", "-sS", "--max-time", "20", "http://reviews:9080/"])),
        "v6\n"
    );
}

#[test]
fn streams_and_exit_code_pass_through_untouched() {
    let mesh = mesh().start();
    let mut command = mesh.command(&[
        "run",
        "--service",
        "client",
        "--",
        "sh",
        "-c",
        "cat; echo problem >&2; exit 42",
    ]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"through\0and through")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"through\0and through");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "problem\n");
    assert_eq!(output.status.code(), Some(42));
}

#[test]
fn a_signal_reaches_the_command_and_a_shell_sees_its_end() {
    let mesh = mesh().start();
    let mut process = mesh.run(
        &["--service", "client"],
        &["python3", "-c", "import signal,sys,time\nsignal.signal(signal.SIGUSR1,lambda *a:(print('heard',flush=True)))\nprint('up',flush=True)\nwhile 1: time.sleep(1)"],
    );
    process.wait_for_output("up");
    process.signal(Signal::USR1);
    process.wait_for_output("heard");
    process.signal(Signal::TERM);
    let status = process.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
}

#[test]
fn the_command_keeps_its_user_and_has_no_capabilities() {
    let mesh = mesh().start();
    let status = stdout(&mesh.client(&["cat", "/proc/self/status"]));
    let field = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .map(|v| v.trim().to_owned())
    };
    for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set).as_deref(), Some("0000000000000000"), "{set}");
    }
    assert_eq!(
        stdout(&mesh.client(&["id", "-u"])),
        stdout(&mesh.user.command("id").arg("-u").output().unwrap())
    );
}

#[test]
fn a_published_port_is_reached_from_the_host() {
    let mesh = mesh().start();
    let script = mesh.user.write("server.py", SERVER);
    let host_port = free_port();
    let _workload = mesh.run(
        &[
            "--service",
            "reviews",
            "--port",
            "9080:http",
            "--publish",
            &format!("{host_port}:9080"),
        ],
        &["python3", &script.display().to_string(), "v1", "9080"],
    );
    mesh.wait_for_instances("reviews", 1);
    eventually("the published port answers", || {
        let output = mesh
            .user
            .command("curl")
            .args(["-sS", &format!("http://127.0.0.1:{host_port}/")])
            .output()
            .unwrap();
        if stdout(&output) == "v1\n" {
            Ok(())
        } else {
            Err(output)
        }
    });
}

#[test]
fn an_undeclared_service_declares_itself() {
    let mesh = mesh().start();
    let script = mesh.user.write("server.py", SERVER);
    let _workload = mesh.run(
        &["--service", "web", "--port", "8080"],
        &["python3", &script.display().to_string(), "web", "8080"],
    );
    mesh.wait_for_instances("web", 1);
    assert_eq!(
        stdout(&mesh.client(&["curl", "-sS", "--max-time", "20", "http://web:8080/"])),
        "web\n"
    );
}
