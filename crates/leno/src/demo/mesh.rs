//! The demo's mesh: configuration files, and one `leno run` a workload.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
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

/// Writes the mesh's YAML into `dir`.
pub fn write_configuration(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    for (name, text) in [("services.yaml", SERVICES), ("reviews.yaml", REVIEWS)] {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// The running workloads; they end when this is dropped.
#[derive(Debug)]
pub struct Workloads {
    children: Vec<(String, Child)>,
}

impl Workloads {
    /// Starts the six services and the load; their output goes to `logs`.
    pub fn start(join: &Join, logs: &Path, rate: u32) -> anyhow::Result<Self> {
        let mut workloads = Self { children: Vec::new() };
        for (app, version) in WORKLOADS {
            workloads.spawn(join, logs, app, version, &["--port", "9080:http"], &[])?;
        }
        workloads.spawn(join, logs, LOAD, "v1", &[], &["--rate", &rate.to_string()])?;
        Ok(workloads)
    }

    fn spawn(&mut self, join: &Join, logs: &Path, app: &str, version: &str, ports: &[&str], extra: &[&str]) -> anyhow::Result<()> {
        let name = format!("{app}-{version}");
        let log = fs::File::create(logs.join(format!("{name}.log")))?;
        let own = std::env::current_exe().context("the path of this program")?;
        let mut command = Command::new(&own);
        command.args(["run", "--end-with-parent", "--service", app, "--version", version, "--service-account", app]);
        command.args(["--control", &join.address.to_string()]).arg("--ca").arg(&join.ca).arg("--token").arg(&join.token);
        command.args(ports).arg("--").arg(&own).args(["sample", app, "--version", version]).args(extra);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        self.children.push((name, child));
        Ok(())
    }

    pub fn count(&self) -> usize {
        self.children.len()
    }

    /// The first workload that has ended by itself, which none should.
    pub fn ended(&mut self) -> io::Result<Option<String>> {
        for (name, child) in &mut self.children {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(format!("{name} ended: {status}")));
            }
        }
        Ok(None)
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

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may just have ended: then there is nothing to tell.
        let _ = rustix::process::kill_process(pid, signal);
    }
}
