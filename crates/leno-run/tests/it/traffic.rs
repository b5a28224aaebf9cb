//! What the command sends, and what reaches it.

use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use leno_testkit::free_port;
use rustix::process::Signal;

use crate::workload::{STUB, User, Workload, launch, program, state_and_parent, users};

fn answer(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn end(workload: Workload) {
    workload.signal(Signal::TERM);
    workload.finish();
}

#[test]
fn captured_connections_keep_their_destination() {
    for user in users() {
        let destinations = [
            "240.240.0.7:9080",
            "203.0.113.1:443",
            "[fd00:6c65:6e6f::7]:9080",
            "[2001:db8::1]:80",
        ];
        let output = launch(user, &[], &[&[STUB, "tcp"], &destinations[..]].concat())
            .run()
            .output();
        assert_eq!(
            output,
            "to 240.240.0.7:9080 from 198.18.0.2\n\
             to 203.0.113.1:443 from 198.18.0.2\n\
             to [fd00:6c65:6e6f::7]:9080 from fd00:6c65::2\n\
             to [2001:db8::1]:80 from fd00:6c65::2\n"
        );
    }
}

#[test]
fn dns_reaches_the_proxy_whichever_server_is_asked() {
    for user in users() {
        let servers = [
            "8.8.8.8:53",
            "127.0.0.1:53",
            "127.0.0.53:53",
            "[2001:db8::1]:53",
            "[::1]:53",
        ];
        let udp = launch(user, &[], &[&[STUB, "udp"], &servers[..]].concat())
            .run()
            .output();
        assert_eq!(udp, "dns-udp\n".repeat(servers.len()));
        let tcp = launch(user, &[], &[&[STUB, "tcp"], &servers[..]].concat())
            .run()
            .output();
        assert_eq!(tcp, "dns-tcp\n".repeat(servers.len()));
    }
}

#[test]
fn other_udp_is_refused() {
    for user in users() {
        let output = launch(
            user,
            &[],
            &[STUB, "udp-refused", "8.8.8.8:443", "[2001:db8::1]:443"],
        )
        .run()
        .output();
        assert_eq!(output, "refused\n");
    }
}

#[test]
fn names_are_looked_up_by_dns_in_the_meshs_domains() {
    let before = fs::read_to_string("/etc/resolv.conf").unwrap();
    for user in users() {
        let text = launch(user, &[], &["cat", "/etc/resolv.conf"]).run().output();
        let search = "search default.svc.cluster.local svc.cluster.local cluster.local";
        assert!(
            text.starts_with("nameserver 127.0.0.1\n") && text.contains(search),
            "{text}"
        );
        assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), before);
        // The directory that was covered for a moment is the host's again.
        let shown = launch(user, &[], &["ls", "/tmp"]).run().output();
        assert!(!shown.contains("resolv.conf"), "{shown}");
    }
}

#[test]
fn the_application_is_reached_from_the_host_when_it_listens() {
    for (user, family) in users().into_iter().flat_map(|user| [(user, "4"), (user, "6")]) {
        let published = free_port();
        let flags = ["--port", "9080", "--publish", &format!("{published}:9080")];
        let workload = launch(user, &flags, &[STUB, "serve", family, "9080"]).start();
        workload.wait_for_log(&format!("listening 9080 V{family}"));
        assert_eq!(answer((workload.address(), 9080).into()).unwrap(), "application");
        assert_eq!(answer(([127, 0, 0, 1], published).into()).unwrap(), "application");
        end(workload);
    }
}

#[test]
fn two_workloads_have_the_same_port_at_addresses_of_their_own() {
    let start = || {
        let workload = launch(User::Ordinary, &["--port", "9080"], &[STUB, "serve", "4", "9080"]).start();
        workload.wait_for_log("listening 9080 V4");
        workload
    };
    let (one, other) = (start(), start());
    assert_ne!(one.address(), other.address());
    assert_eq!(answer((one.address(), 9080).into()).unwrap(), "application");
    assert_eq!(answer((other.address(), 9080).into()).unwrap(), "application");
    end(one);
    end(other);
}

#[test]
fn an_advertised_address_is_served_too() {
    let flags = ["--port", "9081", "--advertise", "127.0.0.9"];
    let workload = launch(User::Ordinary, &flags, &[STUB, "serve", "4", "9081"]).start();
    workload.wait_for_log("listening 9081 V4");
    assert_eq!(answer(([127, 0, 0, 9], 9081).into()).unwrap(), "application");
    end(workload);
}

#[test]
fn a_port_that_closes_is_reported() {
    let script = format!(
        "trap 'kill $server' USR1; {STUB} serve 4 9080 & server=$!; while :; do wait; sleep 0.02; done"
    );
    let workload = launch(User::Ordinary, &["--port", "9080"], &["sh", "-c", &script]).start();
    workload.wait_for_log("listening 9080 V4");
    workload.signal(Signal::USR1);
    workload.wait_for_log("closed 9080");
    end(workload);
}

#[test]
fn an_ordinary_users_command_may_listen_below_1024_inside() {
    let workload = launch(User::Ordinary, &[], &[STUB, "serve", "4", "80"]).start();
    workload.wait_until("it listens", || {
        workload.processes().iter().any(|pid| {
            let table =
                fs::read_to_string(format!("/proc/{}/net/tcp", pid.as_raw_nonzero())).unwrap_or_default();
            table.contains("0100007F:0050")
        })
    });
    end(workload);
}

#[test]
fn the_command_keeps_its_user_and_has_no_capability() {
    for user in users() {
        let expected = if user == User::Root { 0 } else { ordinary() };
        let status = launch(user, &[], &["cat", "/proc/self/status"]).run().output();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("Uid:"), vec![expected.to_string(); 4]);
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
    }
}

#[test]
fn the_command_inherits_what_it_would_have_inherited_directly() {
    // Signals blocked and ignored, and open files: all that exec passes on beside the streams.
    let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd; umask; pwd; env | sort";
    let direct = program(User::Ordinary, "sh", &["-c", script]).run().output();
    let launched = launch(User::Ordinary, &["--port", "9080"], &["sh", "-c", script])
        .run()
        .output();
    let without_log = |text: &str| {
        text.lines()
            .filter(|line| !line.contains("STUB_LOG"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(without_log(&direct), without_log(&launched));
}

#[test]
fn a_new_proxy_takes_over_and_the_command_does_not_notice() {
    for user in users() {
        let script = format!("echo $$; exec {STUB} serve 4 9080");
        let workload = launch(user, &["--port", "9080"], &["sh", "-c", &script]).start();
        workload.wait_for_log("listening 9080 V4");
        let command = workload.command_pid();
        let address = (workload.address(), 9080).into();
        rustix::process::kill_process(workload.proxies()[0], Signal::KILL).unwrap();
        workload.wait_until("a second proxy knows the port", || {
            workload.log().matches("listening 9080 V4").count() == 2
        });
        assert_eq!(answer(address).unwrap(), "application");
        assert!(state_and_parent(command).is_some());
        assert_eq!(workload.proxies().len(), 2);
        end(workload);
    }
}

#[test]
fn the_proxy_can_be_signalled() {
    let workload = launch(User::Ordinary, &[], &["sleep", "1000"]).start();
    workload.wait_until("the proxy runs", || workload.log().contains("address"));
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("SigBlk")).unwrap();
    assert!(
        workload.log().contains(own),
        "{own} is not in: {}",
        workload.log()
    );
    end(workload);
}

#[test]
fn this_machine_can_run_workloads() {
    for user in users() {
        let outcome = program(user, STUB, &["probe"]).run();
        assert_eq!(outcome.output(), "Abilities { ipv6: true }\n");
    }
}

fn ordinary() -> u32 {
    let own = rustix::process::geteuid();
    if own.is_root() { 1000 } else { own.as_raw() }
}
