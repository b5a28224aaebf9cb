//! Which endpoints are nearer, and how localities share the load: Istio's rules.
//!
//! With `distribute` the localities of a service have the shares that are said for the caller's; others get nothing.
//! Else endpoints are in priorities: first by the labels of `failoverPriority`, then by region, zone and sub-zone. As
//! in Istio that is so only with outlier detection, for without it nothing would tell that the near ones have failed,
//! or where the Service asks for it by `trafficDistribution`.

use std::collections::{BTreeMap, BTreeSet};

use leno_model::policy::{Distribute, LocalityLb};
use leno_model::service::Distribution;
use leno_model::{Labels, Service, TrafficPolicy};

use super::EndpointInput;
use crate::Proxy;
use crate::reader::Reader;

const NETWORK: &str = "topology.istio.io/network";
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const NODE: &str = "kubernetes.io/hostname";

/// Endpoints of one priority and locality.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) priority: u32,
    pub(super) locality: String,
    /// The locality's share of its priority.
    pub(super) weight: u32,
    pub(super) endpoints: Vec<EndpointInput>,
}

/// An endpoint, and what tells how near it is.
pub(super) struct Candidate {
    pub(super) endpoint: EndpointInput,
    pub(super) labels: Labels,
    pub(super) locality: String,
}

/// What is in force of a policy, of its Service, of the mesh; None: nothing is preferred.
pub(crate) struct Setting {
    pub(crate) said: LocalityLb,
    /// Whether far endpoints only come into play when the near ones have failed.
    fails_over: bool,
}

impl Setting {
    /// Else it does not matter who asks.
    pub(super) fn has_effect(&self) -> bool {
        self.fails_over || !self.said.distribute.is_empty()
    }
}

pub(crate) fn setting(reader: &mut Reader<'_>, service: &Service, policy: &TrafficPolicy) -> Option<Setting> {
    if let Some(said) = &policy.locality {
        return said.enabled.then(|| Setting {
            said: said.clone(),
            fails_over: policy.outlier.is_some(),
        });
    }
    if let Some(distribution) = service.distribution {
        let labels: &[&str] = match distribution {
            Distribution::SameZone => &[NETWORK, REGION, ZONE, SUBZONE],
            Distribution::SameNode => &[NETWORK, REGION, ZONE, SUBZONE, NODE],
        };
        let priority = labels.iter().map(|label| ((*label).to_owned(), None));
        return Some(Setting {
            said: LocalityLb {
                enabled: true,
                priority: priority.collect(),
                ..LocalityLb::default()
            },
            fails_over: true,
        });
    }
    let mesh = &reader.mesh().locality;
    mesh.enabled.then(|| Setting {
        said: mesh.clone(),
        fails_over: policy.outlier.is_some(),
    })
}

/// Where the asking proxy is, and its labels.
#[derive(Default)]
pub(super) struct Asking {
    locality: String,
    labels: Labels,
}

impl Asking {
    pub(super) fn new(reader: &mut Reader<'_>, proxy: &Proxy) -> Self {
        let own = proxy.workload.as_ref().and_then(|id| reader.workload(id));
        let locality = match own {
            Some(workload) if !workload.locality.is_empty() => workload.locality.clone(),
            _ => from_labels(&proxy.labels),
        };
        let labels = own.map_or(&proxy.labels, |workload| &workload.labels);
        Self {
            labels: with_locality(labels, &locality),
            locality,
        }
    }
}

impl Asking {
    /// Where neither says a node they are on the same.
    pub(super) fn is_on_the_node_of(&self, candidate: &Candidate) -> bool {
        self.labels.get(NODE) == candidate.labels.get(NODE)
    }
}

/// A proxy that is no workload says where it is by its labels.
fn from_labels(labels: &Labels) -> String {
    let part = |name: &str| labels.get(name).map_or("", String::as_str);
    match part("istio-locality") {
        "" => [REGION, ZONE, SUBZONE]
            .map(part)
            .join("/")
            .trim_end_matches('/')
            .to_owned(),
        // Istio's own label, which may have no slashes.
        said => said.replace('.', "/"),
    }
}

/// The labels, and those that say the parts of a locality.
fn with_locality(labels: &Labels, locality: &str) -> Labels {
    let named = [REGION, ZONE, SUBZONE].into_iter().zip(parts(locality));
    let said = named.filter(|(_, part)| !part.is_empty());
    let said = said.map(|(name, part)| (name.to_owned(), part.to_owned()));
    labels.clone().into_iter().chain(said).collect()
}

pub(super) fn parts(locality: &str) -> [&str; 3] {
    let mut parts = locality.splitn(3, '/');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The endpoints as the asking proxy is to use them, in priorities without a gap, which Envoy would reject.
pub(super) fn grouped(candidates: Vec<Candidate>, asking: &Asking, setting: Option<&Setting>) -> Vec<Group> {
    let distribute = setting.map_or(&[][..], |setting| &setting.said.distribute);
    let fails_over = setting.filter(|setting| setting.fails_over && distribute.is_empty());
    let mut by_place: BTreeMap<(u32, String), Vec<EndpointInput>> = BTreeMap::new();
    for candidate in candidates {
        let priority = fails_over.map_or(0, |setting| priority(&candidate, asking, &setting.said));
        by_place
            .entry((priority, candidate.locality))
            .or_default()
            .push(candidate.endpoint);
    }
    let ranks: BTreeSet<u32> = by_place.keys().map(|(priority, _)| *priority).collect();
    let rank = |priority: u32| ranks.iter().take_while(|known| **known < priority).count();
    let groups = by_place
        .into_iter()
        .map(|((priority, locality), endpoints)| Group {
            priority: u32::try_from(rank(priority)).unwrap_or(priority),
            weight: endpoints
                .iter()
                .fold(0u32, |sum, endpoint| sum.saturating_add(endpoint.weight)),
            locality,
            endpoints,
        });
    let groups: Vec<Group> = groups.collect();
    match distribute.iter().find(|one| matches(&asking.locality, &one.from)) {
        Some(shares) => distributed(groups, shares),
        None => groups,
    }
}

/// A locality that nothing is said for gets nothing; several that one name is for share by their weights.
fn distributed(groups: Vec<Group>, shares: &Distribute) -> Vec<Group> {
    let share_of = |group: &Group| {
        shares
            .to
            .iter()
            .position(|(name, _)| matches(&group.locality, name))
    };
    let mut totals = vec![0u64; shares.to.len()];
    for group in &groups {
        if let Some(total) = share_of(group).and_then(|at| totals.get_mut(at)) {
            *total += u64::from(group.weight);
        }
    }
    let weighed = groups.into_iter().filter_map(|group| {
        let at = share_of(&group)?;
        let (share, total) = (u64::from(shares.to.get(at)?.1), *totals.get(at)?);
        let weight = (u64::from(group.weight) * share).div_ceil(total.max(1));
        Some(Group {
            weight: u32::try_from(weight).unwrap_or(u32::MAX).max(1),
            ..group
        })
    });
    weighed.collect()
}

/// `region/zone/*`, `region/*`, `region`, `*`.
fn matches(locality: &str, said: &str) -> bool {
    let ([region, zone, sub_zone], [said_region, said_zone, said_sub_zone]) = (parts(locality), parts(said));
    let fits = |is: &str, said: &str| said == "*" || said == is;
    let open = |is: &str, said: &str| said.is_empty() || fits(is, said);
    fits(region, said_region) && open(zone, said_zone) && open(sub_zone, said_sub_zone)
}

/// The less the nearer.
fn priority(candidate: &Candidate, asking: &Asking, said: &LocalityLb) -> u32 {
    let by_place = |setting: &LocalityLb| distance(&candidate.locality, &asking.locality, setting);
    match (said.priority.is_empty(), said.failover.is_empty()) {
        (true, _) => by_place(said),
        (false, true) => by_labels(candidate, asking, said),
        // There are five distances by place.
        (false, false) => by_labels(candidate, asking, said) * 5 + by_place(said),
    }
}

/// 0 same sub-zone, 1 same zone, 2 same region, 3 elsewhere, 4 not where `failover` leads from here.
fn distance(locality: &str, own: &str, setting: &LocalityLb) -> u32 {
    if own.is_empty() {
        return 0;
    }
    let (ours, theirs) = (parts(own), parts(locality));
    let shared = ours
        .iter()
        .zip(theirs)
        .take_while(|(ours, theirs)| **ours == *theirs);
    let distance = 3 - u32::try_from(shared.count()).unwrap_or(3);
    let leads = setting.failover.iter().find(|(from, _)| *from == ours[0]);
    match leads {
        Some((_, to)) if distance == 3 && theirs[0] != to => 4,
        _ => distance,
    }
}

/// 0 where all labels are the caller's; the earlier one differs, the more.
fn by_labels(candidate: &Candidate, asking: &Asking, said: &LocalityLb) -> u32 {
    let theirs = with_locality(&candidate.labels, &candidate.locality);
    let value = |labels: &Labels, name: &str| labels.get(name).cloned().unwrap_or_default();
    let wanted = |name: &str, said: &Option<String>| match said {
        Some(value) => value.clone(),
        None => value(&asking.labels, name),
    };
    let differs = said
        .priority
        .iter()
        .position(|(name, said)| wanted(name, said) != value(&theirs, name));
    let depth = said.priority.len() - differs.unwrap_or(said.priority.len());
    u32::try_from(depth).unwrap_or(u32::MAX / 5)
}
