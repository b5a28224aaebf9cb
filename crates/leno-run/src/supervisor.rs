//! The supervisor: alone in the application's namespaces, parent of the command, maker of sockets.
//!
//! It stays small and without threads. A process outside may not enter these namespaces, so the
//! one that made them is the only one that can open sockets in them, for this proxy and for the
//! next; and it must not end before everything that the command has started.

use std::{io, os::fd::AsFd as _, time::Instant};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, getpid, getppid},
};

use crate::{
    channel::Channel,
    child,
    control::{FromSupervisor, ToSupervisor},
    descendants,
    ending::Ending,
    launch::Launch,
    listening::{Change, PortWatch},
    message::{Family, FromProxy, MAX_SOCKETS, ToProxy},
    namespace::{self, Namespace},
    outbox::Outbox,
    process, readiness,
    signals::Signals,
    sockets,
};

/// Ports below this need a right that the command has in its own namespace only.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

struct Supervisor<'a> {
    launch: &'a Launch,
    launcher: Pid,
    signals: &'a Signals,
    control: Channel,
    namespace: Namespace,
    proxy: Option<Outbox>,
    ports: PortWatch,
    next_look: Option<Instant>,
    command: Command,
    /// The command was asked to stop, and the drain time that goes with it.
    stopping: Option<u64>,
}

enum Command {
    Waiting,
    Running(Pid),
    Ended(Ending),
}

/// The life of the supervisor, in a process of its own; the result is its exit code. `signals`
/// must be blocked already, or one could come between the fork and now.
pub(crate) fn run(launch: &Launch, control: Channel, launcher: Pid, signals: &Signals) -> i32 {
    // When the launcher dies, there is still work to do: not KILL.
    let tied = process::end_with(launcher, Signal::TERM)
        .and_then(|()| Ok(rustix::process::set_child_subreaper(Some(getpid()))?));
    if tied.is_err() {
        return 1;
    }
    let low_ports = launch.ports.iter().any(|port| *port < FIRST_UNPRIVILEGED_PORT);
    let namespace = match namespace::enter(&launch.search, low_ports) {
        Ok(namespace) => namespace,
        Err(error) => {
            // Without a launcher there is nobody to tell.
            let _ = control.send(&FromSupervisor::NamespaceFailed(error.to_string()));
            return 1;
        }
    };
    let mut supervisor = Supervisor {
        launch,
        launcher,
        signals,
        control,
        namespace,
        proxy: None,
        ports: PortWatch::new(&launch.ports),
        next_look: None,
        command: Command::Waiting,
        stopping: None,
    };
    // It returns only when the launcher is gone, or when nothing works any more.
    let result = supervisor.serve();
    descendants::end_all();
    i32::from(result.is_err())
}

impl Supervisor<'_> {
    /// Until the launcher is gone.
    fn serve(&mut self) -> io::Result<()> {
        self.control.send(&FromSupervisor::NamespaceReady)?;
        loop {
            let proxy = self
                .proxy
                .as_ref()
                .map(|proxy| (proxy.channel().as_fd(), proxy.wants_room()));
            let control = Some((self.control.as_fd(), false));
            let signals = Some((self.signals.as_fd(), false));
            let [control, signals, proxy] = readiness::wait([control, signals, proxy], self.next_look)?;
            if control && !self.take_orders()? {
                return Ok(());
            }
            if signals {
                self.take_signals()?;
            }
            if getppid() != Some(self.launcher) {
                return Ok(());
            }
            if proxy {
                self.serve_proxy()?;
            }
            if self.next_look.is_some_and(|at| at <= Instant::now()) {
                self.look_at_ports();
            }
        }
    }

    // === the launcher ===

    /// False if the launcher is gone.
    fn take_orders(&mut self) -> io::Result<bool> {
        loop {
            match self.control.try_recv() {
                Ok(Some((ToSupervisor::Proxy, descriptors))) => {
                    if let Some(channel) = descriptors.into_iter().next() {
                        self.attach(Channel::from(channel));
                    }
                }
                Ok(Some((ToSupervisor::Signal(number), _))) => {
                    if let Command::Running(pid) = self.command {
                        process::signal(pid, number);
                    }
                }
                Ok(Some((ToSupervisor::Stop { signal, drain_ms }, _))) => {
                    self.stopping = Some(drain_ms);
                    self.tell_proxy(ToProxy::Stopping { drain_ms });
                    if matches!(self.command, Command::Waiting) {
                        self.command_ended(Ending::Signaled(signal))?;
                    }
                }
                Ok(None) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// A new proxy gets everything that the last one knew.
    fn attach(&mut self, channel: Channel) {
        self.proxy = Some(Outbox::new(channel));
        let mut listeners = Vec::new();
        let mut descriptors = Vec::new();
        for (listener, socket) in &self.namespace.listeners {
            listeners.push(listener.clone());
            match socket.try_clone() {
                Ok(socket) => descriptors.push(socket),
                // Its channel closed, this proxy ends, and the launcher starts the next.
                Err(_) => {
                    self.proxy = None;
                    return;
                }
            }
        }
        self.tell_proxy_with(ToProxy::Listeners(listeners), descriptors);
        let known: Vec<Change> = self.ports.known().collect();
        for change in known {
            self.tell_proxy(change.into());
        }
        if let Some(drain_ms) = self.stopping {
            self.tell_proxy(ToProxy::Stopping { drain_ms });
        }
        if let Command::Ended(ending) = self.command {
            self.tell_proxy(ToProxy::Exited { code: ending.code() });
        }
    }

    // === the proxy ===

    fn serve_proxy(&mut self) -> io::Result<()> {
        loop {
            let Some(proxy) = &mut self.proxy else {
                return Ok(());
            };
            proxy.flush();
            match proxy.next() {
                Ok(Some(FromProxy::Ready)) => self.start_command()?,
                Ok(Some(FromProxy::NeedSockets { family, count })) => self.give_sockets(family, count),
                Ok(Some(FromProxy::Failed { message })) => {
                    self.control.send(&FromSupervisor::ProxyFailed(message))?;
                }
                Ok(Some(FromProxy::Drained)) => self.control.send(&FromSupervisor::ProxyDrained)?,
                Ok(None) => return Ok(()),
                // It died, or talks nonsense; the launcher sees the former, and the proxy the
                // latter when its channel closes.
                Err(_) => self.proxy = None,
            }
        }
    }

    fn give_sockets(&mut self, family: Family, count: usize) {
        let count = count.min(MAX_SOCKETS);
        let mut given = Vec::with_capacity(count);
        let mut refusal = None;
        while given.len() < count && refusal.is_none() {
            match sockets::tcp(family) {
                Ok(socket) => given.push(socket),
                Err(error) => refusal = Some(error.to_string()),
            }
        }
        self.tell_proxy_with(
            ToProxy::Sockets {
                family,
                error: refusal,
            },
            given,
        );
    }

    fn tell_proxy(&mut self, message: ToProxy) {
        self.tell_proxy_with(message, Vec::new());
    }

    fn tell_proxy_with(&mut self, message: ToProxy, descriptors: Vec<std::os::fd::OwnedFd>) {
        if let Some(proxy) = &mut self.proxy {
            proxy.push(message, descriptors);
        }
    }

    // === the command ===

    fn start_command(&mut self) -> io::Result<()> {
        // The word of a second proxy: the command runs since the first one's.
        if !matches!(self.command, Command::Waiting) {
            return Ok(());
        }
        match child::start(&self.launch.command, self.signals.original()) {
            Ok(pid) => {
                self.command = Command::Running(pid);
                self.next_look = self.ports.pause().map(|_| Instant::now());
                self.control.send(&FromSupervisor::Started)
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                self.control.send(&FromSupervisor::NotStarted(errno))
            }
        }
    }

    fn look_at_ports(&mut self) {
        // A look that fails, for want of descriptors or memory, has seen nothing; the next one will.
        for change in self.ports.look().unwrap_or_default() {
            self.tell_proxy(change.into());
        }
        self.next_look = self.ports.pause().map(|pause| Instant::now() + pause);
    }

    /// Of the signals only the death of a child means something here: the launcher forwards what
    /// is for the command, and the terminal gives its own to the command itself.
    fn take_signals(&mut self) -> io::Result<()> {
        while let Some(received) = self.signals.next()? {
            if received.number == libc::SIGCHLD {
                self.reap()?;
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, status) = match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(reaped)) => reaped,
                Err(Errno::INTR) => continue,
                Ok(None) | Err(_) => return Ok(()),
            };
            if matches!(self.command, Command::Running(command) if command == pid)
                && let Some(ending) = Ending::of(status)
            {
                self.command_ended(ending)?;
            }
        }
    }

    fn command_ended(&mut self, ending: Ending) -> io::Result<()> {
        self.command = Command::Ended(ending);
        self.next_look = None;
        // The launcher first: it must know why the proxy ends.
        self.control.send(&FromSupervisor::Ended(ending))?;
        self.tell_proxy(ToProxy::Exited { code: ending.code() });
        descendants::end_all();
        Ok(())
    }
}

impl From<Change> for ToProxy {
    fn from(change: Change) -> Self {
        match change {
            Change::Listening(port, family) => Self::Listening { port, family },
            Change::Closed(port) => Self::Closed { port },
        }
    }
}
