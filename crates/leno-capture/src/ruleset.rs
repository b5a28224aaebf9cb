//! nf_tables rules as plain data: the little of them that redirection needs.

use ipnet::IpNet;

/// One table of family `inet`, which sees IPv4 and IPv6, comes in one transaction and goes with
/// one command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ruleset {
    /// The table's name.
    pub table: String,
    /// Its base chains.
    pub chains: Vec<Chain>,
}

/// A base chain; its policy is always to accept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chain {
    /// Its name in the table.
    pub name: String,
    /// What its rules may do.
    pub kind: ChainKind,
    /// Which packets it sees.
    pub hook: Hook,
    /// Its place among other chains at the hook; lower is earlier.
    pub priority: i32,
    /// Tried in order until one gives a verdict.
    pub rules: Vec<Rule>,
}

/// What a chain's rules may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChainKind {
    /// Rewrites addresses; sees the first packet of each connection only.
    Nat,
    /// Accepts or refuses; sees every packet.
    Filter,
}

/// Which packets a chain sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    /// What comes in from an interface, before it is routed.
    Prerouting,
    /// What processes in this namespace send.
    Output,
}

/// A rule: the verdict holds if all of `matches` do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// All must hold.
    pub matches: Vec<Match>,
    /// What then happens.
    pub verdict: Verdict,
}

/// One condition on a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Match {
    /// The transport protocol.
    Protocol(Protocol),
    /// The transport protocol and its destination port.
    DestinationPort(Protocol, u16),
    /// The destination address, of either family.
    DestinationNet(IpNet),
    /// The destination is an address of this namespace.
    DestinationLocal,
    /// The destination is no address of this namespace.
    DestinationElsewhere,
    /// The user that owns the sending socket.
    SocketUid(u32),
    /// The packet's mark (`SO_MARK` of its socket).
    Mark(u32),
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It passes unchanged.
    Return,
    /// It goes to this port of this machine.
    Redirect(u16),
    /// It is refused with "port unreachable".
    Reject,
}
