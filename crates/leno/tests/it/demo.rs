//! `leno demo`: the first thing that anybody sees.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use leno_testkit::{OrdinaryUser, Process, eventually, free_port, shared_binary};

use crate::support::{LENO, stdout};

/// On a port of its own: others run beside it.
pub(crate) fn demo(user: &OrdinaryUser, args: &[&str]) -> Process {
    demo_at(&free_port().to_string(), user, args)
}

fn demo_at(port: &str, user: &OrdinaryUser, args: &[&str]) -> Process {
    let mut command = user.command(shared_binary(Path::new(LENO)));
    let tmp = user.home().join("tmp");
    user.make_dir(&tmp);
    command
        .args(["demo", "--port", port])
        .args(args)
        .env("TMPDIR", tmp);
    Process::spawn(command)
}

/// The directory of its configuration, which it prints first.
#[track_caller]
fn directory(demo: &Process) -> PathBuf {
    let said = demo.wait_for_output("configuration is in ");
    let line = said
        .lines()
        .find_map(|l| l.split_once("configuration is in "))
        .unwrap();
    PathBuf::from(line.1.trim())
}

#[test]
fn it_ends_by_itself_and_every_request_succeeded_over_mtls() {
    let user = OrdinaryUser::new();
    let mut demo = demo(&user, &["--for", "5s"]);
    let status = demo.wait();
    let said = demo.output();
    assert!(status.success(), "{said}");
    assert!(said.contains(" 0 failed, 0 without mTLS"), "{said}");
    for edge in [
        "productpage",
        "details v1",
        "reviews v1",
        "ratings v1",
        "spiffe://cluster.local/ns/default/sa/ratings",
    ] {
        assert!(said.contains(edge), "{edge} is missing: {said}");
    }
    let left: Vec<_> = fs::read_dir(user.home().join("tmp"))
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn turning_mtls_off_is_noticed_and_fails_it() {
    let off = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec:
  mtls: {mode: DISABLE}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: details}
spec:
  host: details
  trafficPolicy:
    tls: {mode: DISABLE}
";
    let user = OrdinaryUser::new();
    let mut demo = demo(&user, &["--for", "8s"]);
    fs::write(directory(&demo).join("off.yaml"), off).unwrap();
    let status = demo.wait();
    let said = demo.output();
    assert_eq!(status.code(), Some(1), "{said}");
    let summary = said.lines().find(|l| l.contains("without mTLS")).unwrap();
    assert!(!summary.contains(" 0 without mTLS"), "{summary}");
}

#[test]
fn its_page_opens_through_its_gateway_and_other_commands_find_it() {
    let user = OrdinaryUser::new();
    let demo = demo(&user, &[]);
    directory(&demo);
    let said = demo.wait_for_output("The product page is at ");
    let page = said
        .lines()
        .find_map(|l| l.strip_prefix("The product page is at "));
    eventually("the page with all its parts", || {
        let mut curl = user.command("curl");
        let output = curl.args(["-sS", "-m", "20", page.unwrap()]).output().unwrap();
        let page = stdout(&output);
        match ["details-v1", "reviews-v"]
            .iter()
            .all(|by| page.contains(&format!("answered by <b>{by}")))
        {
            true => Ok(()),
            false => Err(page),
        }
    });
    eventually("the gateway is in the mesh", || {
        let status = user
            .command(shared_binary(Path::new(LENO)))
            .arg("status")
            .output()
            .unwrap();
        if stdout(&status).contains("gateway") {
            Ok(())
        } else {
            Err(status)
        }
    });
}

#[test]
fn its_configuration_stays_where_it_was_asked_for() {
    let user = OrdinaryUser::new();
    let mine = "# As I left it.\n";
    user.write("mine/reviews.yaml", mine);
    let mut demo = demo(&user, &["--config", "mine"]);
    assert_eq!(directory(&demo), Path::new("mine"));
    demo.stop();
    let file = |name: &str| fs::read_to_string(user.home().join("mine").join(name)).unwrap();
    assert!(file("services.yaml").contains("name: productpage"));
    assert_eq!(file("reviews.yaml"), mine);
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let user = OrdinaryUser::new();
    let mut demo = demo_at(&port, &user, &[]);
    demo.wait_for_output(&format!(
        "error: port {port} cannot be opened — --port — end what listens there"
    ));
    assert_eq!(demo.wait().code(), Some(1));
}

#[test]
fn a_signal_ends_it_and_leaves_nothing_behind() {
    let user = OrdinaryUser::new();
    let mut demo = demo(&user, &[]);
    let mesh = directory(&demo);
    demo.signal(rustix::process::Signal::INT);
    demo.wait();
    eventually("its directory is gone", || {
        if mesh.exists() { Err(mesh.clone()) } else { Ok(()) }
    });
    eventually("its processes are gone", || {
        let home = user.home().display().to_string();
        let left: Vec<_> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter(|e| {
                String::from_utf8_lossy(&fs::read(e.path().join("environ")).unwrap_or_default())
                    .contains(&home)
            })
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}
