//! Starting a workload under the stub's launcher and proxy, and looking at what it does.

// `pre_exec`, to give a process a terminal.
#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    io::Read as _,
    net::Ipv4Addr,
    os::fd::{AsFd as _, OwnedFd},
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

pub(crate) const STUB: &str = env!("CARGO_BIN_EXE_leno-run-stub");
const PATIENCE: Duration = Duration::from_secs(20);

/// Who runs the workload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum User {
    /// An ordinary user: this one, or uid 1000 if this one is root.
    Ordinary,
    Root,
}

/// A workload to be.
pub(crate) struct Plan {
    command: Command,
    terminal: Option<OwnedFd>,
    directory: TempDir,
}

/// A workload under way.
pub(crate) struct Workload {
    pub(crate) child: Child,
    directory: TempDir,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The users as whom a test must hold on this machine.
pub(crate) fn users() -> Vec<User> {
    if geteuid().is_root() {
        vec![User::Ordinary, User::Root]
    } else {
        vec![User::Ordinary]
    }
}

/// The given program as the given user, with a directory of its own.
pub(crate) fn program(user: User, program: &str, arguments: &[&str]) -> Plan {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("STUB_LOG", directory.path().join("log"))
        .stdin(Stdio::null())
        .stdout(File::create(directory.path().join("stdout")).unwrap())
        .stderr(File::create(directory.path().join("stderr")).unwrap());
    if user == User::Ordinary && geteuid().is_root() {
        command.uid(1000).gid(1000);
    }
    Plan {
        command,
        terminal: None,
        directory,
    }
}

/// `flags` are the stub's; the command is the workload's.
pub(crate) fn launch(user: User, flags: &[&str], command: &[&str]) -> Plan {
    program(user, STUB, &[&["launch"], flags, &["--"], command].concat())
}

impl Plan {
    pub(crate) fn mode(mut self, mode: &str) -> Self {
        self.command.env("STUB_MODE", mode);
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        let path = self.directory.path().join("stdin");
        fs::write(&path, text).unwrap();
        self.command.stdin(File::open(path).unwrap());
        self
    }

    /// The workload leads a session of its own, on this terminal.
    pub(crate) fn on_terminal(mut self, terminal: OwnedFd) -> Self {
        self.terminal = Some(terminal);
        self
    }

    pub(crate) fn start(mut self) -> Workload {
        // Whoever runs the tests may ignore signals (nohup, a shell's background job); a user's shell does not.
        let heed_signals = || {
            for number in [
                libc::SIGHUP,
                libc::SIGINT,
                libc::SIGQUIT,
                libc::SIGTERM,
                libc::SIGTSTP,
            ] {
                // SAFETY: SIG_DFL is a valid disposition, and the child has one thread.
                unsafe { libc::signal(number, libc::SIG_DFL) };
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls only.
        unsafe { self.command.pre_exec(heed_signals) };
        match self.terminal {
            Some(terminal) => {
                self.command
                    .stdin(terminal.try_clone().unwrap())
                    .stdout(terminal.try_clone().unwrap());
                let lead = || {
                    rustix::process::setsid()?;
                    Ok(rustix::process::ioctl_tiocsctty(std::io::stdin().as_fd())?)
                };
                // SAFETY: between fork and exec the closure makes two system calls only.
                unsafe { self.command.pre_exec(lead) };
            }
            // Its own job, as a shell would make it.
            None => drop(self.command.process_group(0)),
        }
        Workload {
            child: self.command.spawn().unwrap(),
            directory: self.directory,
        }
    }

    /// Runs it to its end, after which nothing may be left.
    pub(crate) fn run(self) -> Outcome {
        self.start().finish()
    }
}

impl Workload {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn log(&self) -> String {
        self.read("log")
    }

    pub(crate) fn stdout(&self) -> String {
        self.read("stdout")
    }

    pub(crate) fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(self.path(name)) {
            file.read_to_string(&mut text).unwrap();
        }
        text
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn wait_for_log(&self, what: &str) {
        self.wait_until(&format!("log has `{what}`"), || {
            self.log().lines().any(|line| line == what)
        });
    }

    /// The number that the command printed first: its pid.
    pub(crate) fn command_pid(&self) -> Pid {
        self.wait_until("the command says its pid", || self.stdout().ends_with('\n'));
        Pid::from_raw(self.stdout().lines().next().unwrap().parse().unwrap()).unwrap()
    }

    /// The pids of the proxies so far.
    pub(crate) fn proxies(&self) -> Vec<Pid> {
        let log = self.log();
        let pids = log.lines().filter_map(|line| line.strip_prefix("pid "));
        pids.map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap())
            .collect()
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        let log = self.log();
        log.lines()
            .find_map(|line| line.strip_prefix("address "))
            .unwrap()
            .parse()
            .unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}\nlog: {}\nstdout: {}\nstderr: {}",
                self.log(),
                self.stdout(),
                self.read("stderr")
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub(crate) fn finish(mut self) -> Outcome {
        let mut status = None;
        let deadline = Instant::now() + PATIENCE;
        while status.is_none() {
            assert!(Instant::now() < deadline, "it does not end\nlog: {}", self.log());
            status = self.child.try_wait().unwrap();
            thread::sleep(Duration::from_millis(2));
        }
        self.wait_until("nothing is left", || self.processes().is_empty());
        Outcome {
            status: status.unwrap(),
            stdout: self.stdout(),
            stderr: self.read("stderr"),
        }
    }

    /// Every living process that was started by this workload, found by its environment.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let mark = format!("STUB_LOG={}", self.path("log").display()).into_bytes();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|process| {
                let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
                let environment = fs::read(process.path().join("environ")).ok()?;
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == mark)
                    .then_some(pid)
            })
            .collect()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn output(self) -> String {
        assert!(self.status.success(), "{self:?}");
        self.stdout
    }

    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// The state letter and the parent of proc_pid_stat(5).
pub(crate) fn state_and_parent(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((
        fields.next()?.chars().next()?,
        Pid::from_raw(fields.next()?.parse().ok()?)?,
    ))
}
