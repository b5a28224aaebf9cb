//! The command beside the agent: it gets the agent's signals, and the agent ends as it does.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::node::Program;

/// How it came to an end.
pub enum Ended {
    /// There is no command, and the agent was told to end.
    Told,
    /// The command's exit code, as a shell says it: 128 and the signal's number if one ended it.
    Itself(u8),
}

pub struct Child {
    process: Option<tokio::process::Child>,
    signals: mpsc::Receiver<Signal>,
}

/// The command with the bootstrap's path in it.
pub fn command_line(command: &[OsString], bootstrap: &Path) -> Vec<OsString> {
    command
        .iter()
        .map(|argument| substituted(argument, bootstrap))
        .collect()
}

fn substituted(argument: &OsString, bootstrap: &Path) -> OsString {
    const PLACE: &[u8] = b"{bootstrap}";
    let bytes = argument.as_bytes();
    let Some(at) = bytes.windows(PLACE.len()).position(|window| window == PLACE) else {
        return argument.clone();
    };
    let (before, rest) = bytes.split_at(at);
    let after = rest.get(PLACE.len()..).unwrap_or_default();
    OsString::from_vec([before, bootstrap.as_os_str().as_bytes(), after].concat())
}

impl Child {
    /// No command: the agent alone.
    pub fn start(command: &[OsString], program: Program, bootstrap: &Path) -> anyhow::Result<Self> {
        let signals = listen()?;
        let Some((name, arguments)) = command.split_first() else {
            return Ok(Self {
                process: None,
                signals,
            });
        };
        let mut command = Command::new(name);
        command.args(arguments);
        if program == Program::Grpc {
            command.env("GRPC_XDS_BOOTSTRAP", bootstrap);
            // gRFC A88: a service that is not there is an error at once, not after 15 s.
            command.env("GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING", "true");
        }
        let process = command.spawn().map_err(|error| {
            anyhow!(
                "the command does not start: {error} — {} — check its path",
                name.display()
            )
        })?;
        Ok(Self {
            process: Some(process),
            signals,
        })
    }

    /// Passes signals on until it has ended. Those that ask for an end are told to the mesh first.
    pub async fn wait(mut self, stopping: &watch::Sender<bool>) -> anyhow::Result<Ended> {
        let pid = self.process.as_ref().and_then(tokio::process::Child::id);
        let pid = pid.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        loop {
            let process = self.process.as_mut();
            let ended = async {
                match process {
                    Some(process) => process.wait().await,
                    None => std::future::pending().await,
                }
            };
            let signal = tokio::select! {
                status = ended => return Ok(Ended::Itself(code(status.context("the command is lost")?))),
                signal = self.signals.recv() => signal.context("no signal can be heard")?,
            };
            let ends = [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal);
            if ends {
                stopping.send_replace(true);
            }
            match pid {
                // Gone in the same moment: waited for above.
                Some(pid) => drop(kill_process(pid, signal)),
                None if ends => return Ok(Ended::Told),
                None => {}
            }
        }
    }
}

fn listen() -> anyhow::Result<mpsc::Receiver<Signal>> {
    let (heard, signals) = mpsc::channel(8);
    let kinds = [
        (SignalKind::terminate(), Signal::TERM),
        (SignalKind::interrupt(), Signal::INT),
        (SignalKind::quit(), Signal::QUIT),
        (SignalKind::hangup(), Signal::HUP),
        (SignalKind::user_defined1(), Signal::USR1),
        (SignalKind::user_defined2(), Signal::USR2),
    ];
    for (kind, name) in kinds {
        let mut stream = signal(kind)?;
        let heard = heard.clone();
        tokio::spawn(async move { while stream.recv().await.is_some() && heard.send(name).await.is_ok() {} });
    }
    Ok(signals)
}

fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstraps_path_takes_its_place() {
        let line = ["envoy", "-c", "{bootstrap}", "--x={bootstrap}!"].map(OsString::from);
        let line = command_line(&line, Path::new("/run/a b.json"));
        assert_eq!(line, ["envoy", "-c", "/run/a b.json", "--x=/run/a b.json!"]);
    }

    #[test]
    fn a_signals_death_is_told_as_a_shell_does() {
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
    }
}
