//! The launcher: in the host, in the place of the command as far as the caller can tell.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus, getpid},
};

use crate::{
    channel::Channel,
    control::{FromSupervisor, ToSupervisor},
    descendants,
    ending::Ending,
    handoff::HostListener,
    host_listeners,
    launch::{Launch, LaunchError},
    ports::{DNS_PORT, INBOUND_PORT, METRICS_PORT, OUTBOUND_PORT},
    process,
    proxy_process::ProxyProcess,
    readiness, signals,
    signals::{Received, Signals},
    supervisor,
};

/// Deaths of the proxy, without a word, after which a launch is given up.
const MAX_DEATHS_BEFORE_START: u32 = 5;

struct Launcher<'a> {
    launch: &'a Launch,
    signals: &'a Signals,
    control: Channel,
    supervisor: Pid,
    address: Ipv4Addr,
    /// Empty once the command has ended: then the workload's address must refuse.
    listeners: Vec<HostListener>,
    proxy: ProxyProcess<'a>,
    /// How the proxy ended, to be told when it is started again: it may yet turn out to be the end
    /// of the launch, of which there is more to tell.
    proxy_ended: Option<String>,
    started: bool,
    stopping: bool,
    /// How the command ended, and until when the proxy may drain.
    ended: Option<(Ending, Instant)>,
}

/// Launches the workload and stays until it has ended. The caller then passes the ending on with
/// [`Ending::leave`], or prints the error and exits with [`LaunchError::exit_code`].
///
/// The calling process must have one thread; it must have no children of its own, since all are
/// ended; and its signals are taken over while this runs.
pub fn launch(launch: &Launch) -> Result<Ending, LaunchError> {
    if launch.command.is_empty() {
        return Err(LaunchError::NoCommand);
    }
    if launch.ports.contains(&0) {
        return Err(LaunchError::PortZero);
    }
    if let Some(address) = launch.advertise.filter(IpAddr::is_unspecified) {
        return Err(LaunchError::AdvertisedWildcard(address));
    }
    let reserved = [OUTBOUND_PORT, INBOUND_PORT, DNS_PORT, METRICS_PORT];
    if let Some(port) = launch.ports.iter().find(|port| reserved.contains(port)) {
        return Err(LaunchError::ReservedPort(*port));
    }
    run(launch)
}

fn run(launch: &Launch) -> Result<Ending, LaunchError> {
    let threads = process::threads()?;
    if threads != 1 {
        return Err(LaunchError::Threads(threads));
    }
    let signals = Signals::block()?;
    // What outlives a killed supervisor comes to this process, and is ended here.
    rustix::process::set_child_subreaper(Some(getpid())).map_err(io::Error::from)?;
    // The supervisor furnishes its namespaces while the ports are bound, and inherits none.
    let (control, supervisor) = start_supervisor(launch, &signals)?;
    let result = host_listeners::bind(launch).and_then(|(address, listeners)| {
        let mut launcher = Launcher {
            launch,
            signals: &signals,
            control,
            supervisor,
            address,
            listeners,
            proxy: ProxyProcess::new(&launch.proxy),
            proxy_ended: None,
            started: false,
            stopping: false,
            ended: None,
        };
        launcher.serve()
    });
    descendants::end_all();
    result
}

fn start_supervisor(launch: &Launch, signals: &Signals) -> io::Result<(Channel, Pid)> {
    let launcher = getpid();
    let (ours, theirs) = Channel::pair()?;
    let (mut ours, mut theirs) = (Some(ours), Some(theirs));
    let pid = process::fork_into(|| {
        // The copy of our end must go, or the supervisor would never see it close.
        drop(ours.take());
        theirs
            .take()
            .map_or(1, |control| supervisor::run(launch, control, launcher, signals))
    })?;
    drop(theirs);
    let control = ours.ok_or(io::ErrorKind::NotConnected)?;
    Ok((control, pid))
}

impl Launcher<'_> {
    fn serve(&mut self) -> Result<Ending, LaunchError> {
        loop {
            let deadline = [self.proxy.restart_at(), self.ended.map(|(_, until)| until)]
                .into_iter()
                .flatten()
                .min();
            let control = Some((self.control.as_fd(), false));
            let signals = Some((self.signals.as_fd(), false));
            let [control, signals] = readiness::wait([control, signals], deadline)?;
            // The supervisor's last words come before the news of its death.
            if control {
                self.take_reports()?;
            }
            if signals && let Some(ending) = self.take_signals()? {
                return Ok(ending);
            }
            let now = Instant::now();
            if let Some((ending, until)) = self.ended
                && (until <= now || self.proxy.pid().is_none())
            {
                return Ok(ending);
            }
            if self.proxy.restart_at().is_some_and(|at| at <= now) {
                self.start_proxy()?;
            }
        }
    }

    // === the supervisor ===

    fn take_reports(&mut self) -> Result<(), LaunchError> {
        loop {
            match self.control.try_recv() {
                Ok(Some((report, _))) => self.report(report)?,
                Ok(None) => return Err(LaunchError::SupervisorLost),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn report(&mut self, report: FromSupervisor) -> Result<(), LaunchError> {
        match report {
            FromSupervisor::NamespaceReady => self.start_proxy()?,
            FromSupervisor::NamespaceFailed(message) => return Err(LaunchError::Namespace(message)),
            FromSupervisor::Started => self.started = true,
            FromSupervisor::NotStarted(errno) => {
                return Err(LaunchError::Command {
                    program: self.launch.command.first().cloned().unwrap_or_default(),
                    source: io::Error::from_raw_os_error(errno),
                });
            }
            FromSupervisor::ProxyFailed(message) if !self.started => return Err(LaunchError::Proxy(message)),
            FromSupervisor::ProxyFailed(message) => warn(&message),
            FromSupervisor::ProxyDrained => {
                if self.ended.is_some() {
                    self.proxy.kill();
                }
            }
            FromSupervisor::Ended(ending) => {
                self.listeners.clear();
                // A proxy that never was ready has nothing to drain.
                let drain = if self.started {
                    self.launch.drain
                } else {
                    Duration::ZERO
                };
                self.ended = Some((ending, Instant::now() + drain));
            }
        }
        Ok(())
    }

    fn order(&self, order: &ToSupervisor) {
        // If it is gone, that is seen elsewhere.
        let _ = self.control.send(order);
    }

    // === the proxy ===

    fn start_proxy(&mut self) -> Result<(), LaunchError> {
        if let Some(how) = self.proxy_ended.take() {
            warn(&format!("the proxy ended ({how}) and is started again"));
        }
        let started = self
            .proxy
            .start(
                self.address,
                &self.listeners,
                self.signals.original(),
                Instant::now(),
            )
            .and_then(|channel| self.control.try_send(&ToSupervisor::Proxy, &[channel.as_fd()]));
        match started {
            Ok(()) => Ok(()),
            Err(error) if self.started => {
                self.proxy.kill();
                let pause = self.proxy.died(Instant::now());
                warn(&format!(
                    "the proxy cannot be started: {error}; trying again in {pause:?}"
                ));
                Ok(())
            }
            Err(error) => {
                let program = self.launch.proxy.command.first().cloned().unwrap_or_default();
                Err(LaunchError::Proxy(format!(
                    "cannot start the proxy — {}: {error} — check the installation of leno",
                    program.to_string_lossy()
                )))
            }
        }
    }

    fn proxy_died(&mut self, status: WaitStatus) -> Result<(), LaunchError> {
        if self.ended.is_some() {
            self.proxy.ended();
            return Ok(());
        }
        let how = Ending::of(status).map_or_else(|| "unknown reason".to_owned(), |ending| ending.to_string());
        self.proxy.died(Instant::now());
        if !self.started && self.proxy.deaths() >= MAX_DEATHS_BEFORE_START {
            return Err(LaunchError::Proxy(format!(
                "the proxy ended {MAX_DEATHS_BEFORE_START} times before it was ready — {how} — see its messages above"
            )));
        }
        self.proxy_ended = Some(how);
        Ok(())
    }

    // === signals ===

    /// An ending if a signal asks for one at once.
    fn take_signals(&mut self) -> Result<Option<Ending>, LaunchError> {
        while let Some(received) = self.signals.next()? {
            if received.number == libc::SIGCHLD {
                self.reap()?;
            } else if let Some(ending) = self.pass_on(received) {
                return Ok(Some(ending));
            }
        }
        Ok(None)
    }

    /// Does with a signal what the command would have done with it, had it been started directly.
    fn pass_on(&mut self, Received { number, by_a_process }: Received) -> Option<Ending> {
        let stops = matches!(
            number,
            libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT
        );
        if stops && let Some((ending, _)) = self.ended {
            // Asked a second time: no more draining.
            return Some(ending);
        }
        // What the terminal sends goes to the whole process group, so the command has it; only that
        // it has gone is told to the leader of its session alone.
        let to_us_alone = matches!(number, libc::SIGHUP | libc::SIGCONT) && process::leads_session();
        if by_a_process || to_us_alone {
            self.order(&ToSupervisor::Signal(number));
        }
        if stops && !self.stopping {
            self.stopping = true;
            let drain_ms = milliseconds(self.launch.drain);
            self.order(&ToSupervisor::Stop {
                signal: number,
                drain_ms,
            });
        }
        if number == libc::SIGTSTP {
            // A shell with job control waits for this process to stop.
            signals::raise(libc::SIGTSTP);
        }
        None
    }

    fn reap(&mut self) -> Result<(), LaunchError> {
        loop {
            let (pid, status) = match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(reaped)) => reaped,
                Err(Errno::INTR) => continue,
                Ok(None) | Err(_) => return Ok(()),
            };
            // Why they died was said before they did.
            self.take_reports()?;
            if Some(pid) == self.proxy.pid() {
                self.proxy_died(status)?;
            } else if pid == self.supervisor {
                return Err(LaunchError::SupervisorLost);
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// On stderr, where the command's own messages go: nobody else would hear of it.
fn warn(message: &str) {
    eprintln!("warning: {message}");
}
