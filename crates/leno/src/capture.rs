//! `leno capture`: the redirection of a sidecar's namespace, put in force over netlink, taken away, or printed.

use anyhow::anyhow;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use leno_capture::{RedirectPlan, Ruleset, TABLE};

use crate::output;

/// Traffic redirection rules; istio-iptables' short flags work
#[derive(Debug, Args)]
pub struct Capture {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put the rules in force in this network namespace (needs CAP_NET_ADMIN in it)
    Apply(Plan),
    /// Take them away
    Remove,
    /// Print them, as for `nft -f -`
    Print(Plan),
}

#[derive(Debug, Args)]
struct Plan {
    /// Port of the proxy's outbound listener
    #[arg(short = 'p', long, default_value_t = 15001)]
    outbound: u16,
    /// Port of the proxy's inbound listener
    #[arg(short = 'z', long, default_value_t = 15006)]
    inbound: u16,
    /// Port of the DNS proxy
    #[arg(long, default_value_t = 15053)]
    dns: u16,
    /// Users whose traffic is not captured
    #[arg(
        short = 'u',
        long = "exclude-uid",
        value_delimiter = ',',
        default_value = "1337"
    )]
    uids: Vec<u32>,
    /// Marks (SO_MARK) whose traffic is not captured
    #[arg(long = "exclude-mark", value_delimiter = ',', default_value = "1337")]
    marks: Vec<u32>,
    /// Destinations that are not captured
    #[arg(short = 'x', long = "exclude-cidr", value_delimiter = ',')]
    destinations: Vec<IpNet>,
    /// Outbound ports that are not captured
    #[arg(short = 'o', long = "exclude-outbound-port", value_delimiter = ',')]
    outbound_ports: Vec<u16>,
    /// Inbound ports that are not captured
    #[arg(short = 'd', long = "exclude-inbound-port", value_delimiter = ',')]
    inbound_ports: Vec<u16>,
}

pub fn run(args: &Capture) -> anyhow::Result<()> {
    let refused = |error| {
        anyhow!(
            "the kernel refuses: {error} — this network namespace — run it as root, or with CAP_NET_ADMIN"
        )
    };
    match &args.verb {
        Verb::Apply(plan) => leno_capture::apply(&ruleset(plan)).map_err(refused),
        Verb::Remove => leno_capture::remove(TABLE).map_err(refused),
        Verb::Print(plan) => Ok(output::text(ruleset(plan).nft_text())?),
    }
}

fn ruleset(plan: &Plan) -> Ruleset {
    let plan = RedirectPlan {
        outbound: plan.outbound,
        inbound: Some(plan.inbound),
        dns: Some(plan.dns),
        excluded_uids: plan.uids.clone(),
        excluded_marks: plan.marks.clone(),
        excluded_destinations: plan.destinations.clone(),
        excluded_outbound_ports: plan.outbound_ports.clone(),
        excluded_inbound_ports: plan.inbound_ports.clone(),
        refuse_udp: false,
    };
    plan.ruleset()
}
