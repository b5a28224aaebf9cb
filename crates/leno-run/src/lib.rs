//! Running a process in the mesh: its own namespaces, its sockets, its life and its end.
//!
//! Three processes, of which only the last knows the mesh:
//!
//! - the **launcher** ([`launch`], in the caller's process): binds the workload's listeners in the
//!   host, starts the other two, forwards signals, passes the exit code through, and starts the
//!   proxy anew if it dies;
//! - the **supervisor** (forked from it): alone in a new user, network and mount namespace, which
//!   it sets up; makes all sockets there, and is the parent and reaper of the command;
//! - the **proxy** (any program: [`Launch::proxy`]): stays in the host's namespaces, gets its
//!   sockets by [`Handoff`] and over a [`Channel`], and says when the command may start.
//!
//! Whichever of them is killed, nothing is left behind: every process ends with its parent, and
//! supervisor and launcher are reapers that kill what reaches them. (A PID namespace would do it
//! too, but the command would then see other process ids than the host, and need a `/proc` of its
//! own, which containers forbid.)
//!
//! What a proxy has to do: take its [`Handoff`]; receive [`ToProxy::Listeners`], which is the
//! first message; ask for a stock of sockets ([`FromProxy::NeedSockets`]) and keep it filled, for
//! each connection to the application takes one; say [`FromProxy::Ready`] when the command may
//! start; end soon after [`ToProxy::Exited`]; and end when its channel closes. A proxy that is
//! started in the place of a dead one is told everything anew and says `Ready` again, which
//! then starts nothing.
//!
//! **The process that calls [`launch`] or [`probe`] must have one thread only**: a process with
//! threads can neither be forked safely nor enter a user namespace (unshare(2): EINVAL). Call
//! them from `main` before any runtime exists; both check it.

// fork, signalfd, madvise and the adoption of inherited descriptors need it; each use states why
// it is sound.
#![allow(unsafe_code)]

mod address;
mod channel;
mod child;
mod control;
mod descendants;
mod ending;
mod handoff;
mod host_listeners;
mod launch;
mod launcher;
mod listening;
mod message;
mod names;
mod namespace;
mod outbox;
mod port_owner;
mod ports;
mod probe;
mod process;
mod proxy_process;
mod readiness;
mod remedy;
mod resident;
mod signals;
mod sockets;
mod supervisor;

pub use self::{
    channel::Channel,
    ending::Ending,
    handoff::{Handoff, HandoffError, HostListener, HostRole},
    launch::{Launch, LaunchError, ProxyCommand, Publish},
    launcher::launch,
    listening::listening_sockets,
    message::{Family, FromProxy, MAX_SOCKETS, NamespaceListener, NamespaceRole, ToProxy},
    names::cluster_search,
    ports::{DNS_PORT, INBOUND_PORT, METRICS_PORT, OUTBOUND_PORT},
    probe::{Abilities, ProbeError, probe},
    resident::let_go_of_start_up,
};
pub use port_owner::find as port_owner;
