//! What is to be launched, and what can go wrong.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use thiserror::Error;

/// A command, and the proxy that stands beside it.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The workload's name, from which its address is derived.
    pub name: String,
    /// The domains in which the command's short names are looked up; see [`crate::cluster_search`].
    pub search: Vec<String>,
    /// The ports on which the command will listen.
    pub ports: Vec<u16>,
    /// An address of this host on which the ports are served too, for other machines.
    pub advertise: Option<IpAddr>,
    /// Plain ways in from the host.
    pub publish: Vec<Publish>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// The proxy.
    pub proxy: ProxyCommand,
    /// How long open requests may take once the command is being stopped, and how long the proxy
    /// may live on after the command.
    pub drain: Duration,
}

/// The program that is the proxy. It finds its sockets with [`crate::Handoff::take`].
#[derive(Clone, Debug)]
pub struct ProxyCommand {
    /// Program and arguments, for instance `/proc/self/exe proxy sidecar`.
    pub command: Vec<OsString>,
    /// Variables beside the inherited environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// A port of the host that leads to the workload in plain: `[ADDRESS:]HOST_PORT:PORT`, on
/// 127.0.0.1 if no address is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Publish {
    /// Where the host listens.
    pub host: SocketAddr,
    /// The workload's port.
    pub port: u16,
}

/// Why a command was not launched, or was lost. The texts say what, where, and how to mend it.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The calling process has several threads: a mistake of the program.
    #[error("a process with {0} threads cannot launch a workload — leno — this is a bug, please report it")]
    Threads(usize),
    /// No command was given.
    #[error("there is no command to run — after `--` — give the program and its arguments")]
    NoCommand,
    /// A declared port is leno's own.
    #[error("port {0} is one of leno's own — in the workload's network namespace — use another port")]
    ReservedPort(u16),
    /// Port 0 was declared.
    #[error("port 0 is no port — among the declared ports — give the port on which the command listens")]
    PortZero,
    /// The advertised address is a wildcard, which nobody can call, and which would take the
    /// workload's own address too.
    #[error(
        "{0} cannot be advertised — it is no address that others could call — give one of this machine's own"
    )]
    AdvertisedWildcard(IpAddr),
    /// Somebody listens there already.
    #[error("port taken — {address}{} — stop it, or use another port", .owner.as_ref().map(|owner| format!(", by {owner}")).unwrap_or_default())]
    PortTaken {
        /// Where.
        address: SocketAddr,
        /// Who, if that can be seen.
        owner: Option<String>,
    },
    /// An ordinary user may not listen there.
    #[error(
        "an ordinary user may not listen below port {first} — {address} — use a higher port, or `sudo sysctl \
         net.ipv4.ip_unprivileged_port_start={}`", .address.port()
    )]
    PortForbidden {
        /// Where.
        address: SocketAddr,
        /// The first port that is allowed.
        first: u16,
    },
    /// Listening failed otherwise.
    #[error("cannot listen — {address}: {source} — give an address of this machine")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// This machine cannot give the command its namespaces; the text is complete.
    #[error("{0}")]
    Namespace(String),
    /// The proxy could not be started, or gave up before the command was started; the text is the
    /// proxy's own, or says how it ended.
    #[error("{0}")]
    Proxy(String),
    /// The command could not be executed.
    #[error("cannot run `{}` — {source} — check its name, PATH and permissions", .program.to_string_lossy())]
    Command {
        /// The program.
        program: OsString,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The supervisor was killed, and everything has been ended.
    #[error(
        "the workload's supervisor was killed — the command and its children were ended with it — run it again"
    )]
    SupervisorLost,
    /// The system failed us.
    #[error("cannot launch the workload — {0} — check the limits on processes and open files")]
    System(#[from] io::Error),
}

impl LaunchError {
    /// The exit code that a shell would give: 127 for a command that is not there, 126 for one
    /// that cannot be executed, otherwise 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            _ => 1,
        }
    }
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not [ADDRESS:]HOST_PORT:PORT, for instance 8080:9080");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = match host.parse() {
            Ok(port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            Err(_) => host.parse().map_err(|_| wrong())?,
        };
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if port == 0 || host.port() == 0 {
            return Err(wrong());
        }
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_has_an_address_or_means_loopback() {
        let published = |text: &str| {
            text.parse::<Publish>()
                .map(|publish| (publish.host.to_string(), publish.port))
        };
        assert_eq!(published("8080:9080"), Ok(("127.0.0.1:8080".to_owned(), 9080)));
        assert_eq!(published("0.0.0.0:80:9080"), Ok(("0.0.0.0:80".to_owned(), 9080)));
        assert_eq!(published("[::1]:80:9080"), Ok(("[::1]:80".to_owned(), 9080)));
        for wrong in ["", "80", "x:80", "80:x", "70000:80", "::1:80", "0:80", "80:0"] {
            assert!(published(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let code = |kind: io::ErrorKind| {
            LaunchError::Command {
                program: "x".into(),
                source: kind.into(),
            }
            .exit_code()
        };
        assert_eq!(code(io::ErrorKind::NotFound), 127);
        assert_eq!(code(io::ErrorKind::PermissionDenied), 126);
        assert_eq!(LaunchError::NoCommand.exit_code(), 1);
    }
}
