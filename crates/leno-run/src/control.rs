//! What launcher and supervisor say to each other.

use serde::{Deserialize, Serialize};

use crate::ending::Ending;

/// From the launcher to the supervisor.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum ToSupervisor {
    /// A proxy was started; the descriptor is the supervisor's end of its channel.
    Proxy,
    /// Send the command this signal.
    Signal(i32),
    /// The command is being stopped by this signal: tell the proxy. A command that has not been
    /// started never will be.
    Stop {
        /// Its number; it is sent to the command by a message of its own, if at all.
        signal: i32,
        /// See [`crate::ToProxy::Stopping`].
        drain_ms: u64,
    },
}

/// From the supervisor to the launcher.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum FromSupervisor {
    /// The namespaces are there: start the proxy.
    NamespaceReady,
    /// They cannot be had; the message is for the user.
    NamespaceFailed(String),
    /// The command runs.
    Started,
    /// The command could not be executed; the error number.
    NotStarted(i32),
    /// The proxy said that it cannot work.
    ProxyFailed(String),
    /// The proxy needs no more time.
    ProxyDrained,
    /// The command has ended; what it started is being ended.
    Ended(Ending),
}
