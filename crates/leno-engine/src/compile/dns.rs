//! How names are resolved.

use std::time::Duration;

use super::Rejection;
use super::at::At;
use super::dns_resolver::Resolver;
use super::pb::cluster::cluster::DnsLookupFamily;
use super::pb::protobuf;

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolving {
    pub refresh: Duration,
    /// After a failure; at first, and at most.
    pub after_failure: (Duration, Duration),
    pub family: Family,
    /// None: as the bootstrap says, else as the machine does.
    pub resolver: Option<Resolver>,
    /// Names are looked up again when their answers do not hold any more, and not before this time. None: they are not
    /// looked at.
    pub by_ttl: Option<Duration>,
    /// So much later at most, by chance.
    pub jitter: Duration,
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4Only,
    V6Only,
    /// IPv4 where there is one; what `AUTO` says too: without happy eyeballs a family that is not routed would take
    /// its share of the load.
    V4Preferred,
    All,
}

pub(crate) fn family(at: &At<'_>, said: i32) -> Result<Family, Rejection> {
    use DnsLookupFamily as F;
    Ok(match at.choice("dns_lookup_family", said)? {
        F::Auto | F::V4Preferred => Family::V4Preferred,
        F::V4Only => Family::V4Only,
        F::V6Only => Family::V6Only,
        F::All => Family::All,
    })
}

/// How soon it is tried again after a failure: at first, and at most.
pub(crate) fn failure(
    at: &At<'_>,
    base: &Option<protobuf::Duration>,
    most: &Option<protobuf::Duration>,
) -> Result<(Duration, Duration), Rejection> {
    at.required("base_interval", base)?;
    let base = at.positive("base_interval", base, Duration::from_secs(5))?;
    let most = at.positive("max_interval", most, base * 10)?;
    if most < base {
        return Err(at.field("max_interval").reject("less than base_interval"));
    }
    Ok((base, most))
}
