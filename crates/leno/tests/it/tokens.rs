//! Join tokens let in whom they are for, as often as they are for.

use std::process::Output;

use leno_testkit::Mesh;

use crate::support::{mesh, stdout};

/// Makes a token, and a file with it.
#[track_caller]
fn create(mesh: &Mesh, file: &str, flags: &[&str]) -> String {
    let output = mesh.leno(&[&["token", "create"], flags].concat());
    assert!(output.status.success(), "{output:?}");
    mesh.user.write(file, &stdout(&output)).display().to_string()
}

fn join(mesh: &Mesh, file: &str, flags: &[&str]) -> Output {
    let run = ["run", "--service", "client", "--token", file];
    mesh.leno(&[&run, flags, &["--", "echo", "in"]].concat())
}

#[track_caller]
fn refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), stdout(output).as_str()),
        (Some(1), ""),
        "{said}"
    );
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

/// The row of a token, by the identities that it gives.
#[track_caller]
fn row(mesh: &Mesh, identities: &str) -> Vec<String> {
    let table = stdout(&mesh.leno(&["token", "list"]));
    let row = table.lines().find(|line| line.contains(identities));
    let row = row.unwrap_or_else(|| panic!("no {identities}: {table}"));
    row.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_token_lets_one_workload_in_as_whom_it_is_for() {
    let mesh = mesh().start();
    let file = create(&mesh, "web", &["--namespace", "shop", "--service-account", "web"]);
    // It is not used up by whom it is not for.
    let other = join(&mesh, &file, &["--namespace", "shop", "--service-account", "db"]);
    refused(
        &other,
        &[
            "is for ns/shop/sa/web, not for spiffe://cluster.local/ns/shop/sa/db",
            "leno token create",
        ],
    );
    refused(
        &join(&mesh, &file, &["--service-account", "web"]),
        &["ns/default/sa/web"],
    );
    assert_eq!(row(&mesh, "ns/shop/sa/web").last().unwrap(), "valid");

    let web = ["--namespace", "shop", "--service-account", "web"];
    assert_eq!(stdout(&join(&mesh, &file, &web)), "in\n");
    refused(
        &join(&mesh, &file, &web),
        &["the join token was used already", "make a new one"],
    );
    assert_eq!(row(&mesh, "ns/shop/sa/web").last().unwrap(), "used");
}

#[test]
fn a_reusable_token_lets_in_until_it_is_revoked_also_after_a_restart() {
    let mut mesh = mesh().start();
    let file = create(&mesh, "any", &["--service-account", "*", "--reusable"]);
    for account in ["a", "b"] {
        assert_eq!(
            stdout(&join(&mesh, &file, &["--service-account", account])),
            "in\n"
        );
    }
    mesh.control().stop();
    mesh.start_control();
    assert_eq!(stdout(&join(&mesh, &file, &[])), "in\n");

    let id = row(&mesh, "ns/default/sa/*").remove(0);
    let revoked = mesh.leno(&["token", "revoke", &id]);
    assert!(revoked.status.success(), "{revoked:?}");
    refused(&join(&mesh, &file, &[]), &["the join token is not known here"]);
    let again = mesh.leno(&["token", "revoke", &id]);
    refused(
        &again,
        &[&format!("there is no join token {id}"), "leno token list"],
    );
}

#[test]
fn only_the_operator_makes_tokens_and_asks_of_the_mesh() {
    let mesh = mesh().start();
    let file = create(
        &mesh,
        "worker",
        &["--namespace", "*", "--service-account", "*", "--reusable"],
    );
    for verb in [["token", "create"].as_slice(), &["token", "list"], &["status"]] {
        let asked = mesh.leno(&[verb, &["--token", &file]].concat());
        refused(&asked, &["lets a workload join, and no more"]);
    }
    let id = row(&mesh, "operator").remove(0);
    refused(
        &mesh.leno(&["token", "revoke", &id]),
        &["the control plane's own token"],
    );
    // No secret is in a list.
    let listed = stdout(&mesh.leno(&["token", "list", "-o", "json"]));
    let secret = std::fs::read_to_string(&file).unwrap();
    assert!(
        listed.contains(&id) && !listed.contains(secret.trim()),
        "{listed}"
    );
}
