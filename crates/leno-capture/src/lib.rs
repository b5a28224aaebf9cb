//! Getting the traffic: a redirect plan, and applying it.
//!
//! [`RedirectPlan`] says in the mesh's words what is to be captured; [`Ruleset`] is the same as
//! nf_tables rules, still plain data. From there two ways lead out, which a test holds equal:
//! [`Ruleset::nft_text`] for people and for `nft -f`, and [`apply`] for the kernel itself over
//! netlink, since a fresh machine has no `nft` binary. [`route`] gives a bare network namespace
//! the addresses and routes without which no connection is ever attempted, and
//! [`original_dst`] tells where a captured connection wanted to go.

// Raw setsockopt and reading sockets' options need it; each use states why it is sound.
#![allow(unsafe_code)]

pub mod netlink;
mod nftables;
pub mod original_dst;
mod plan;
pub mod route;
mod ruleset;
mod text;

pub use self::{
    netlink::NetlinkError,
    nftables::{apply, remove},
    plan::{RedirectPlan, TABLE},
    ruleset::{Chain, ChainKind, Hook, Match, Protocol, Rule, Ruleset, Verdict},
};
