//! A mesh of real processes on this machine, as an ordinary user.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::condition::eventually;
use crate::machine::Share;
use crate::namespace::Namespaces;
use crate::port::free_port;
use crate::process::Process;
use crate::user::{OrdinaryUser, shared_binary};

#[derive(Debug)]
pub struct Mesh {
    pub user: OrdinaryUser,
    binary: &'static Path,
    control_args: Vec<String>,
    control: Option<Process>,
    // After the processes in them.
    namespaces: Option<Namespaces>,
    _share: Share,
}

#[derive(Debug)]
pub struct MeshBuilder {
    alone: bool,
    user: OrdinaryUser,
    binary: &'static Path,
    args: Vec<String>,
    machine: Option<String>,
}

impl MeshBuilder {
    pub fn new(binary: &Path) -> Self {
        Self {
            alone: false,
            user: OrdinaryUser::new(),
            binary: shared_binary(binary),
            args: Vec::new(),
            machine: None,
        }
    }

    /// On a machine of its own, which this shell script sets up: every port is free there, and nothing leaves it.
    #[must_use]
    pub fn on_a_machine(mut self, setup: &str) -> Self {
        self.machine = Some(setup.to_owned());
        self
    }

    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.user = OrdinaryUser::root();
        self
    }

    /// While this mesh exists no other does: for tests that watch a clock.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// A further argument of `leno control`.
    #[must_use]
    pub fn control_arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    #[must_use]
    pub fn file(self, name: &str, yaml: &str) -> Self {
        self.user.write(&format!("mesh/{name}"), yaml);
        self
    }

    /// A file of the user's, beside the mesh's configuration.
    #[must_use]
    pub fn beside(self, name: &str, text: &str) -> Self {
        self.user.write(name, text);
        self
    }

    /// Starts the control plane and waits until it answers.
    #[track_caller]
    pub fn start(self) -> Mesh {
        self.user.make_dir(&self.user.home().join("mesh"));
        let share = if self.alone { Share::all() } else { Share::some() };
        let namespaces = self.machine.map(|setup| Namespaces::new(&self.user, &setup));
        let mut mesh = Mesh {
            namespaces,
            user: self.user,
            binary: self.binary,
            control_args: self.args,
            control: None,
            _share: share,
        };
        mesh.start_control();
        mesh
    }
}

impl Mesh {
    /// The control plane, on free ports the first time and on the same ones afterwards.
    #[track_caller]
    pub fn start_control(&mut self) {
        let mut command = self.program(self.binary);
        command
            .arg("control")
            .arg("--config")
            .arg(self.config_dir())
            .arg("--state")
            .arg(self.state_dir());
        if !self.control_args.iter().any(|a| a.starts_with("--port")) {
            let port = free_port();
            self.control_args.push(format!("--port={port}"));
        }
        for flag in ["--plaintext-port", "--admin-port"] {
            let off = flag.replace("--plaintext-port", "--no-plaintext");
            if self.control_args.contains(&off) {
                continue;
            }
            if !self.control_args.iter().any(|a| a.starts_with(flag)) {
                command.arg(format!("{flag}=0"));
            }
        }
        command.args(&self.control_args);
        self.control = Some(Process::spawn(command));
        eventually("the control plane answers", || {
            let output = self.leno(&["status"]);
            if output.status.success() {
                Ok(())
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        });
    }

    pub fn control(&mut self) -> &mut Process {
        self.control.as_mut().expect("the control plane was started")
    }

    pub fn kill_control(&mut self) {
        self.control().kill();
    }

    pub fn config_dir(&self) -> PathBuf {
        self.user.home().join("mesh")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.user.home().join("state")
    }

    /// Puts a file into the configuration directory.
    pub fn write(&self, name: &str, yaml: &str) {
        self.user.write(&format!("mesh/{name}"), yaml);
    }

    /// Takes a file out of the configuration directory.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.config_dir().join(name)).expect("the file is there");
    }

    /// The leno that it is made of.
    pub fn binary(&self) -> &Path {
        self.binary
    }

    /// Any program on the mesh's machine, outside of the mesh.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.namespaces {
            Some(namespaces) => namespaces.command(&self.user, program),
            None => self.user.command(program),
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(self.binary);
        command.args(args);
        command
    }

    /// A leno command to its end.
    pub fn leno(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("leno starts")
    }

    /// `leno run ARGS -- COMMAND`, in the background.
    #[track_caller]
    pub fn run(&self, args: &[&str], command: &[&str]) -> Process {
        let mut run = self.command(&["run"]);
        run.args(args).arg("--").args(command);
        Process::spawn(run)
    }

    /// `leno run --service client -- COMMAND`, to its end.
    pub fn client(&self, command: &[&str]) -> Output {
        let mut run = self.command(&["run", "--service", "client", "--"]);
        run.args(command).output().expect("leno starts")
    }

    /// `leno status -o json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        let output = self.leno(&["status", "-o", "json"]);
        assert!(
            output.status.success(),
            "leno status: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Waits until this many instances of a service are healthy.
    #[track_caller]
    pub fn wait_for_instances(&self, service: &str, count: usize) {
        eventually(&format!("{count} instances of {service}"), || {
            let status = self.status();
            let proxies = status["proxies"].as_array().into_iter().flatten();
            let there = proxies
                .filter(|p| p["service"] == service && p["healthy"] == true)
                .count();
            if there == count { Ok(()) } else { Err(status) }
        });
    }
}
