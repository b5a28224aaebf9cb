//! The name table (NDS): every service's names and virtual addresses, for the proxy's DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Proxy;
use crate::naming::{ServiceName, aliases};
use crate::pb::nds::NameTable;
use crate::pb::nds::name_table::NameInfo;
use crate::reader::Reader;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NameTableInput {
    /// The client's: `reviews` alone means the one in its own.
    namespace: String,
    services: BTreeMap<String, (ServiceName, Vec<IpAddr>)>,
}

pub(crate) fn name_table_input(reader: &mut Reader<'_>, proxy: &Proxy) -> NameTableInput {
    let mut addressed = reader.service_names();
    addressed.retain(|service| !service.vips.is_empty());
    NameTableInput {
        namespace: proxy.namespace.clone(),
        services: addressed
            .into_iter()
            .map(|service| {
                let entry = (ServiceName::from(service), service.vips.clone());
                (service.host.to_string(), entry)
            })
            .collect(),
    }
}

pub(crate) fn table(input: &NameTableInput) -> NameTable {
    NameTable {
        table: input
            .services
            .iter()
            .map(|(host, (service, vips))| (host.clone(), info(service, vips, &input.namespace)))
            .collect(),
        ..Default::default()
    }
}

// alt_hosts is Istio's older way to say what shortname and namespace say; its readers take either.
#[allow(deprecated)]
fn info(service: &ServiceName, vips: &[IpAddr], namespace: &str) -> NameInfo {
    let mut alt_hosts = aliases(service, namespace);
    alt_hosts.remove(0);
    let in_cluster = !alt_hosts.is_empty();
    NameInfo {
        ips: vips.iter().map(IpAddr::to_string).collect(),
        registry: if in_cluster { "Kubernetes" } else { "External" }.into(),
        shortname: if in_cluster {
            service.name.clone()
        } else {
            String::new()
        },
        namespace: service.namespace.clone(),
        alt_hosts,
    }
}
