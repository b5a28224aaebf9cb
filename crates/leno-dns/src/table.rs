//! The mesh's hosts and their addresses, under every name that a workload may use for them.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use leno_proto::istio::networking::nds::v1::NameTable as Message;

const CLUSTER_DOMAIN: &str = "cluster.local";

/// The control plane's table, ready to be asked. Immutable: a new table replaces it.
#[derive(Debug, Clone)]
pub struct NameTable {
    /// By name in lower case, without the final dot; wildcards with their `*.`.
    names: HashMap<String, Arc<Addresses>>,
    /// Names that have none of their own but have others below them (RFC 8020's empty non-terminals).
    above: HashSet<String>,
    /// Domains that are the mesh's alone.
    zones: Vec<String>,
    /// Before the control plane has spoken, a name is not yet absent.
    loaded: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) v4: Vec<Ipv4Addr>,
    pub(crate) v6: Vec<Ipv6Addr>,
}

/// What a workload is told of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// IPv4 first.
    Addresses(Vec<IpAddr>),
    /// The name is the mesh's own, and nobody has it.
    Absent,
    /// Others are asked.
    Elsewhere,
}

/// What the table knows of a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Host(&'a Addresses),
    /// Ours, but only names below it have addresses.
    Empty,
    /// Ours, and there is none.
    Absent,
    /// Ours, and it is too early to say.
    Unknown,
    NotOurs,
}

// === impl NameTable ===

/// The table before the control plane has sent any.
impl Default for NameTable {
    fn default() -> Self {
        NameTable {
            names: HashMap::new(),
            above: HashSet::new(),
            zones: vec![CLUSTER_DOMAIN.to_owned()],
            loaded: false,
        }
    }
}

impl NameTable {
    /// For a client of no namespace: `reviews` alone is nobody's until a search list completes it.
    pub fn new(table: &Message) -> Self {
        Self::in_namespace(table, "")
    }

    /// For a client in `namespace`, where `reviews` alone is that namespace's.
    pub fn in_namespace(table: &Message, namespace: &str) -> Self {
        let mut names = HashMap::new();
        let mut short = Vec::new();
        for (host, info) in &table.table {
            let host = normal(host);
            let addresses = Arc::new(Addresses::parse(&info.ips));
            #[allow(deprecated)]
            let others = info.alt_hosts.iter().map(|other| normal(other));
            short.extend(others.map(|other| (other, Arc::clone(&addresses))));
            if let Some((name, of)) = service(&host, &info.shortname, &info.namespace) {
                short.push((format!("{name}.{of}"), Arc::clone(&addresses)));
                short.push((format!("{name}.{of}.svc"), Arc::clone(&addresses)));
                if of == namespace {
                    short.push((name, Arc::clone(&addresses)));
                }
            }
            names.insert(host, addresses);
        }
        // A host by its full name comes before another one's short form.
        for (name, addresses) in short {
            names.entry(name).or_insert(addresses);
        }
        let above = names
            .keys()
            .flat_map(|name| parents(name))
            .map(str::to_owned)
            .collect();
        NameTable {
            names,
            above,
            loaded: true,
            ..NameTable::default()
        }
    }

    /// Sets the domains for which nobody else may be asked, `cluster.local` at first. Beside another authority for
    /// `cluster.local`, such as Kubernetes' own DNS, there must be none.
    pub fn with_zones(mut self, zones: impl IntoIterator<Item = String>) -> Self {
        self.zones = zones.into_iter().map(|zone| normal(&zone)).collect();
        self
    }

    /// What a workload is told of a name.
    pub fn lookup(&self, name: &str) -> Lookup {
        match self.find(&normal(name)) {
            Found::Host(addresses) => {
                let v4 = addresses.v4.iter().copied().map(IpAddr::V4);
                let v6 = addresses.v6.iter().copied().map(IpAddr::V6);
                Lookup::Addresses(v4.chain(v6).collect())
            }
            Found::Empty | Found::Absent | Found::Unknown => Lookup::Absent,
            Found::NotOurs => Lookup::Elsewhere,
        }
    }

    /// `name` in lower case, without the final dot.
    pub(crate) fn find(&self, name: &str) -> Found<'_> {
        if let Some(addresses) = self.names.get(name).or_else(|| self.wildcard(name)) {
            return Found::Host(addresses);
        }
        if self.zone_of(name).is_none() {
            Found::NotOurs
        } else if !self.loaded {
            Found::Unknown
        } else if self.above.contains(name) || self.zones.iter().any(|zone| zone == name) {
            Found::Empty
        } else {
            Found::Absent
        }
    }

    /// The mesh's domain that `name` is in.
    pub(crate) fn zone_of(&self, name: &str) -> Option<&str> {
        self.zones
            .iter()
            .find(|zone| {
                name.strip_suffix(zone.as_str())
                    .is_some_and(|head| head.is_empty() || head.ends_with('.'))
            })
            .map(String::as_str)
    }

    /// The longest wildcard that covers `name`.
    fn wildcard(&self, name: &str) -> Option<&Arc<Addresses>> {
        // Most tables have none, and most queries are for others' names.
        parents(name).find_map(|parent| {
            self.above
                .contains(parent)
                .then(|| self.names.get(&format!("*.{parent}")))
                .flatten()
        })
    }
}

// === impl Addresses ===

impl Addresses {
    /// What is not an address is left out: an answer with the rest serves better than none.
    fn parse(ips: &[String]) -> Self {
        let mut addresses = Addresses::default();
        for ip in ips {
            match ip.parse() {
                Ok(IpAddr::V4(ip)) => addresses.v4.push(ip),
                Ok(IpAddr::V6(ip)) => addresses.v6.push(ip),
                Err(_) => {}
            }
        }
        addresses
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// A service's name and namespace: as the table says, else as its host says (`NAME.NAMESPACE.svc.DOMAIN`).
fn service(host: &str, shortname: &str, namespace: &str) -> Option<(String, String)> {
    if !shortname.is_empty() && !namespace.is_empty() {
        return Some((normal(shortname), normal(namespace)));
    }
    let mut labels = host.splitn(4, '.');
    let (name, namespace, svc) = (labels.next()?, labels.next()?, labels.next()?);
    let host_form = svc == "svc" && labels.next() == Some(CLUSTER_DOMAIN);
    host_form.then(|| (name.to_owned(), namespace.to_owned()))
}

/// `a.b.c` → `b.c`, `c`
fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.')).map(|(_, parent)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_end_at_the_last_label() {
        assert_eq!(parents("a.b.c").collect::<Vec<_>>(), ["b.c", "c"]);
        assert_eq!(parents("a").count(), 0);
    }

    #[test]
    fn a_zone_ends_at_a_label() {
        let table = NameTable::default();
        assert_eq!(table.zone_of("a.cluster.local"), Some("cluster.local"));
        assert_eq!(table.zone_of("cluster.local"), Some("cluster.local"));
        assert_eq!(table.zone_of("mycluster.local"), None);
    }
}
