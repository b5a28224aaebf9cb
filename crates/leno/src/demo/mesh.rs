//! The demo's mesh: configuration files, and one `leno run` a workload.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::join::Join;

/// name, version, and whether it serves.
const WORKLOADS: &[(&str, &str)] = &[
    ("ratings", "v1"),
    ("reviews", "v1"),
    ("reviews", "v2"),
    ("reviews", "v3"),
    ("details", "v1"),
    ("productpage", "v1"),
];
const LOAD: &str = "load";

const SERVICES: &str = include_str!("mesh/services.yaml");
const REVIEWS: &str = include_str!("mesh/reviews.yaml");
const GATEWAY: &str = include_str!("mesh/gateway.yaml");
/// The port that the Gateway names.
const GATEWAY_PORT: u16 = 8080;

/// Writes the mesh's YAML into `dir`, where it is not there yet.
pub fn write_configuration(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let files = [
        ("services.yaml", SERVICES),
        ("reviews.yaml", REVIEWS),
        ("gateway.yaml", GATEWAY),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        if !path.exists() {
            fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
    }
    Ok(())
}

/// The running workloads; they end when this is dropped.
#[derive(Debug)]
pub struct Workloads {
    children: Vec<(String, Child)>,
}

impl Workloads {
    /// Starts the six services; their output goes to `logs`.
    pub fn start(join: &Join, logs: &Path) -> anyhow::Result<Self> {
        let mut workloads = Self { children: Vec::new() };
        for (app, version) in WORKLOADS {
            workloads.run(join, logs, app, version, &["--port", "9080:http"], &[])?;
        }
        Ok(workloads)
    }

    /// Starts the gateway, its port opened as this one.
    pub fn open(&mut self, join: &Join, logs: &Path, port: u16) -> anyhow::Result<()> {
        let map = format!("{GATEWAY_PORT}:{port}");
        let mut gateway = leno()?;
        gateway.args([
            "proxy",
            "gateway",
            "--end-with-parent",
            "--name",
            "gateway",
            "--bind",
            "127.0.0.1",
            "--metrics-port",
            "0",
            "--map",
            &map,
        ]);
        join_by(join, &mut gateway);
        self.spawn(logs, "gateway", gateway)
    }

    /// Starts the load.
    pub fn load(&mut self, join: &Join, logs: &Path, rate: u32) -> anyhow::Result<()> {
        self.run(join, logs, LOAD, "v1", &[], &["--rate", &rate.to_string()])
    }

    /// `leno run ... -- leno sample APP`
    fn run(
        &mut self,
        join: &Join,
        logs: &Path,
        app: &str,
        version: &str,
        ports: &[&str],
        extra: &[&str],
    ) -> anyhow::Result<()> {
        let mut command = leno()?;
        command
            .args(["run", "--end-with-parent", "--service", app, "--version", version])
            .args(["--service-account", app])
            .args(ports);
        join_by(join, &mut command);
        command
            .arg("--")
            .arg(leno()?.get_program())
            .args(["sample", app, "--version", version])
            .args(extra);
        self.spawn(logs, &format!("{app}-{version}"), command)
    }

    fn spawn(&mut self, logs: &Path, name: &str, mut command: Command) -> anyhow::Result<()> {
        let log = fs::File::create(logs.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    pub fn count(&self) -> usize {
        self.children.len()
    }

    /// The workloads that have ended by themselves, which none should.
    pub fn ended(&mut self) -> io::Result<Vec<(String, ExitStatus)>> {
        let mut ended = Vec::new();
        for (name, child) in &mut self.children {
            if let Some(status) = child.try_wait()? {
                ended.push((name.clone(), status));
            }
        }
        Ok(ended)
    }

    /// Asks all to end, waits, and ends by force what does not.
    pub fn stop(&mut self) {
        for (_, child) in &self.children {
            signal(child, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(8);
        for (_, child) in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() >= deadline {
                    signal(child, rustix::process::Signal::KILL);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.children.clear();
    }
}

impl Drop for Workloads {
    fn drop(&mut self) {
        self.stop();
    }
}

/// This program.
fn leno() -> anyhow::Result<Command> {
    Ok(Command::new(
        std::env::current_exe().context("the path of this program")?,
    ))
}

/// The demo's own control plane, whatever else is on this machine.
fn join_by(join: &Join, command: &mut Command) {
    command.args(["--control", &join.address.to_string()]);
    command.arg("--ca").arg(&join.ca).arg("--token").arg(&join.token);
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may just have ended: then there is nothing to tell.
        let _ = rustix::process::kill_process(pid, signal);
    }
}
