//! `leno agent` by itself: a command's signals and exit code, and what is wrong said with its remedy.

use std::process::{Command, Stdio};

use leno_testkit::{Mesh, Process, eventually};
use rustix::process::Signal;

use crate::support::{mesh, stdout};

fn agent(mesh: &Mesh, args: &[&str], command: &[&str]) -> Command {
    let mut agent = mesh.command(&["agent", "grpc", "--service", "client"]);
    agent.args(args).arg("--").args(command);
    agent
}

#[track_caller]
fn refused(mut command: Command, parts: &[&str]) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(1), ""),
        "{said}"
    );
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[test]
fn the_command_has_the_bootstrap_and_the_agent_its_exit_code_and_signals() {
    let mesh = mesh().start();
    let told = "test \"$1\" = \"$GRPC_XDS_BOOTSTRAP\" && grep -q xds_servers \"$1\" && echo found; exit 7";
    let output = agent(&mesh, &[], &["sh", "-c", told, "sh", "{bootstrap}"])
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(7), "found\n"),
        "{output:?}"
    );

    let waits = "trap 'echo heard; exit 3' TERM; echo waits; while :; do sleep 0.05; done";
    let mut process = Process::spawn(agent(&mesh, &[], &["sh", "-c", waits]));
    process.wait_for_output("waits");
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(3));
    process.wait_for_output("heard");
}

#[test]
fn files_are_renewed_as_one_and_the_key_fits_the_certificate() {
    let mesh = mesh().control_arg("--cert-ttl=10s").start();
    let check = r#"
old=$(cat "$1/cert-chain.pem")
while [ "$(cat "$1/cert-chain.pem")" = "$old" ]; do sleep 0.05; done
cd -P "$1" && openssl x509 -in cert-chain.pem -noout -pubkey > ../public.pem && openssl pkey -in key.pem -pubout | cmp - ../public.pem
openssl verify -CAfile root-cert.pem cert-chain.pem && stat -c %a key.pem
"#;
    let output = agent(
        &mesh,
        &["--dir", "agent"],
        &["sh", "-c", check, "sh", "agent/certs"],
    )
    .output()
    .unwrap();
    assert_eq!(stdout(&output), "cert-chain.pem: OK\n600\n", "{output:?}");
}

#[test]
fn what_keeps_an_agent_from_starting_is_said_with_its_remedy() {
    let mut mesh = mesh().start();
    let bad = mesh.user.write("bad-token", "leno.bad").display().to_string();
    refused(
        agent(&mesh, &["--token", &bad], &["true"]),
        &[
            "error: the control plane refuses this workload",
            "check --token",
            "bad-token",
        ],
    );
    let first = Process::spawn(agent(&mesh, &["--dir", "agent"], &["sleep", "60"]));
    first.wait_for_output("ready");
    refused(
        agent(&mesh, &["--dir", "agent"], &["true"]),
        &["another agent serves this workload", "--name or --dir"],
    );
    refused(
        agent(&mesh, &[], &["/nowhere/program"]),
        &["the command does not start", "/nowhere/program", "check its path"],
    );
    let no_agent = mesh.command(&["bootstrap", "grpc", "--service", "other"]);
    refused(
        no_agent,
        &["no agent has served this workload", "leno agent grpc"],
    );
    drop(first);
    mesh.control().stop();
    refused(
        agent(&mesh, &[], &["true"]),
        &[
            "error: no control plane runs here",
            "start `leno control --config DIR`",
        ],
    );
    // Told where it would be, it waits for it, and says so.
    let (ca, token) = (mesh.state_dir().join("root.pem"), mesh.user.write("token", "x"));
    let [ca, token] = [ca, token].map(|path| path.display().to_string());
    let flags = ["--control", "127.0.0.1:1", "--ca", &ca, "--token", &token];
    let waiting = Process::spawn(agent(&mesh, &flags, &["true"]));
    eventually("it says what it waits for", || {
        let said = waiting.output();
        let parts = [
            "no certificate yet",
            "127.0.0.1:1",
            "waiting for the control plane",
        ];
        if parts.iter().all(|part| said.contains(part)) {
            Ok(())
        } else {
            Err(said)
        }
    });
}
