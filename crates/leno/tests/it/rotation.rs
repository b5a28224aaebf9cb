//! Certificates renewed, roots rotated, the authority away: and nobody notices.

use std::process::Output;
use std::time::{Duration, Instant};

use leno_testkit::{Mesh, eventually};
use serde_json::Value;

use crate::control_death::{goes_on, load};
use crate::pod::Pod;
use crate::support::{SERVICE, mesh, reviews, stdout};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `leno cert rotate-root ARGS`, which must succeed; what it says.
#[track_caller]
fn rotate(mesh: &Mesh, args: &[&str]) -> String {
    let output = mesh.leno(&[&["cert", "rotate-root"], args].concat());
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

/// The authority's stage, and the subject of the root that signs.
#[track_caller]
fn root(mesh: &Mesh) -> (String, String) {
    let output = mesh.leno(&["cert", "root", "-o", "json"]);
    assert!(output.status.success(), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut certificates = told["certificates"].as_array().into_iter().flatten();
    let signing = certificates.find(|one| one["state"] == "signs").unwrap();
    (
        told["stage"].as_str().unwrap().to_owned(),
        signing["subject"].as_str().unwrap().to_owned(),
    )
}

/// Who has issued the certificate that a workload shows now.
#[track_caller]
fn issuer(mesh: &Mesh, workload: &str) -> String {
    let output = mesh.leno(&["cert", "inspect", workload, "-o", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    told[0]["issuer"].as_str().unwrap().to_owned()
}

/// How long the long form lasts; the short one rotates twice.
fn seconds() -> Option<u64> {
    std::env::var("ROTATE_SECONDS").ok()?.parse().ok()
}

#[test]
fn certificates_are_renewed_and_the_root_rotated_under_load_and_no_request_fails() {
    let (life, rotations, rounds) = match seconds() {
        Some(_) => ("60s", usize::MAX, 1000),
        None => ("8s", 2, 300),
    };
    let mesh = mesh().control_arg(&format!("--cert-ttl={life}")).start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let load = load(&mesh);
    let begin = Instant::now();
    let end = Duration::from_secs(seconds().unwrap_or(u64::MAX));
    let (mut seen, mut rotated) = (vec![root(&mesh).1], 0);
    while rotated < rotations && begin.elapsed() < end {
        rotate(&mesh, &[]);
        rotated += 1;
        let (stage, now) = root(&mesh);
        assert!(
            stage == "settled" && !seen.contains(&now),
            "{stage} {now} {seen:?}"
        );
        assert_eq!(issuer(&mesh, "client"), now);
        seen.push(now);
        goes_on(&load, rounds);
    }
    let calls = load.output();
    let rounds = calls.lines().rev().find_map(|line| line.strip_prefix("DONE "));
    eprintln!(
        "certificates of {life}, {rotated} roots in {} s, {} requests over kept and as many over new connections, 0 failures",
        begin.elapsed().as_secs(),
        rounds.unwrap_or("0")
    );
}

#[test]
fn a_rotation_goes_on_after_a_restart_at_each_of_its_stages() {
    let mut mesh = mesh().start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let load = load(&mesh);
    let (_, old) = root(&mesh);
    let dry = stdout(&mesh.leno(&["cert", "rotate-root", "--dry-run"]));
    assert!(
        dry.contains("no rotation is under way") && dry.contains("All of 2 proxies follow"),
        "{dry}"
    );

    let first = rotate(&mesh, &["--until", "staged"]);
    assert!(
        first.contains("1 of 3") && first.contains("all of 2 proxies trust both"),
        "{first}"
    );
    let restart = |mesh: &mut Mesh| {
        mesh.kill_control();
        mesh.start_control();
        goes_on(&load, 50);
    };
    restart(&mut mesh);
    assert_eq!(root(&mesh), ("staged".to_owned(), old.clone()));
    let second = rotate(&mesh, &["--until", "switched"]);
    assert!(
        second.contains("2 of 3") && !second.contains("1 of 3"),
        "{second}"
    );
    let (stage, new) = root(&mesh);
    assert!(stage == "switched" && new != old);
    assert_eq!(
        (issuer(&mesh, "client"), issuer(&mesh, "reviews")),
        (new.clone(), new.clone())
    );
    restart(&mut mesh);
    assert_eq!(root(&mesh), ("switched".to_owned(), new.clone()));
    let third = rotate(&mesh, &[]);
    assert!(
        third.contains(&format!("{old} is retired")) && !third.contains("2 of 3"),
        "{third}"
    );
    restart(&mut mesh);
    assert_eq!(root(&mesh), ("settled".to_owned(), new));
    // Whoever comes now is one of them.
    assert_eq!(
        stdout(&mesh.client(&["curl", "-sS", "http://reviews:9080/"])),
        "v1\n"
    );
}

#[test]
fn a_rotation_waits_for_a_workload_that_does_not_answer_and_names_it() {
    let mesh = mesh().start();
    let workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let sidecar = sidecar_of(workload.pid());
    let stop = |signal| {
        let pid = rustix::process::Pid::from_raw(sidecar).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    };
    stop(rustix::process::Signal::STOP);
    let output = mesh.leno(&["cert", "rotate-root", "--timeout", "1s"]);
    let why = said(&output);
    assert_eq!(output.status.code(), Some(1), "{why}");
    for part in ["1 of the mesh do not follow", "reviews-v1", "it goes on here"] {
        assert!(why.contains(part), "`{part}` is not in: {why}");
    }
    assert_eq!(root(&mesh).0, "staged");
    let told = rotate(&mesh, &["--abort"]);
    assert!(told.contains("given up"), "{told}");
    stop(rustix::process::Signal::CONT);
    rotate(&mesh, &[]);
    assert_eq!(
        stdout(&mesh.client(&["curl", "-sS", "http://reviews:9080/"])),
        "v1\n"
    );
}

/// The data plane that a `leno run` has started.
fn sidecar_of(launcher: u32) -> i32 {
    let children = format!("/proc/{launcher}/task/{launcher}/children");
    let children = std::fs::read_to_string(children).unwrap();
    let mut sidecars = children.split_whitespace().filter(|pid| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains("\0sidecar\0")
    });
    let sidecar = sidecars
        .next()
        .unwrap_or_else(|| panic!("no sidecar: {children}"));
    sidecar.parse().unwrap()
}

#[test]
fn the_authority_may_be_away_for_several_renewals_and_they_are_made_up_for() {
    let mut mesh = mesh().control_arg("--cert-ttl=16s").start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let load = load(&mesh);
    let serial = |mesh: &Mesh| {
        let output = mesh.leno(&["cert", "inspect", "client", "-o", "json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        told[0]["serial"].as_str().map(str::to_owned)
    };
    let before = serial(&mesh).unwrap();
    mesh.kill_control();
    // Rounds take 10 ms at least: half of the life is over, and renewals have been tried and failed.
    goes_on(&load, 900);
    assert!(load.output().contains("is not renewed"), "{}", load.output());
    mesh.start_control();
    eventually("another certificate", || match serial(&mesh) {
        Some(now) if now != before => Ok(()),
        other => Err(other),
    });
    // Beyond the end of those that were there before.
    goes_on(&load, 900);
}

#[test]
fn an_envoy_takes_part_in_a_rotation_as_leno_does() {
    let test = "an_envoy_takes_part_in_a_rotation_as_leno_does";
    let other = SERVICE.replace("reviews", "ratings");
    let Some(pod) = Pod::start(test, &[("reviews.yaml", SERVICE), ("ratings.yaml", &other)]) else {
        return;
    };
    let server = pod.server("v1");
    let command: Vec<&str> = server.iter().map(String::as_str).collect();
    let _ratings = pod.run(&["--service", "ratings", "--port", "9080"], &command);
    let _application = pod.application("v2");
    let _agent = pod.agent(&["--service", "reviews", "--port", "9080:http"]);
    pod.wait_for(&["ratings", "reviews"]);
    let url = |host: &str| format!("http://{host}:9080/");
    let call = |pod: &Pod| {
        let curl = |host| ["-s".to_owned(), "-m".into(), "10".into(), url(host)];
        let (ratings, reviews) = (curl("ratings"), curl("reviews"));
        let to_leno = stdout(&pod.inside("curl", &ratings.each_ref().map(String::as_str)));
        let arguments = reviews.each_ref().map(String::as_str);
        let to_envoy = stdout(&pod.client(&[&["curl"], &arguments[..]].concat()));
        (to_leno, to_envoy)
    };
    let both = ("v1\n".to_owned(), "v2\n".to_owned());
    eventually("both answer", || match call(&pod) {
        answers if answers == both => Ok(()),
        other => Err(other),
    });
    let updates = |pod: &Pod| {
        let stats = pod.stats("sds.ROOTCA.update_success");
        stats.iter().map(|(_, count)| count).sum::<u64>()
    };
    // The first root of those that it trusts.
    let trusted = |pod: &Pod| {
        let shown = pod.inside("curl", &["-s", "http://127.0.0.1:15000/certs"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let roots = shown["certificates"].as_array().into_iter().flatten();
        let mut roots = roots.filter_map(|one| one["ca_cert"][0]["serial_number"].as_str());
        roots.next().map(str::to_owned)
    };
    let (before, first) = (updates(&pod), trusted(&pod));
    for until in ["staged", "switched", "retired"] {
        let output = pod.leno(&["cert", "rotate-root", "--until", until]);
        assert!(output.status.success(), "{until}: {}", said(&output));
        assert_eq!(call(&pod), both, "{until}");
    }
    assert!(updates(&pod) >= before + 3, "Envoy was told of each step");
    let after = trusted(&pod);
    assert!(after.is_some() && after != first, "{after:?}");
    // What is recorded today is closed to whoever has a quantum computer later.
    let hybrid = pod.stats(".ssl.curves.X25519MLKEM768");
    assert!(
        hybrid.iter().any(|(_, n)| *n > 0),
        "{:?}",
        pod.stats("ssl.handshake")
    );
    let rejected = pod.stats("update_rejected");
    assert_eq!(rejected.iter().map(|(_, n)| n).sum::<u64>(), 0, "{rejected:?}");
}

/// A root in the state directory, most of whose life is over.
const OLD_ROOT: &str = r#"
cat > ca.cnf <<'END'
[ca]
default_ca = old
[old]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = names
x509_extensions = authority
[names]
organizationName = optional
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
END
touch index.txt
at() { date -u -d "$1" +%Y%m%d%H%M%SZ; }
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca-key.pem
openssl req -new -key ca-key.pem -subj "/O=cluster.local/CN=old root" -out root.csr
openssl ca -batch -notext -selfsign -config ca.cnf -keyfile ca-key.pem -in root.csr -out root-cert.pem \
  -startdate "$(at '-19 days')" -enddate "$(at '+1 day')"
"#;

#[test]
fn an_old_root_is_told_of_and_another_takes_its_place() {
    let made = tempfile::tempdir().unwrap();
    let mut shell = std::process::Command::new("sh");
    let output = shell
        .args(["-ec", OLD_ROOT])
        .current_dir(made.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let file = |name: &str| std::fs::read_to_string(made.path().join(name)).unwrap();
    let mut mesh = mesh()
        .beside("state/ca-key.pem", &file("ca-key.pem"))
        .beside("state/root-cert.pem", &file("root-cert.pem"))
        .start();
    let log = mesh.control().wait_for_output("LN0507");
    let warned = log.lines().find(|line| line.contains("LN0507")).unwrap();
    for part in [
        "95 % of the life of the root",
        "CN=old root",
        "leno cert rotate-root",
    ] {
        assert!(warned.contains(part), "`{part}` is not in: {warned}");
    }
    let table = stdout(&mesh.leno(&["cert", "root"]));
    assert!(table.contains("95 %") && table.contains("signs"), "{table}");
    let check = mesh.leno(&["check"]);
    assert!(said(&check).contains("95 % of the life of the root"), "{check:?}");
    rotate(&mesh, &[]);
    let table = stdout(&mesh.leno(&["cert", "root"]));
    assert!(!table.contains("old root") && table.contains("0 %"), "{table}");
    let check = mesh.leno(&["check"]);
    assert!(
        stdout(&check).contains("lasts until") && said(&check).is_empty(),
        "{check:?}"
    );
}

#[test]
fn a_certificate_is_issued_to_files_that_openssl_verifies() {
    let mesh = mesh().start();
    let issued = mesh.leno(&[
        "cert",
        "issue",
        "--service-account",
        "batch",
        "--ttl",
        "1h",
        "--out",
        "certs/batch",
    ]);
    assert!(issued.status.success(), "{}", said(&issued));
    assert!(
        said(&issued).contains("spiffe://cluster.local/ns/default/sa/batch until"),
        "{issued:?}"
    );
    let verify =
        "cd -P certs/batch && openssl verify -CAfile root-cert.pem cert-chain.pem && stat -c %a key.pem";
    let output = mesh.program("sh").args(["-ec", verify]).output().unwrap();
    assert_eq!(stdout(&output), "cert-chain.pem: OK\n600\n", "{output:?}");
    let inspected = stdout(&mesh.leno(&["cert", "inspect", "certs/batch/cert-chain.pem"]));
    assert!(
        inspected.contains("names    spiffe://cluster.local/ns/default/sa/batch"),
        "{inspected}"
    );
    let taken = mesh.leno(&["cert", "issue", "--out", "mesh"]);
    assert!(said(&taken).contains("a directory is in the way"), "{taken:?}");
}
