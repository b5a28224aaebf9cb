//! docs/gateway.md: its first steps do what they say.

use std::path::Path;

use leno_testkit::{OrdinaryUser, Process, eventually, shared_binary};

use super::free_port;
use crate::support::{LENO, stdout};

/// What stands in fences of this kind.
fn fences(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let parts = text.split(&fence).skip(1);
    parts
        .filter_map(|part| part.split_once("```"))
        .map(|(body, _)| body.to_owned())
        .collect()
}

#[test]
fn the_first_steps_work_as_they_stand_in_both_dialects() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/gateway.md");
    let page = std::fs::read_to_string(page).unwrap();
    let steps = page.split("\n## ").nth(1).unwrap();
    // Another port than the page's, which may be taken here; and nobody else's.
    let port = free_port().to_string();
    let steps = steps.replace("8080", &port).replace("localhost", "127.0.0.1");
    let user = OrdinaryUser::new();
    let binary = shared_binary(Path::new(LENO));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let shell = |line: &str| {
        let mut command = user.command("sh");
        command.args(["-c", &format!("exec {line}")]).env("PATH", &path);
        command
    };
    let commands: Vec<String> = fences(&steps, "console")
        .iter()
        .flat_map(|block| {
            block
                .lines()
                .filter_map(|line| line.strip_prefix("$ "))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let [make, control, serve, gateway, call] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert!(shell(make).status().unwrap().success());
    // Its fixed ports may be taken here as well.
    let flags = format!("--port {} --plaintext-port 0 --admin-port 0", free_port());
    let control = Process::spawn(shell(&format!("{control} {flags}")));
    eventually("the control plane answers", || {
        match shell("leno status").output().unwrap().status.success() {
            true => Ok(()),
            false => Err(control.output()),
        }
    });
    let _serve = Process::spawn(shell(serve));
    let _gateway = Process::spawn(shell(&format!("{gateway} --metrics-port 0")));
    let dialects = fences(&steps, "yaml");
    assert_eq!(dialects.len(), 2);
    for dialect in dialects {
        user.write("mesh/shop.yaml", &dialect);
        eventually("the page from outside", || {
            let said = stdout(&shell(call).output().unwrap());
            if said.contains("Directory listing") {
                Ok(())
            } else {
                Err(said)
            }
        });
        let status = stdout(&shell("leno status").output().unwrap());
        assert!(
            !status.contains("REJECTED") && !status.contains("error["),
            "{status}"
        );
        // Nothing is left of it before the other dialect says the same.
        user.write("mesh/shop.yaml", "kind: MeshConfig\n");
        eventually("the port is closed", || {
            let output = shell(call).output().unwrap();
            if output.status.success() {
                Err(output)
            } else {
                Ok(())
            }
        });
    }
}
