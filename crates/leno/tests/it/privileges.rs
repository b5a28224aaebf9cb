//! With less than an ordinary user has, and with more.

use std::fs;
use std::process::Output;

use leno_testkit::Mesh;

use crate::client::{curl, printed};
use crate::support::{SERVER, mesh, stdout};

/// A leno command where user namespaces are forbidden: below a user namespace that allows no further ones.
fn confined(mesh: &Mesh, args: &[&str]) -> Output {
    let script = r#"echo 0 > /proc/sys/user/max_user_namespaces && exec "$@""#;
    let mut command = mesh.user.command("unshare");
    command
        .args([
            "--user",
            "--map-current-user",
            "--keep-caps",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(mesh.command(&[]).get_program())
        .args(args)
        .env("TMPDIR", mesh.user.home().join("tmp"));
    command.output().unwrap()
}

#[test]
fn where_user_namespaces_are_forbidden_the_remedy_is_said_before_anything_starts() {
    let mesh = mesh().start();
    let tmp = mesh.user.home().join("tmp");
    mesh.user.make_dir(&tmp);
    for args in [
        &["run", "--service", "x", "--port", "9080", "--", "echo", "ran"][..],
        &["demo", "--for", "1s"],
        &["check"],
    ] {
        let output = confined(&mesh, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(1), ""),
            "{args:?}: {said}"
        );
        for part in [
            "error: ",
            "user namespaces are turned off",
            "sudo sysctl user.max_user_namespaces=",
        ] {
            assert!(said.contains(part), "{args:?}: `{part}` is not in: {said}");
        }
        assert_eq!(said.matches("error: ").count(), 1, "said once: {said}");
    }
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 0, "the demo has begun");
    assert_eq!(mesh.status()["proxies"], serde_json::json!([]));
}

#[test]
fn a_machine_that_has_everything_passes_the_check() {
    let mesh = mesh().start();
    let output = mesh.leno(&["check"]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        stdout(&output).contains("This machine can run workloads"),
        "{output:?}"
    );
}

#[test]
fn as_root_calls_go_over_mtls_too() {
    let mesh = mesh().as_root().start();
    let script = mesh.user.write("server.py", SERVER).display().to_string();
    let _workload = mesh.run(
        &[
            "--service",
            "reviews",
            "--service-account",
            "reviews",
            "--port",
            "9080:http",
        ],
        &["python3", &script, "v1", "9080"],
    );
    mesh.wait_for_instances("reviews", 1);
    let headers = curl(&mesh, &["http://reviews:9080/headers"]);
    for part in [
        "By=spiffe://cluster.local/ns/default/sa/reviews",
        "URI=spiffe://cluster.local/ns/default/sa/default",
    ] {
        assert!(headers.contains(part), "{headers}");
    }
    let own = mesh.user.command("id").arg("-u").output().unwrap();
    assert_eq!(printed(&mesh, &["id", "-u"]), stdout(&own));
}
