//! What a user is told when a workload cannot be launched.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::workload::{Outcome, STUB, User, launch, program, users};

#[track_caller]
fn refused(outcome: Outcome, needles: &[&str]) {
    assert_eq!(outcome.code(), Some(1), "{outcome:?}");
    for needle in needles {
        assert!(
            outcome.stderr.contains(needle),
            "`{needle}` is not in: {}",
            outcome.stderr
        );
    }
    assert_eq!(outcome.stdout, "", "the command must not have run");
}

const COMMAND: [&str; 2] = ["echo", "ran"];

#[test]
fn a_taken_port_is_named_with_its_owner() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let own = format!("(pid {})", std::process::id());
    // An ordinary user does not see into root's processes.
    let needles = if users().len() == 1 {
        vec!["port taken", &port, &own]
    } else {
        vec!["port taken", &port]
    };
    refused(
        launch(User::Ordinary, &["--port", &port], &COMMAND).run(),
        &needles,
    );
    if users().contains(&User::Root) {
        refused(
            launch(User::Root, &["--port", &port], &COMMAND).run(),
            &["port taken", &port, &own],
        );
    }
}

#[test]
fn a_low_port_is_refused_to_an_ordinary_user_with_the_remedy() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim() == "0" {
        leno_testkit::skip(
            "a_low_port_is_refused_to_an_ordinary_user_with_the_remedy",
            "this machine lets everybody listen below 1024",
        );
        return;
    }
    let outcome = launch(User::Ordinary, &["--port", "81"], &COMMAND).run();
    refused(
        outcome,
        &["may not listen", ":81", "net.ipv4.ip_unprivileged_port_start=81"],
    );
}

#[test]
fn lenos_own_ports_and_no_command_are_refused() {
    refused(
        launch(User::Ordinary, &["--port", "15001"], &COMMAND).run(),
        &["15001", "leno's own"],
    );
    refused(launch(User::Ordinary, &[], &[]).run(), &["no command"]);
}

#[test]
fn what_cannot_be_declared_is_refused() {
    refused(
        launch(User::Ordinary, &["--port", "0"], &COMMAND).run(),
        &["port 0 is no port"],
    );
    refused(
        launch(User::Ordinary, &["--advertise", "0.0.0.0"], &COMMAND).run(),
        &["0.0.0.0 cannot be advertised"],
    );
}

#[test]
fn a_port_declared_twice_is_one_port() {
    let outcome = launch(User::Ordinary, &["--port", "9080", "--port", "9080"], &COMMAND).run();
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (Some(0), "ran\n"));
}

#[test]
fn a_foreign_address_cannot_be_advertised() {
    let outcome = launch(
        User::Ordinary,
        &["--port", "9080", "--advertise", "203.0.113.77"],
        &COMMAND,
    )
    .run();
    refused(outcome, &["203.0.113.77:9080", "give an address of this machine"]);
}

#[test]
fn a_process_with_threads_cannot_launch() {
    refused(
        launch(User::Ordinary, &["--threads"], &COMMAND).run(),
        &["2 threads"],
    );
}

#[test]
fn a_proxy_that_gives_up_says_why_and_the_command_does_not_run() {
    for user in users() {
        refused(
            launch(user, &[], &COMMAND).mode("fail").run(),
            &["error: no identity — control plane — start it"],
        );
    }
}

#[test]
fn a_proxy_that_always_dies_is_given_up() {
    refused(
        launch(User::Ordinary, &[], &COMMAND).mode("crash").run(),
        &["ended 5 times", "exit code 3"],
    );
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let outcome = launch(User::Ordinary, &["--proxy", "/no/such/proxy"], &COMMAND).run();
    refused(outcome, &["cannot start the proxy", "/no/such/proxy"]);
}

#[test]
fn before_the_proxy_is_ready_the_command_does_not_run_and_a_signal_ends_it_all() {
    let workload = launch(User::Ordinary, &[], &COMMAND).mode("never-ready").start();
    workload.wait_until("the proxy runs", || workload.log().contains("address"));
    workload.signal(Signal::INT);
    let outcome = workload.finish();
    assert_eq!((outcome.signal(), outcome.stdout.as_str()), (Some(2), ""));
}

#[test]
fn forbidden_user_namespaces_are_named_with_the_remedy() {
    // A user namespace may forbid further ones below itself.
    let inner = |verb: &str| {
        let script = format!("echo 0 > /proc/sys/user/max_user_namespaces && exec {STUB} {verb}");
        let arguments = ["--user", "--map-current-user", "--keep-caps", "sh", "-c", &script];
        program(User::Ordinary, "unshare", &arguments).run()
    };
    for verb in ["probe", "launch -- echo ran"] {
        refused(
            inner(verb),
            &["cannot make a user", "sysctl user.max_user_namespaces"],
        );
    }
}
