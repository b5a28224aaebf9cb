//! The kernel against nft(8): what is sent over netlink must read back as the printed text does.
//!
//! The kernel side runs in a child in a namespace of its own, made with unshare(1): the test
//! executable calls itself there.

#![allow(clippy::unwrap_used)]

use std::{
    env,
    io::Write as _,
    net::IpAddr,
    process::{Command, Output, Stdio},
};

use leno_capture::{RedirectPlan, apply, remove, route};

const INSIDE: &str = "LENO_TEST_INSIDE_NAMESPACE";

fn plan() -> RedirectPlan {
    RedirectPlan {
        outbound: 15001,
        inbound: Some(15006),
        dns: Some(15053),
        excluded_uids: vec![1337, 0],
        excluded_marks: vec![0x539],
        excluded_destinations: [
            "10.0.0.0/8",
            "192.0.2.64/27",
            "198.51.100.1/32",
            "fd00::/13",
            "2001:db8::1/128",
        ]
        .map(|net| net.parse().unwrap())
        .into(),
        excluded_outbound_ports: vec![9000],
        excluded_inbound_ports: vec![15021, 22],
        refuse_udp: true,
    }
}

/// Runs the named test of this executable within a new user and network namespace.
fn inside(test: &str) -> Output {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap()
}

fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

fn missing_tool() -> Option<&'static str> {
    ["nft", "unshare", "ip"].into_iter().find(|tool| {
        Command::new(tool)
            .arg("--help")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
    })
}

fn run_outside(test: &str) {
    if let Some(tool) = missing_tool() {
        leno_testkit::skip(test, &format!("no `{tool}` on this machine"));
        return;
    }
    let output = inside(test);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn listing() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn load_text(text: &str) {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft does not take\n{text}");
}

#[test]
fn netlink_and_text_are_the_same_rules() {
    if !is_inside() {
        return run_outside("netlink_and_text_are_the_same_rules");
    }
    let ruleset = plan().ruleset();
    apply(&ruleset).unwrap();
    let by_netlink = listing();
    remove(&ruleset.table).unwrap();
    assert_eq!(listing(), "");
    load_text(&ruleset.nft_text());
    assert_eq!(by_netlink, listing());
    assert!(
        by_netlink.contains("ip daddr 192.0.2.64/27 return"),
        "{by_netlink}"
    );
}

#[test]
fn applying_twice_leaves_one_set_of_rules() {
    if !is_inside() {
        return run_outside("applying_twice_leaves_one_set_of_rules");
    }
    let ruleset = plan().ruleset();
    apply(&ruleset).unwrap();
    let once = listing();
    apply(&ruleset).unwrap();
    assert_eq!(once, listing());
    remove("leno").unwrap();
    remove("leno").unwrap();
}

#[test]
fn a_refusal_names_the_rule_and_nothing_is_in_force() {
    if !is_inside() {
        return run_outside("a_refusal_names_the_rule_and_nothing_is_in_force");
    }
    let mut ruleset = plan().ruleset();
    // A redirect is not allowed in a chain that only filters.
    ruleset.chains[2].rules[0].verdict = leno_capture::Verdict::Redirect(7);
    let error = apply(&ruleset).unwrap_err().to_string();
    assert!(error.contains("redirect to :7` of chain refuse"), "{error}");
    assert_eq!(listing(), "");
}

#[test]
fn routes_lead_through_loopback_with_the_given_source() {
    if !is_inside() {
        return run_outside("routes_lead_through_loopback_with_the_given_source");
    }
    route::loopback_up().unwrap();
    for (address, far) in [("198.18.0.2", "203.0.113.9"), ("fd00:6c65::2", "2001:db8::9")] {
        let address: IpAddr = address.parse().unwrap();
        route::default_through_loopback(address).unwrap();
        let output = Command::new("ip").args(["route", "get", far]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("dev lo") && text.contains(&format!("src {address}")),
            "{text}"
        );
        let again = route::default_through_loopback(address).unwrap_err().to_string();
        assert!(again.contains(&format!("address {address}")), "{again}");
    }
}
