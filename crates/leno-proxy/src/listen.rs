//! Listening sockets: bound here by configuration, or passed in already bound.
//!
//! A socket belongs to a listener by name. It is accepted from only once its listener is in force, so that early
//! connections wait in the backlog instead of being refused.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::sync::Arc;

use leno_engine::compile::listener::{Address, Listener, Pipe, SocketSettings};
use leno_engine::compile::socket::{SocketOption, When};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::watch;

use crate::inbox::Workers;
use crate::socket::{ListenSocket, Listening, NOWHERE, Origin};
use crate::socket_options::apply;

const BACKLOG: i32 = 4096;

/// A socket that somebody else has bound.
#[derive(Debug)]
pub struct PassedSocket {
    /// The listener it belongs to.
    pub listener: String,
    pub origin: Origin,
    pub socket: OwnedFd,
}

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "cannot listen on {address}: {source} — listener {listener} — {}",
        remedy(source)
    )]
    Bind {
        listener: String,
        address: Address,
        source: io::Error,
    },
    #[error("cannot use the socket passed for listener {listener} — {source}")]
    Passed { listener: String, source: io::Error },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "end what listens there (ss -ltnp shows it), or open another port in its place (leno proxy gateway: --map \
             PORT:OTHER)"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for root: open another one in its place (leno proxy gateway: --map 80:8080), or allow it \
             (setcap cap_net_bind_service=+ep on the program, or sysctl net.ipv4.ip_unprivileged_port_start=80)"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: listen on one that it has",
        _ => "listen elsewhere",
    }
}

#[derive(Debug)]
pub(crate) struct Sockets {
    workers: Workers,
    by_listener: HashMap<String, Vec<Held>>,
}

#[derive(Debug)]
struct Held {
    socket: Arc<ListenSocket>,
    open: watch::Sender<bool>,
    /// The address it was bound for, which has port 0 where the kernel chose.
    wanted: Address,
    passed: bool,
}

// === impl Sockets ===

impl Sockets {
    pub(crate) fn new(workers: Workers, passed: Vec<PassedSocket>) -> Result<Self, BindError> {
        let mut sockets = Self {
            workers,
            by_listener: HashMap::new(),
        };
        for PassedSocket {
            listener,
            origin,
            socket,
        } in passed
        {
            let socket = Listening::Tcp(TcpListener::from(socket));
            sockets
                .hold(listener.clone(), origin, socket, None)
                .map_err(|source| BindError::Passed { listener, source })?;
        }
        Ok(sockets)
    }

    /// Binds what the listener wants and is not there yet; lets go of addresses it no longer has.
    pub(crate) fn bind(&mut self, listener: &Listener) -> Result<(), BindError> {
        let held = self.by_listener.entry(listener.name.clone()).or_default();
        if !listener.bind_to_port || held.iter().any(|h| h.passed) {
            return Ok(());
        }
        let is_held = |address: &&Address| held.iter().any(|h| h.wanted == **address);
        let missing = listener.addresses.iter().filter(|address| !is_held(address));
        let missing: Vec<Address> = missing.cloned().collect();
        held.retain(|h| listener.addresses.contains(&h.wanted));
        for held in held.iter() {
            held.renew(options(listener, &held.wanted))
                .map_err(|source| BindError::Bind {
                    listener: described(listener),
                    address: held.wanted.clone(),
                    source,
                })?;
        }
        let origin = match listener {
            Listener {
                use_original_dst: true,
                ..
            } => Origin::Redirected,
            _ if listener.socket.transparent => Origin::Local,
            _ if listener.filters.original_dst => Origin::Asked,
            _ => Origin::Own,
        };
        for address in missing {
            let bound = bind(&address, listener.socket, options(listener, &address))
                .and_then(|socket| self.hold(listener.name.clone(), origin, socket, Some(address.clone())));
            bound.map_err(|source| BindError::Bind {
                listener: described(listener),
                address,
                source,
            })?;
        }
        Ok(())
    }

    fn hold(
        &mut self,
        listener: String,
        origin: Origin,
        socket: Listening,
        bound: Option<Address>,
    ) -> io::Result<()> {
        let address = match &socket {
            Listening::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                // Accepted connections inherit it: once here instead of once each.
                SockRef::from(socket).set_tcp_nodelay(true)?;
                socket.local_addr()?
            }
            Listening::Unix(socket, _) => {
                socket.set_nonblocking(true)?;
                NOWHERE
            }
        };
        let (open, opened) = watch::channel(false);
        let socket = Arc::new(ListenSocket {
            listener: listener.clone(),
            origin,
            address,
            fixed: bound.is_some() && !address.ip().is_unspecified(),
            socket,
            open: opened,
        });
        self.by_listener.entry(listener).or_default().push(Held {
            socket,
            open,
            passed: bound.is_none(),
            wanted: bound.unwrap_or(Address::Socket(address)),
        });
        Ok(())
    }

    /// Lets workers accept from the sockets of listeners that are in force.
    pub(crate) fn open(&mut self, in_force: impl Fn(&str) -> bool) {
        for (_, held) in self.by_listener.iter().filter(|(name, _)| in_force(name)) {
            for held in held.iter().filter(|h| !*h.open.borrow()) {
                held.open.send_replace(true);
                self.workers.accept_from(Arc::clone(&held.socket));
            }
        }
    }

    /// Stops accepting. A socket that was passed in stays: it cannot be bound again, and what comes meanwhile waits
    /// in its backlog for the listener's return, or for a successor that has the same descriptor.
    pub(crate) fn close(&mut self, listener: &str) {
        if let Some(held) = self.by_listener.get_mut(listener) {
            for passed in held.iter().filter(|h| h.passed) {
                passed.open.send_replace(false);
            }
            // Dropping the sender ends the accept loop, and with it the socket.
            held.retain(|h| h.passed);
        }
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    pub(crate) fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let held = self.by_listener.get(listener);
        let held = held.iter().flat_map(|held| held.iter());
        let tcp = held.filter(|h| matches!(h.socket.socket, Listening::Tcp(_)));
        tcp.map(|h| h.socket.address).collect()
    }

    /// As bound: with the port that the kernel chose.
    pub(crate) fn listening(&self, listener: &str) -> Vec<Address> {
        let held = self.by_listener.get(listener);
        let held = held.iter().flat_map(|held| held.iter());
        let bound = held.map(|h| match h.socket.socket {
            Listening::Tcp(_) => Address::Socket(h.socket.address),
            Listening::Unix(..) => h.wanted.clone(),
        });
        bound.collect()
    }
}

impl Held {
    /// What is said of a socket that is open already.
    fn renew(&self, options: &[SocketOption]) -> io::Result<()> {
        let Listening::Tcp(socket) = &self.socket.socket else {
            return Ok(());
        };
        let (socket, ipv6) = (SockRef::from(socket), self.socket.address.is_ipv6());
        [When::Created, When::Bound, When::Listening]
            .into_iter()
            .try_for_each(|when| apply(options, &socket, ipv6, when))
    }
}

fn options<'l>(listener: &'l Listener, address: &Address) -> &'l [SocketOption] {
    let mut all = listener.addresses.iter().zip(&listener.options);
    all.find(|(own, _)| *own == address)
        .map_or(&[], |(_, options)| options)
}

/// With what its first chain says of who wants it.
fn described(listener: &Listener) -> String {
    let chain = listener.chains.iter().chain(&listener.default_chain).next();
    match chain.map(|chain| chain.name.as_str()) {
        Some(chain) if !chain.is_empty() && chain != listener.name => format!("{} of {chain}", listener.name),
        _ => listener.name.clone(),
    }
}

fn bind(address: &Address, settings: SocketSettings, options: &[SocketOption]) -> io::Result<Listening> {
    match address {
        Address::Socket(address) => bind_tcp(*address, settings, options).map(Listening::Tcp),
        Address::Pipe(pipe) => {
            let name = pipe.path.to_string_lossy().into();
            Ok(Listening::Unix(bind_pipe(pipe)?, name))
        }
        // Refused when it is compiled.
        Address::Internal(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// What an earlier process has left in the file system is taken over, as in Envoy.
fn bind_pipe(pipe: &Pipe) -> io::Result<UnixListener> {
    if let [b'@', name @ ..] = pipe.path.as_os_str().as_bytes() {
        return UnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?);
    }
    match fs::remove_file(&pipe.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&pipe.path)?;
    if pipe.mode != 0 {
        fs::set_permissions(&pipe.path, fs::Permissions::from_mode(pipe.mode))?;
    }
    Ok(socket)
}

fn bind_tcp(
    address: SocketAddr,
    settings: SocketSettings,
    options: &[SocketOption],
) -> io::Result<TcpListener> {
    let protocol = match settings.mptcp {
        true => Protocol::MPTCP,
        false => Protocol::TCP,
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
    let apply = |when| apply(options, &SockRef::from(&socket), address.is_ipv6(), when);
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match (settings.transparent, address.is_ipv6()) {
        (true, false) => socket.set_ip_transparent_v4(true)?,
        (true, true) => socket.set_ip_transparent_v6(true)?,
        (false, _) => {}
    }
    match (settings.freebind, address.is_ipv6()) {
        (true, false) => socket.set_freebind_v4(true)?,
        (true, true) => socket.set_freebind_v6(true)?,
        (false, _) => {}
    }
    apply(When::Created)?;
    socket.bind(&address.into())?;
    apply(When::Bound)?;
    let backlog = settings
        .backlog
        .map(|size| i32::try_from(size).unwrap_or(i32::MAX));
    socket.listen(backlog.unwrap_or(BACKLOG))?;
    apply(When::Listening)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use leno_engine::compile::socket::What;

    use super::*;

    #[test]
    fn a_socket_of_ipv6_takes_ipv4_only_where_that_is_said() {
        let any: SocketAddr = "[::]:0".parse().unwrap();
        let both = SocketOption {
            what: What::OnlyV6(false),
            when: When::Created,
            family: None,
        };
        for (options, taken) in [(&[][..], false), (&[both][..], true)] {
            let socket = bind_tcp(any, SocketSettings::default(), options).unwrap();
            let port = socket.local_addr().unwrap().port();
            assert!(TcpStream::connect(("::1", port)).is_ok());
            assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_ok(), taken);
        }
    }

    #[test]
    fn a_socket_speaks_multipath_tcp_where_that_is_wanted() {
        for mptcp in [true, false] {
            let settings = SocketSettings {
                mptcp,
                ..SocketSettings::default()
            };
            let bound = bind_tcp(([127, 0, 0, 1], 0).into(), settings, &[]);
            let socket = match bound {
                Ok(socket) => socket,
                // The kernel has none.
                Err(error) if mptcp && error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => continue,
                Err(error) => panic!("{error}"),
            };
            let wanted = if mptcp { Protocol::MPTCP } else { Protocol::TCP };
            assert_eq!(SockRef::from(&socket).protocol().unwrap(), Some(wanted));
        }
    }
}
