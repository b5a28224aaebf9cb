//! What is to be captured, in the mesh's words.
//!
//! The order of the rules is the meaning: the proxy's own traffic leaves first (else it would be
//! sent back to itself for ever), but for what it sends to this very workload, which arrives as
//! from anywhere else; DNS is taken before anything local is let through (a resolver
//! on 127.0.0.1:53 is the usual case), then what stays on this machine and what is excluded
//! passes, and the rest of TCP goes to the proxy.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::ruleset::{Chain, ChainKind, Hook, Match, Protocol, Rule, Ruleset, Verdict};

/// `NF_IP_PRI_NAT_DST`: where destinations are rewritten.
const PRIORITY_NAT: i32 = -100;
/// `NF_IP_PRI_FILTER`: after the rewriting, so that redirected queries are seen as local.
const PRIORITY_FILTER: i32 = 0;
const DNS: u16 = 53;
/// Where the proxy speaks to the application.
const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];
/// The table that a plan's rules stand in.
pub const TABLE: &str = "leno";

/// The redirection of one network namespace's traffic to a sidecar in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RedirectPlan {
    /// Where new outbound TCP connections go (15001).
    pub outbound: u16,
    /// Where inbound TCP connections go (15006), if the namespace is reached from outside.
    pub inbound: Option<u16>,
    /// Where DNS queries go, UDP and TCP (15053), if names are answered by the proxy.
    pub dns: Option<u16>,
    /// Users whose traffic is not captured: the proxy's own, 1337 in Istio.
    pub excluded_uids: Vec<u32>,
    /// Marks whose traffic is not captured: for a proxy that may set one, 0x539 in Istio.
    pub excluded_marks: Vec<u32>,
    /// Destinations that are not captured (istio-iptables `-x`).
    pub excluded_destinations: Vec<IpNet>,
    /// Outbound destination ports that are not captured (istio-iptables `-o`).
    pub excluded_outbound_ports: Vec<u16>,
    /// Inbound ports that are not captured (istio-iptables `-d`).
    pub excluded_inbound_ports: Vec<u16>,
    /// Refuse UDP that leaves the namespace (it could not be carried by the proxy anyway).
    pub refuse_udp: bool,
}

impl RedirectPlan {
    /// The plan as rules.
    pub fn ruleset(&self) -> Ruleset {
        let mut chains = vec![self.output()];
        if let Some(port) = self.inbound {
            chains.push(self.prerouting(port));
        }
        if self.refuse_udp {
            chains.push(refuse_udp());
        }
        Ruleset {
            table: TABLE.to_owned(),
            chains,
        }
    }

    fn output(&self) -> Chain {
        let mut rules = Vec::new();
        let proxies = self.excluded_uids.iter().map(|uid| Match::SocketUid(*uid));
        let proxies = proxies.chain(self.excluded_marks.iter().map(|mark| Match::Mark(*mark)));
        rules.extend(proxies.flat_map(|proxy| self.proxys_own(proxy)));
        if let Some(port) = self.dns {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                rules.push(Rule {
                    matches: vec![Match::DestinationPort(protocol, DNS)],
                    verdict: Verdict::Redirect(port),
                });
            }
        }
        rules.push(pass([Match::DestinationLocal]));
        rules.extend(
            self.excluded_destinations
                .iter()
                .map(|net| pass([Match::DestinationNet(*net)])),
        );
        rules.extend(self.excluded_outbound_ports.iter().map(|port| pass_port(*port)));
        rules.push(redirect_tcp(self.outbound));
        Chain {
            name: "output".to_owned(),
            kind: ChainKind::Nat,
            hook: Hook::Output,
            priority: PRIORITY_NAT,
            rules,
        }
    }

    /// A workload that calls its own service may be sent to itself, at its address: that has to go through the
    /// inbound listener, for the caller speaks mTLS. To the application the proxy speaks over loopback.
    fn proxys_own(&self, proxy: Match) -> Vec<Rule> {
        let mut rules = Vec::new();
        if let Some(inbound) = self.inbound {
            rules.extend(LOOPBACK.map(|net| pass([proxy, Match::DestinationNet(net)])));
            rules.push(Rule {
                matches: vec![proxy, Match::Protocol(Protocol::Tcp), Match::DestinationLocal],
                verdict: Verdict::Redirect(inbound),
            });
        }
        rules.push(pass([proxy]));
        rules
    }

    fn prerouting(&self, inbound: u16) -> Chain {
        let mut rules: Vec<_> = self
            .excluded_inbound_ports
            .iter()
            .map(|port| pass_port(*port))
            .collect();
        rules.push(redirect_tcp(inbound));
        Chain {
            name: "prerouting".to_owned(),
            kind: ChainKind::Nat,
            hook: Hook::Prerouting,
            priority: PRIORITY_NAT,
            rules,
        }
    }
}

fn refuse_udp() -> Chain {
    Chain {
        name: "refuse".to_owned(),
        kind: ChainKind::Filter,
        hook: Hook::Output,
        priority: PRIORITY_FILTER,
        rules: vec![Rule {
            matches: vec![Match::Protocol(Protocol::Udp), Match::DestinationElsewhere],
            verdict: Verdict::Reject,
        }],
    }
}

fn pass<const N: usize>(matches: [Match; N]) -> Rule {
    Rule {
        matches: matches.into(),
        verdict: Verdict::Return,
    }
}

fn pass_port(port: u16) -> Rule {
    pass([Match::DestinationPort(Protocol::Tcp, port)])
}

fn redirect_tcp(port: u16) -> Rule {
    Rule {
        matches: vec![Match::Protocol(Protocol::Tcp)],
        verdict: Verdict::Redirect(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RedirectPlan {
        RedirectPlan {
            outbound: 15001,
            inbound: None,
            dns: Some(15053),
            excluded_uids: vec![1337],
            excluded_marks: vec![],
            excluded_destinations: vec![],
            excluded_outbound_ports: vec![],
            excluded_inbound_ports: vec![],
            refuse_udp: false,
        }
    }

    #[test]
    fn the_proxys_own_traffic_leaves_before_any_redirect() {
        let ruleset = plan().ruleset();
        assert_eq!(ruleset.chains[0].rules[0].matches, [Match::SocketUid(1337)]);
        assert_eq!(ruleset.chains[0].rules[0].verdict, Verdict::Return);
    }

    #[test]
    fn dns_is_taken_before_local_destinations_pass() {
        let rules = plan().ruleset().chains.remove(0).rules;
        let position = |wanted: &Match| {
            rules
                .iter()
                .position(|rule| rule.matches.contains(wanted))
                .unwrap()
        };
        assert!(position(&Match::DestinationPort(Protocol::Udp, 53)) < position(&Match::DestinationLocal));
        assert!(position(&Match::DestinationPort(Protocol::Tcp, 53)) < position(&Match::DestinationLocal));
    }

    #[test]
    fn a_namespace_without_inbound_capture_has_no_prerouting_chain() {
        assert!(
            plan()
                .ruleset()
                .chains
                .iter()
                .all(|chain| chain.hook == Hook::Output)
        );
    }
}
