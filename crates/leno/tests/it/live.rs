//! The cases of `leno-translate` that say `live: true`, for real: the same objects and calls, and the same of becomes them,
//! through leno's proxy and through a stock Envoy, both on leno's control plane.
//!
//! `LENO_LIVE_CASES=TEXT` runs only those whose name has the text in it.

mod programs;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use leno_testkit::Process;
use leno_testkit::case::{self, Call, Case, GatewayProxy, Registration};
use serde_json::Value;

use crate::pod::Pod;
use wanted::Wanted;

/// For a configuration to arrive everywhere, on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many calls make the shares.
const CALLS: u32 = 400;

/// Percent: five standard deviations of the middle share.
const TOLERANCE: f64 = 12.5;

#[test]
fn live_cases_are_answered_the_same_by_lenos_proxy_and_by_envoy() {
    let test = "live_cases_are_answered_the_same_by_lenos_proxy_and_by_envoy";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../leno-translate/tests/it/cases");
    let mut cases = case::all(&root);
    cases.retain(|case| case.live);
    assert!(cases.len() >= 60, "live cases have gone: {}", cases.len());
    if let Ok(text) = std::env::var("LENO_LIVE_CASES") {
        cases.retain(|case| case.name.contains(&text));
    }
    let Some(pod) = Pod::start(test, &[]) else {
        return;
    };
    let mut stage = Stage::new(pod);
    // What two cases have in common stays where it is.
    cases.sort_by_cached_key(|case| (servers(case), case.name.clone()));
    let wrong: Vec<String> = cases.iter().flat_map(|case| stage.play(case)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Those that are called.
fn servers(case: &Case) -> Vec<Registration> {
    let mut servers = case.workloads.clone();
    servers.retain(|workload| !workload.ports.is_empty());
    servers.sort();
    servers
}

/// One control plane, the workloads of the case that is on, and an Envoy.
struct Stage {
    // The processes end before the namespaces that they are in.
    running: BTreeMap<Registration, Process>,
    envoy: Option<(Registration, Process)>,
    pod: Pod,
    addresses: u8,
    played: usize,
}

impl Stage {
    fn new(pod: Pod) -> Self {
        // One address of the machine for each workload: several listen on the same port.
        let added = pod.outside("ip", &["addr", "add", "198.18.1.0/24", "dev", "lo"]);
        assert!(added.status.success(), "{added:?}");
        pod.user.write("server.py", programs::SERVER);
        pod.user.write("client.py", programs::CLIENT);
        programs::certificate(&pod);
        Self {
            running: BTreeMap::new(),
            envoy: None,
            pod,
            addresses: 0,
            played: 0,
        }
    }

    /// What is wrong with a case.
    fn play(&mut self, case: &Case) -> Vec<String> {
        let wanted = match Wanted::new(case) {
            Ok(wanted) => wanted,
            Err(error) => return vec![format!("{}: {error}", case.name)],
        };
        eprintln!("{}", case.name);
        self.stop_others(case);
        self.played += 1;
        // One file: who sees the marker sees the rest.
        let marker = format!("marker-{}", self.played);
        self.pod.user.write(
            "mesh/case.yaml",
            &format!("{}\n---\n{}", case.input, programs::marker(&marker)),
        );
        leno_testkit::eventually("the control plane has read the case", || {
            let said = self.pod.leno(&["get", "service", &marker]);
            let there = String::from_utf8_lossy(&said.stdout).contains(&marker);
            if there { Ok(()) } else { Err(said) }
        });
        self.start_missing(case);
        let mut wrong = Vec::new();
        for gateway in &case.gateways {
            let calls: Vec<&Call> = case
                .calls
                .iter()
                .filter(|call| call.from == gateway.name)
                .collect();
            for proxy in [Through::Leno, Through::Envoy] {
                let found = self.enter(&wanted, gateway, &calls, proxy);
                wrong.extend(found.map(|found| format!("{}, {proxy:?}: {found}", case.name)));
            }
        }
        for caller in &case.workloads {
            let calls: Vec<&Call> = case
                .calls
                .iter()
                .filter(|call| call.from == caller.name)
                .collect();
            if calls.is_empty() {
                continue;
            }
            assert!(
                caller.ports.is_empty(),
                "{}: {} is called as well",
                case.name,
                caller.name
            );
            for proxy in [Through::Leno, Through::Envoy] {
                if proxy == Through::Envoy {
                    // Where a Sidecar hides the marker an Envoy of its own is known to have the newest.
                    let hidden = case.input.contains("kind: Sidecar");
                    self.start_envoy(caller, (!hidden).then_some(&marker));
                }
                let found = self.call(&wanted, caller, &calls, proxy);
                wrong.extend(found.map(|found| format!("{}, {proxy:?}: {found}", case.name)));
            }
        }
        wrong
    }

    fn stop_others(&mut self, case: &Case) {
        let wanted: BTreeSet<Registration> = servers(case).into_iter().collect();
        self.running.retain(|running, _| wanted.contains(running));
    }

    fn start_missing(&mut self, case: &Case) {
        for workload in servers(case) {
            if !self.running.contains_key(&workload) {
                let process = self.start(&workload);
                self.running.insert(workload, process);
            }
        }
        let services: BTreeSet<&str> = self.running.keys().map(service).collect();
        let count = self.running.len();
        leno_testkit::eventually(&format!("{} has its workloads", case.name), || {
            let status = self.pod.status();
            let all = status["proxies"].as_array().into_iter().flatten();
            let there = all.filter(|proxy| {
                proxy["healthy"] == true
                    && proxy["service"]
                        .as_str()
                        .is_some_and(|service| services.contains(service))
            });
            if there.count() == count {
                Ok(())
            } else {
                Err(status.clone())
            }
        });
    }

    fn start(&mut self, workload: &Registration) -> Process {
        self.addresses = self.addresses % 250 + 1;
        let address = format!("198.18.1.{}", self.addresses);
        let ports: Vec<String> = workload.ports.iter().map(u16::to_string).collect();
        let mut args = identity(workload);
        args.extend(ports.iter().map(|port| format!("--port={port}")));
        args.extend(["--advertise".to_owned(), address]);
        let script = self.pod.user.home().join("server.py").display().to_string();
        let mut command = vec!["python3", "-u", &script, &workload.name];
        command.extend(ports.iter().map(String::as_str));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.pod.run_at(&args, &command)
    }

    /// The Envoy beside a caller, with the configuration that has the marker.
    fn start_envoy(&mut self, caller: &Registration, marker: Option<&String>) {
        let other = self.envoy.as_ref().is_none_or(|(running, _)| running != caller);
        if other || marker.is_none() {
            self.envoy = None;
            self.pod.search(&caller.namespace);
            let args = identity(caller);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            self.envoy = Some((caller.clone(), self.pod.agent(&args)));
        }
        let Some(marker) = marker else { return };
        let marked = format!("|{marker}.default.svc.cluster.local.update_success");
        leno_testkit::eventually("Envoy has the newest configuration", || {
            let stats = self.pod.stats(&marked);
            if stats.iter().any(|(_, n)| *n > 0) {
                Ok(())
            } else {
                Err(stats)
            }
        });
    }

    /// What becomes of a workload's calls other than it should.
    fn call(
        &self,
        wanted: &Wanted,
        caller: &Registration,
        calls: &[&Call],
        proxy: Through,
    ) -> Option<String> {
        let script = self.pod.user.home().join("client.py").display().to_string();
        let said = programs::calls(calls, CALLS, None);
        let command = ["python3", script.as_str(), said.as_str()];
        patiently(wanted, calls, || match proxy {
            Through::Envoy => self.pod.inside(command[0], &command[1..]),
            Through::Leno => self.pod.client_as(&identity(caller), &command),
        })
    }

    /// The same for calls from outside, by a gateway proxy.
    fn enter(
        &self,
        wanted: &Wanted,
        gateway: &GatewayProxy,
        calls: &[&Call],
        proxy: Through,
    ) -> Option<String> {
        let ports: BTreeSet<u16> = calls.iter().map(|call| call.host_and_port().1).collect();
        // Each on ports of its own: one ends while the other begins.
        let moved = match proxy {
            Through::Leno => 20_000,
            Through::Envoy => 30_000,
        };
        let mut args = vec![
            format!("--namespace={}", gateway.namespace),
            "--bind=127.0.0.1".to_owned(),
        ];
        args.extend(ports.iter().map(|port| format!("--map={port}:{}", port + moved)));
        let labels = gateway.labels.iter();
        args.extend(labels.map(|(name, value)| format!("--label={name}={value}")));
        let _process = match proxy {
            Through::Leno => {
                args.push(format!("--name={}", gateway.name));
                self.pod.gateway(&args)
            }
            Through::Envoy => {
                args.push(format!("--service={}", gateway.name));
                self.pod.envoy_gateway(&args)
            }
        };
        let script = self.pod.user.home().join("client.py").display().to_string();
        let said = programs::calls(calls, CALLS, Some(moved));
        patiently(wanted, calls, || self.pod.outside("python3", &[&script, &said]))
    }
}

/// Calls until all becomes of them what should, or for as long as there is patience; then what does not.
fn patiently(wanted: &Wanted, calls: &[&Call], call: impl Fn() -> Output) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = call();
        let answers: Vec<Vec<Value>> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let mut wrong: Vec<String> = Vec::new();
        for (i, call) in calls.iter().enumerate() {
            let found = answers.get(i).map(Vec::as_slice).unwrap_or_default();
            let other = wanted.differs(call, found, TOLERANCE);
            wrong.extend(other.map(|other| format!("{call}: {other}")));
        }
        if wrong.is_empty() {
            return None;
        }
        if Instant::now() >= deadline {
            let said = String::from_utf8_lossy(&output.stderr);
            return Some(format!("{}\n{said}", wrong.join("\n  ")));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Through {
    Leno,
    Envoy,
}

fn service(workload: &Registration) -> &str {
    workload.labels.get("app").map_or(&workload.name, String::as_str)
}

/// Flags of `leno run` and `leno agent`.
fn identity(workload: &Registration) -> Vec<String> {
    let mut args = vec![
        format!("--service={}", service(workload)),
        format!("--namespace={}", workload.namespace),
    ];
    let labels = workload.labels.iter().filter(|(name, _)| *name != "app");
    args.extend(labels.map(|(name, value)| format!("--label={name}={value}")));
    args
}
