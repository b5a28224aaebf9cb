//! Rules in nft's own language, for `leno capture print` and `nft -f`.

use std::fmt::{self, Display, Formatter, Write as _};

use ipnet::IpNet;

use crate::ruleset::{Chain, ChainKind, Hook, Match, Protocol, Rule, Ruleset, Verdict};

impl Ruleset {
    /// A script for `nft -f`. It replaces an older table of the same name in one transaction:
    /// the first line is there because deleting a table that does not exist is an error.
    pub fn nft_text(&self) -> String {
        let table = &self.table;
        let mut text = format!("table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
        for (index, chain) in self.chains.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            // Writing into a String cannot fail.
            let _ = write!(text, "{chain}");
        }
        text.push_str("}\n");
        text
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Nat => "nat",
            ChainKind::Filter => "filter",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Output => "output",
        };
        writeln!(f, "\tchain {} {{", self.name)?;
        writeln!(
            f,
            "\t\ttype {kind} hook {hook} priority {}; policy accept;",
            self.priority
        )?;
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        match self.verdict {
            Verdict::Return => write!(f, "return"),
            Verdict::Redirect(port) => write!(f, "redirect to :{port}"),
            Verdict::Reject => write!(f, "reject"),
        }
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::DestinationPort(protocol, port) => write!(f, "{protocol} dport {port}"),
            Self::DestinationNet(net @ IpNet::V4(_)) => write!(f, "ip daddr {}", net.trunc()),
            Self::DestinationNet(net @ IpNet::V6(_)) => write!(f, "ip6 daddr {}", net.trunc()),
            Self::DestinationLocal => write!(f, "fib daddr type local"),
            Self::DestinationElsewhere => write!(f, "fib daddr type != local"),
            Self::SocketUid(uid) => write!(f, "meta skuid {uid}"),
            Self::Mark(mark) => write!(f, "meta mark 0x{mark:08x}"),
        }
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::RedirectPlan;

    const SIDECAR: &str = "\
table inet leno
delete table inet leno
table inet leno {
	chain output {
		type nat hook output priority -100; policy accept;
		meta skuid 1337 ip daddr 127.0.0.0/8 return
		meta skuid 1337 ip6 daddr ::1/128 return
		meta skuid 1337 meta l4proto tcp fib daddr type local redirect to :15006
		meta skuid 1337 return
		meta mark 0x00000539 ip daddr 127.0.0.0/8 return
		meta mark 0x00000539 ip6 daddr ::1/128 return
		meta mark 0x00000539 meta l4proto tcp fib daddr type local redirect to :15006
		meta mark 0x00000539 return
		udp dport 53 redirect to :15053
		tcp dport 53 redirect to :15053
		fib daddr type local return
		ip daddr 10.0.0.0/8 return
		ip6 daddr fd00::/64 return
		tcp dport 9000 return
		meta l4proto tcp redirect to :15001
	}

	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		tcp dport 15021 return
		meta l4proto tcp redirect to :15006
	}

	chain refuse {
		type filter hook output priority 0; policy accept;
		meta l4proto udp fib daddr type != local reject
	}
}
";

    #[test]
    fn a_sidecars_plan_reads_as_its_documentation_says() {
        let plan = RedirectPlan {
            outbound: 15001,
            inbound: Some(15006),
            dns: Some(15053),
            excluded_uids: vec![1337],
            excluded_marks: vec![0x539],
            excluded_destinations: vec!["10.0.0.7/8".parse().unwrap(), "fd00::/64".parse().unwrap()],
            excluded_outbound_ports: vec![9000],
            excluded_inbound_ports: vec![15021],
            refuse_udp: true,
        };
        assert_eq!(plan.ruleset().nft_text(), SIDECAR);
    }
}
