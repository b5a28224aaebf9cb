//! Which traffic policy is in force towards a host.

use leno_model::{Host, LoadBalancer, TrafficPolicy};

use crate::Proxy;
use crate::reader::Reader;

/// The policy of a host for a subset and port, if there is any: the most specific word wins, as merged by the model.
pub(crate) fn policy(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    host: &Host,
    subset: Option<&str>,
    port: u16,
) -> Option<TrafficPolicy> {
    let sticky = reader.service(host).is_some_and(|service| service.sticky);
    let said = said(reader, proxy, host, subset, port);
    if !sticky {
        return said;
    }
    let mut policy = said.unwrap_or_default();
    policy.balancer.get_or_insert(LoadBalancer::HashSourceIp);
    Some(policy)
}

fn said(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    host: &Host,
    subset: Option<&str>,
    port: u16,
) -> Option<TrafficPolicy> {
    let rule = reader.policy(proxy, host)?;
    let named = subset.and_then(|name| rule.subsets.iter().find(|subset| subset.name == name));
    let policy = named.map_or(&rule.policy, |subset| &subset.policy);
    let exception = policy.ports.iter().find(|(number, _)| *number == port);
    Some(exception.map_or(policy, |(_, policy)| policy).clone())
}
