//! How a workload ends: by itself, by a signal, by a kill of any of its processes.

use std::{
    fs,
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::workload::{STUB, User, Workload, launch, program, state_and_parent, users};

/// A command with children of its own, one of them in a session of its own.
const FAMILY: &str = "echo $$; setsid sleep 1000 & sleep 1000 & (sleep 1000; :) & wait";

fn family(user: User) -> Workload {
    let workload = launch(user, &["--port", "9080"], &["sh", "-c", FAMILY]).start();
    workload.command_pid();
    // Launcher, supervisor, proxy, shell, subshell, three sleeps.
    workload.wait_until("all processes are there", || workload.processes().len() == 8);
    workload
}

fn supervisor(workload: &Workload) -> Pid {
    state_and_parent(workload.command_pid()).unwrap().1
}

#[test]
fn exit_codes_and_streams_pass_through() {
    for user in users() {
        let script = "cat; echo problem >&2; exit 7";
        let outcome = launch(user, &[], &["sh", "-c", script]).stdin("some text").run();
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (Some(7), "some text"));
        assert_eq!(outcome.stderr, "problem\n");
    }
}

#[test]
fn a_command_that_dies_by_a_signal_is_seen_to() {
    for (signal, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        let outcome = launch(User::Ordinary, &[], &["sh", "-c", &format!("kill -{signal} $$")]).run();
        assert_eq!(outcome.signal(), Some(number));
    }
}

#[test]
fn a_command_that_cannot_run_ends_as_in_a_shell() {
    let outcome = launch(User::Ordinary, &[], &["/no/such/program"]).run();
    assert_eq!(outcome.code(), Some(127));
    assert!(
        outcome.stderr.contains("cannot run `/no/such/program`"),
        "{}",
        outcome.stderr
    );
    let outcome = launch(User::Ordinary, &[], &["/etc/passwd"]).run();
    assert_eq!(outcome.code(), Some(126));
}

#[test]
fn a_stop_reaches_the_command_at_once_and_the_proxy_too() {
    for user in users() {
        let script = "trap 'exit 3' TERM; echo $$; while :; do sleep 0.02; done";
        let workload = launch(user, &["--drain", "4000"], &["sh", "-c", script]).start();
        workload.command_pid();
        workload.signal(Signal::TERM);
        workload.wait_for_log("stopping 4000");
        workload.wait_for_log("exited 3");
        assert_eq!(workload.finish().code(), Some(3));
    }
}

#[test]
fn a_command_may_ignore_a_stop_and_work_on() {
    let script = format!(
        "trap '{STUB} tcp 240.240.0.1:80; exit 0' USR1; trap '' TERM; echo $$; while :; do sleep 0.02; done"
    );
    let workload = launch(User::Ordinary, &["--drain", "10"], &["sh", "-c", &script]).start();
    workload.command_pid();
    workload.signal(Signal::TERM);
    workload.wait_for_log("stopping 10");
    workload.signal(Signal::USR1);
    let output = workload.finish().output();
    assert!(
        output.ends_with("to 240.240.0.1:80 from 198.18.0.2\n"),
        "{output}"
    );
}

#[test]
fn stopping_and_continuing_the_job_stops_and_continues_the_command() {
    let workload = launch(
        User::Ordinary,
        &[],
        &["sh", "-c", "echo $$; while :; do sleep 0.02; done"],
    )
    .start();
    let command = workload.command_pid();
    let state = |pid| state_and_parent(pid).map(|(state, _)| state);
    workload.signal(Signal::TSTP);
    workload.wait_until("both are stopped", || {
        state(command) == Some('T') && state(workload.pid()) == Some('T')
    });
    workload.signal(Signal::CONT);
    workload.wait_until("both go on", || {
        state(command) != Some('T') && state(workload.pid()) != Some('T')
    });
    workload.signal(Signal::TERM);
    let outcome = workload.finish();
    assert_eq!(outcome.signal(), Some(15), "{outcome:?}");
}

/// As in a container that was entered from outside: the session's leader has no number in there.
#[test]
fn a_session_led_from_outside_of_the_pid_namespace_is_no_hindrance() {
    let script = format!(
        "{STUB} launch -- sh -c 'trap \"exit 7\" CONT; echo up; while :; do sleep 0.02; done' > $STUB_LOG.up &
         until grep -q up $STUB_LOG.up; do sleep 0.02; done
         kill -CONT $!; wait $!"
    );
    let namespaces = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
    let arguments = [&namespaces[..], &["sh", "-c", &script]].concat();
    let outcome = program(User::Ordinary, "unshare", &arguments).run();
    assert_eq!(outcome.code(), Some(7), "{outcome:?}");
}

#[test]
fn what_the_command_leaves_behind_is_ended() {
    for user in users() {
        let outcome = launch(
            user,
            &[],
            &["sh", "-c", "setsid sleep 1000 & (sleep 1000 &); exit 0"],
        )
        .run();
        assert_eq!(outcome.code(), Some(0));
    }
}

#[test]
fn killing_the_launcher_leaves_nothing() {
    for user in users() {
        let workload = family(user);
        kill_process(workload.pid(), Signal::KILL).unwrap();
        assert_eq!(workload.finish().signal(), Some(9));
    }
}

#[test]
fn killing_the_supervisor_leaves_nothing() {
    for user in users() {
        let workload = family(user);
        kill_process(supervisor(&workload), Signal::KILL).unwrap();
        let outcome = workload.finish();
        assert_eq!(outcome.code(), Some(1));
        assert!(
            outcome.stderr.contains("supervisor was killed"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn killing_the_command_leaves_nothing() {
    for user in users() {
        let workload = family(user);
        kill_process(workload.command_pid(), Signal::KILL).unwrap();
        assert_eq!(workload.finish().signal(), Some(9));
    }
}

#[test]
fn killing_all_at_once_leaves_nothing() {
    let workload = family(User::Ordinary);
    let victims = [workload.proxies()[0], supervisor(&workload), workload.pid()];
    for victim in victims {
        kill_process(victim, Signal::KILL).unwrap();
    }
    // Nobody is left to end what is in a session of its own, but for the rest the kernel does.
    let command = workload.command_pid();
    workload.wait_until("the command is gone", || {
        state_and_parent(command).is_none_or(|(state, _)| state == 'Z')
    });
    for pid in workload.processes() {
        let _ = kill_process(pid, Signal::KILL);
    }
    workload.finish();
}

#[test]
fn once_the_command_has_ended_the_launcher_holds_its_address_no_longer() {
    let flags = ["--port", "9080", "--drain", "60000"];
    let workload = launch(User::Ordinary, &flags, &[STUB, "serve", "4", "9080"])
        .mode("linger")
        .start();
    workload.wait_for_log("listening 9080 V4");
    assert!(TcpStream::connect((workload.address(), 9080)).is_ok());
    let sockets = sockets_of(workload.pid());
    workload.signal(Signal::TERM);
    workload.wait_for_log("exited 143");
    // This proxy keeps its copies open, on purpose.
    workload.wait_until("both listeners are closed", || {
        sockets_of(workload.pid()) == sockets - 2
    });
    // A second stop waits no longer.
    workload.signal(Signal::TERM);
    assert_eq!(workload.finish().signal(), Some(15));
}

fn sockets_of(pid: Pid) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))
        .unwrap()
        .flatten();
    descriptors
        .filter(|descriptor| {
            fs::read_link(descriptor.path())
                .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        })
        .count()
}

#[test]
fn a_proxy_that_has_drained_is_not_waited_for_and_one_that_does_not_has_its_time() {
    let start = Instant::now();
    let outcome = launch(User::Ordinary, &["--drain", "60000"], &["true"])
        .mode("drained")
        .run();
    assert_eq!(outcome.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(30));
    let start = Instant::now();
    let outcome = launch(User::Ordinary, &["--drain", "300"], &["true"])
        .mode("linger")
        .run();
    assert_eq!(outcome.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(300));
}
