//! The proxy as a process: started with its sockets, and started anew when it dies.

use std::{
    io,
    net::Ipv4Addr,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    io::FdFlags,
    process::{Pid, Signal, getpid},
};

use crate::{
    channel::Channel,
    handoff::{HostListener, List, ListedListener, VARIABLE},
    launch::ProxyCommand,
    process,
    signals::Mask,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A proxy that lived so long has not died of its start.
const SETTLED: Duration = Duration::from_secs(10);

/// The proxy's life.
#[derive(Debug)]
pub(crate) struct ProxyProcess<'a> {
    command: &'a ProxyCommand,
    running: Option<(Pid, Instant)>,
    restart_at: Option<Instant>,
    /// Deaths in a row, each soon after the start.
    deaths: u32,
}

impl<'a> ProxyProcess<'a> {
    pub(crate) fn new(command: &'a ProxyCommand) -> Self {
        Self {
            command,
            running: None,
            restart_at: None,
            deaths: 0,
        }
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.running.map(|(pid, _)| pid)
    }

    pub(crate) fn restart_at(&self) -> Option<Instant> {
        self.restart_at
    }

    pub(crate) fn deaths(&self) -> u32 {
        self.deaths
    }

    /// Notes that it died, and plans the next start; gives the pause before it.
    pub(crate) fn died(&mut self, now: Instant) -> Duration {
        let settled = self
            .running
            .take()
            .is_some_and(|(_, since)| now.duration_since(since) >= SETTLED);
        self.deaths = if settled { 1 } else { self.deaths.saturating_add(1) };
        let doublings = self.deaths.saturating_sub(1).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        self.restart_at = Some(now + pause);
        pause
    }

    /// Notes that it ended and is needed no longer.
    pub(crate) fn ended(&mut self) {
        self.running = None;
        self.restart_at = None;
    }

    pub(crate) fn kill(&self) {
        if let Some(pid) = self.pid() {
            process::signal(pid, libc::SIGKILL);
        }
    }

    /// Starts it with this signal mask, and gives the supervisor's end of its new channel.
    pub(crate) fn start(
        &mut self,
        address: Ipv4Addr,
        listeners: &[HostListener],
        mask: Mask,
        now: Instant,
    ) -> io::Result<Channel> {
        self.restart_at = None;
        let (program, arguments) = self
            .command
            .command
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let (ours, theirs) = Channel::pair()?;
        let mut inherited = vec![theirs.as_fd().as_raw_fd()];
        inherited.extend(listeners.iter().map(|listener| listener.socket.as_raw_fd()));
        let list = List {
            channel: theirs.as_fd().as_raw_fd(),
            address,
            listeners: listeners
                .iter()
                .map(
                    |HostListener {
                         role,
                         address,
                         socket,
                     }| ListedListener {
                        role: *role,
                        address: *address,
                        descriptor: socket.as_raw_fd(),
                    },
                )
                .collect(),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(self.command.environment.iter().map(|(name, value)| (name, value)))
            .env(VARIABLE, serde_json::to_string(&list)?)
            // The standard streams are the command's; only complaints may go where its own go.
            .stdin(Stdio::null())
            .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
            .stderr(Stdio::inherit())
            // The terminal's signals are for the command: the proxy outlives it, to drain.
            .process_group(0);
        let parent = getpid();
        // SAFETY: between fork and exec the closure makes system calls only; the descriptors are
        // open, because the listeners and the channel outlive `spawn`.
        unsafe {
            command.pre_exec(move || {
                process::end_with(parent, Signal::KILL)?;
                for descriptor in &inherited {
                    rustix::io::fcntl_setfd(BorrowedFd::borrow_raw(*descriptor), FdFlags::empty())?;
                }
                // Ours would be inherited: this process has nearly all signals blocked.
                mask.restore()
            });
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidData)?;
        self.running = Some((pid, now));
        Ok(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> ProxyCommand {
        ProxyCommand {
            command: vec!["true".into()],
            environment: Vec::new(),
        }
    }

    #[test]
    fn pauses_between_starts_double_up_to_a_limit() {
        let command = command();
        let mut proxy = ProxyProcess::new(&command);
        let now = Instant::now();
        let pauses: Vec<_> = (0..8).map(|_| proxy.died(now).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_proxy_that_had_settled_is_started_again_soon() {
        let command = command();
        let mut proxy = ProxyProcess::new(&command);
        let now = Instant::now();
        proxy.died(now);
        proxy.died(now);
        proxy.running = Some((getpid(), now));
        assert_eq!(proxy.died(now + SETTLED), FIRST_PAUSE);
    }
}
