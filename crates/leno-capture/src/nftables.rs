//! Rules as the kernel takes them: one nf_tables batch over netlink, all or nothing.
//!
//! Attribute numbers are those of `linux/netfilter/nf_tables.h`, under their names there. Each
//! condition loads a value into a register and compares it; the expressions are those which
//! nft(8) itself compiles the same rule to, so that `nft list ruleset` can read them back.

use ipnet::IpNet;

use crate::{
    netlink::{Attributes, NLM_F_APPEND, NLM_F_CREATE, NetlinkError, Requests, Subsystem},
    ruleset::{Chain, ChainKind, Hook, Match, Protocol, Rule, Ruleset, Verdict},
};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NF_ACCEPT: u32 = 1;
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_LOCAL_OUT: u32 = 3;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;

const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
const NFT_META_MARK: u32 = 3;
const NFT_META_SKUID: u32 = 10;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_DADDR: u32 = 1 << 1;
const NFT_REJECT_ICMPX_UNREACH: u32 = 2;
const NFT_REJECT_ICMPX_PORT_UNREACH: u8 = 1;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 1 << 1;
const NFT_RETURN: i32 = -5;
const RTN_LOCAL: u32 = 2;

/// Puts the rules in force in the calling thread's network namespace, in place of an older table
/// of the same name.
pub fn apply(ruleset: &Ruleset) -> Result<(), NetlinkError> {
    batch(|requests| {
        new_table(requests, &ruleset.table);
        delete_table(requests, &ruleset.table);
        new_table(requests, &ruleset.table);
        for chain in &ruleset.chains {
            new_chain(requests, &ruleset.table, chain);
            for rule in &chain.rules {
                new_rule(requests, &ruleset.table, chain, rule);
            }
        }
    })
}

/// Takes the table away, with all its rules; it need not be there.
pub fn remove(table: &str) -> Result<(), NetlinkError> {
    batch(|requests| {
        new_table(requests, table);
        delete_table(requests, table);
    })
}

fn batch(write: impl FnOnce(&mut Requests)) -> Result<(), NetlinkError> {
    // `struct nfgenmsg`: family, version, and for a batch the subsystem in network order.
    let subsystem = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    let edge = [0, 0, subsystem[0], subsystem[1]];
    let mut requests = Requests::default();
    requests.mark(NFNL_MSG_BATCH_BEGIN, &edge);
    write(&mut requests);
    requests.mark(NFNL_MSG_BATCH_END, &edge);
    requests.send(Subsystem::Netfilter)
}

fn request(
    requests: &mut Requests,
    message: u16,
    flags: u16,
    name: String,
    write: impl FnOnce(&mut Attributes<'_>),
) {
    let kind = (NFNL_SUBSYS_NFTABLES << 8) | message;
    requests.request(kind, flags, name, &[NFPROTO_INET, 0, 0, 0], write);
}

fn new_table(requests: &mut Requests, table: &str) {
    request(
        requests,
        NFT_MSG_NEWTABLE,
        NLM_F_CREATE,
        format!("table inet {table}"),
        |attributes| {
            attributes.text(NFTA_TABLE_NAME, table);
        },
    );
}

fn delete_table(requests: &mut Requests, table: &str) {
    request(
        requests,
        NFT_MSG_DELTABLE,
        0,
        format!("delete table inet {table}"),
        |attributes| {
            attributes.text(NFTA_TABLE_NAME, table);
        },
    );
}

fn new_chain(requests: &mut Requests, table: &str, chain: &Chain) {
    let (kind, hook) = match (chain.kind, chain.hook) {
        (ChainKind::Nat, Hook::Output) => ("nat", NF_INET_LOCAL_OUT),
        (ChainKind::Nat, Hook::Prerouting) => ("nat", NF_INET_PRE_ROUTING),
        (ChainKind::Filter, Hook::Output) => ("filter", NF_INET_LOCAL_OUT),
        (ChainKind::Filter, Hook::Prerouting) => ("filter", NF_INET_PRE_ROUTING),
    };
    let name = format!("chain {} (type {kind}) of table inet {table}", chain.name);
    request(requests, NFT_MSG_NEWCHAIN, NLM_F_CREATE, name, |attributes| {
        attributes.text(NFTA_CHAIN_TABLE, table);
        attributes.text(NFTA_CHAIN_NAME, &chain.name);
        attributes.nest(NFTA_CHAIN_HOOK, |attributes| {
            attributes.be32(NFTA_HOOK_HOOKNUM, hook);
            attributes.bytes(NFTA_HOOK_PRIORITY, &chain.priority.to_be_bytes());
        });
        attributes.be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
        attributes.text(NFTA_CHAIN_TYPE, kind);
    });
}

fn new_rule(requests: &mut Requests, table: &str, chain: &Chain, rule: &Rule) {
    let name = format!("rule `{rule}` of chain {}", chain.name);
    request(
        requests,
        NFT_MSG_NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        name,
        |attributes| {
            attributes.text(NFTA_RULE_TABLE, table);
            attributes.text(NFTA_RULE_CHAIN, &chain.name);
            attributes.nest(NFTA_RULE_EXPRESSIONS, |expressions| {
                for condition in &rule.matches {
                    condition.encode(expressions);
                }
                rule.verdict.encode(expressions);
            });
        },
    );
}

impl Match {
    fn encode(&self, expressions: &mut Attributes<'_>) {
        match self {
            Self::Protocol(protocol) => protocol.encode(expressions),
            Self::DestinationPort(protocol, port) => {
                protocol.encode(expressions);
                // The destination port follows the source port, in TCP as in UDP.
                payload(expressions, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
                compare(expressions, NFT_CMP_EQ, &port.to_be_bytes());
            }
            Self::DestinationNet(net) => encode_net(expressions, net),
            Self::DestinationLocal => encode_local(expressions, NFT_CMP_EQ),
            Self::DestinationElsewhere => encode_local(expressions, NFT_CMP_NEQ),
            Self::SocketUid(uid) => {
                meta(expressions, NFT_META_SKUID);
                compare(expressions, NFT_CMP_EQ, &uid.to_ne_bytes());
            }
            Self::Mark(mark) => {
                meta(expressions, NFT_META_MARK);
                compare(expressions, NFT_CMP_EQ, &mark.to_ne_bytes());
            }
        }
    }
}

impl Protocol {
    fn encode(self, expressions: &mut Attributes<'_>) {
        let number = match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        };
        meta(expressions, NFT_META_L4PROTO);
        compare(expressions, NFT_CMP_EQ, &[number]);
    }
}

impl Verdict {
    fn encode(self, expressions: &mut Attributes<'_>) {
        match self {
            Self::Return => immediate(expressions, NFT_REG_VERDICT, |data| {
                data.nest(NFTA_DATA_VERDICT, |verdict| {
                    verdict.bytes(NFTA_VERDICT_CODE, &NFT_RETURN.to_be_bytes());
                });
            }),
            Self::Redirect(port) => {
                immediate(expressions, NFT_REG_1, |data| {
                    data.bytes(NFTA_DATA_VALUE, &port.to_be_bytes())
                });
                expression(expressions, "redir", |redir| {
                    redir.be32(1, NFT_REG_1); // NFTA_REDIR_REG_PROTO_MIN
                    redir.be32(2, NFT_REG_1); // NFTA_REDIR_REG_PROTO_MAX
                    redir.be32(3, NF_NAT_RANGE_PROTO_SPECIFIED); // NFTA_REDIR_FLAGS
                });
            }
            Self::Reject => expression(expressions, "reject", |reject| {
                reject.be32(1, NFT_REJECT_ICMPX_UNREACH); // NFTA_REJECT_TYPE
                reject.bytes(2, &[NFT_REJECT_ICMPX_PORT_UNREACH]); // NFTA_REJECT_ICMP_CODE
            }),
        }
    }
}

fn encode_net(expressions: &mut Attributes<'_>, net: &IpNet) {
    // A table of family inet sees both families: which one it is must be asked first, and the
    // place of the destination address in the header follows from it.
    let (family, offset, address, mask) = match net {
        IpNet::V4(net) => (
            NFPROTO_IPV4,
            16,
            net.network().octets().to_vec(),
            net.netmask().octets().to_vec(),
        ),
        IpNet::V6(net) => (
            NFPROTO_IPV6,
            24,
            net.network().octets().to_vec(),
            net.netmask().octets().to_vec(),
        ),
    };
    let length = if family == NFPROTO_IPV4 { 4 } else { 16 };
    meta(expressions, NFT_META_NFPROTO);
    compare(expressions, NFT_CMP_EQ, &[family]);
    payload(expressions, NFT_PAYLOAD_NETWORK_HEADER, offset, length);
    if net.prefix_len() < net.max_prefix_len() {
        expression(expressions, "bitwise", |bitwise| {
            bitwise.be32(1, NFT_REG_1); // NFTA_BITWISE_SREG
            bitwise.be32(2, NFT_REG_1); // NFTA_BITWISE_DREG
            bitwise.be32(3, length); // NFTA_BITWISE_LEN
            bitwise.nest(4, |data| data.bytes(NFTA_DATA_VALUE, &mask)); // NFTA_BITWISE_MASK
            bitwise.nest(5, |data| data.bytes(NFTA_DATA_VALUE, &vec![0; mask.len()])); // NFTA_BITWISE_XOR
        });
    }
    compare(expressions, NFT_CMP_EQ, &address);
}

fn encode_local(expressions: &mut Attributes<'_>, operation: u32) {
    expression(expressions, "fib", |fib| {
        fib.be32(1, NFT_REG_1); // NFTA_FIB_DREG
        fib.be32(2, NFT_FIB_RESULT_ADDRTYPE); // NFTA_FIB_RESULT
        fib.be32(3, NFTA_FIB_F_DADDR); // NFTA_FIB_FLAGS
    });
    compare(expressions, operation, &RTN_LOCAL.to_ne_bytes());
}

fn meta(expressions: &mut Attributes<'_>, key: u32) {
    expression(expressions, "meta", |meta| {
        meta.be32(1, NFT_REG_1); // NFTA_META_DREG
        meta.be32(2, key); // NFTA_META_KEY
    });
}

fn payload(expressions: &mut Attributes<'_>, base: u32, offset: u32, length: u32) {
    expression(expressions, "payload", |payload| {
        payload.be32(1, NFT_REG_1); // NFTA_PAYLOAD_DREG
        payload.be32(2, base); // NFTA_PAYLOAD_BASE
        payload.be32(3, offset); // NFTA_PAYLOAD_OFFSET
        payload.be32(4, length); // NFTA_PAYLOAD_LEN
    });
}

fn compare(expressions: &mut Attributes<'_>, operation: u32, value: &[u8]) {
    expression(expressions, "cmp", |cmp| {
        cmp.be32(1, NFT_REG_1); // NFTA_CMP_SREG
        cmp.be32(2, operation); // NFTA_CMP_OP
        cmp.nest(3, |data| data.bytes(NFTA_DATA_VALUE, value)); // NFTA_CMP_DATA
    });
}

fn immediate(expressions: &mut Attributes<'_>, register: u32, data: impl FnOnce(&mut Attributes<'_>)) {
    expression(expressions, "immediate", |immediate| {
        immediate.be32(1, register); // NFTA_IMMEDIATE_DREG
        immediate.nest(2, data); // NFTA_IMMEDIATE_DATA
    });
}

fn expression(expressions: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    expressions.nest(NFTA_LIST_ELEM, |element| {
        element.text(NFTA_EXPR_NAME, name);
        element.nest(NFTA_EXPR_DATA, data);
    });
}
