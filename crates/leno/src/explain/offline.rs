//! The mesh of a directory of files, which nobody serves: the control plane's own model and translation, and for
//! workloads what the files declare (pod templates). Nothing is connected to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use leno_api::nearest;
use leno_model::service::TargetPort;
use leno_model::{Change, Protocol, Service, Snapshot, VipTable, Workload, WorkloadId, WorkloadPort, World};
use leno_translate::{Cache, Proxy, ProxyKind, ResourceType, answer};

use super::declared::{Declared, declared};
use super::mesh::{InForce, Member, Mesh};

pub struct Offline {
    directory: String,
    snapshot: Arc<Snapshot>,
    cache: Cache,
    proxies: BTreeMap<String, Proxy>,
    declared: BTreeMap<IpAddr, Declared>,
    /// What is not in force, and why.
    pub left_out: Vec<String>,
}

impl Offline {
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let files = leno_sources::file::read_once(directory).with_context(|| {
            format!(
                "the configuration directory cannot be read — {} — name another with --config",
                directory.display()
            )
        })?;
        let (mut changes, mut pods, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let said = match file.said {
                Ok(said) => said,
                Err(why) => {
                    left_out.push(format!("error: {why} — {} — check its permissions", file.file));
                    continue;
                }
            };
            let errors = said.parsed.diagnostics.iter().filter(|found| found.is_error());
            left_out.extend(errors.map(ToString::to_string));
            pods.extend(declared(&file.file, &said.content));
            changes.push(Change::File {
                file: file.file,
                objects: said.parsed.objects,
            });
        }
        let mut found = BTreeMap::new();
        for (address, pod) in placeholders().zip(pods) {
            changes.push(Change::Workload(workload(&pod, address)));
            found.insert(address, pod);
        }
        let mut world = World::new(VipTable::default());
        let before = world.apply(changes, Duration::ZERO).snapshot;
        let outcome = world.apply(targeted(&before), Duration::ZERO);
        let wrong = outcome.diagnostics.iter().filter(|found| found.is_error());
        left_out.extend(wrong.map(ToString::to_string));
        let proxies = outcome.snapshot.workloads.values();
        Ok(Self {
            directory: directory.display().to_string(),
            proxies: proxies
                .map(|workload| (workload.id.to_string(), proxy(workload)))
                .collect(),
            snapshot: outcome.snapshot,
            cache: Cache::default(),
            declared: found,
            left_out,
        })
    }

    /// A member with labels that the user says, where nothing declares it.
    pub fn suppose(&mut self, name: &str, labels: BTreeMap<String, String>) -> Member {
        let (name, namespace) = name.split_once('.').unwrap_or((name, "default"));
        self.assume(name, namespace, labels)
    }

    /// A member that nothing declares.
    fn assume(&mut self, name: &str, namespace: &str, labels: BTreeMap<String, String>) -> Member {
        let id = format!("{name}.{namespace}");
        let proxy = Proxy {
            id: format!("sidecar~127.0.0.1~{id}~{namespace}.svc.cluster.local"),
            namespace: namespace.to_owned(),
            labels,
            service_account: "default".into(),
            workload: None,
            on_demand: true,
            metadata: BTreeMap::new(),
            audited: false,
            kind: ProxyKind::Sidecar,
        };
        let member = Member {
            id: format!("assumed/{id}"),
            workload: id,
            namespace: namespace.to_owned(),
            principal: principal(&self.snapshot, namespace, "default"),
            on_demand: true,
            grpc: false,
        };
        self.proxies.insert(member.id.clone(), proxy);
        member
    }

    fn services(&self, name: &str) -> Vec<&Arc<Service>> {
        let (short, namespace) = match name.split_once('.') {
            Some((short, rest)) => (short, Some(rest.trim_end_matches(".svc.cluster.local"))),
            None => (name, None),
        };
        let named = |service: &&Arc<Service>| {
            service.name == short && namespace.is_none_or(|wanted| service.namespace == wanted)
        };
        let mut found: Vec<_> = self.snapshot.services.values().filter(named).collect();
        found.sort_by_key(|service| service.namespace != "default");
        found
    }

    fn of_service(&mut self, name: &str) -> Option<(Member, Option<String>)> {
        let found = self.services(name);
        let service = Arc::clone(found.first()?);
        let also = match found.len() {
            1 => String::new(),
            several => format!("; {several} namespaces have a service of that name"),
        };
        let workloads = self.snapshot.endpoints(&service.host);
        if let Some(first) = workloads.first() {
            let note = match workloads.len() {
                1 if also.is_empty() => None,
                1 => Some(format!("asked for {}, of {}{also}", first.id, service.host)),
                several => Some(format!(
                    "asked for {}, one of {several} workloads of {}{also}",
                    first.id, service.host
                )),
            };
            return Some((member(&self.snapshot, first), note));
        }
        let mut labels = service.selector.clone();
        if labels.is_empty() {
            labels.insert("app".into(), service.name.clone());
        }
        let told: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let note = format!(
            "no workload of {} is declared: one with the labels {} is assumed{also}",
            service.host,
            told.join(",")
        );
        let member = self.assume(&service.name, &service.namespace, labels);
        Some((member, Some(note)))
    }

    fn of_workload(&self, name: &str) -> anyhow::Result<Option<Member>> {
        let workloads = self.snapshot.workloads.values();
        let named: Vec<_> = workloads
            .filter(|workload| *workload.id.0 == *name || workload.name == name)
            .collect();
        match named.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(member(&self.snapshot, one))),
            several => {
                let ids: Vec<String> = several.iter().map(|workload| workload.id.to_string()).collect();
                bail!("{name} is ambiguous — FROM — name one of {}", ids.join(", "))
            }
        }
    }
}

impl Mesh for Offline {
    fn told_by(&self) -> String {
        format!("the files of {}", self.directory)
    }

    fn find(&mut self, name: &str) -> anyhow::Result<(Member, Option<String>)> {
        let (kind, name) = match name.split_once('/') {
            Some((kind @ ("service" | "workload"), name)) => (Some(kind), name),
            Some((kind, _)) => {
                bail!("`{kind}/` is not known — FROM — give NAME, service/NAME or workload/NAME")
            }
            None => (None, name),
        };
        if kind != Some("service")
            && let Some(member) = self.of_workload(name)?
        {
            return Ok((member, None));
        }
        if kind != Some("workload")
            && let Some(found) = self.of_service(name)
        {
            return Ok(found);
        }
        let services = self
            .snapshot
            .services
            .values()
            .map(|service| service.name.as_str());
        let workloads = self
            .snapshot
            .workloads
            .values()
            .map(|workload| workload.name.as_str());
        let known = services.chain(workloads);
        let mend = match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "name a service or workload of the files, or say its labels with --label".into(),
        };
        bail!("nobody is called {name} — FROM — {mend}")
    }

    fn resource(&mut self, of: &Member, kind: ResourceType, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(proxy) = self.proxies.get(&of.id) else {
            return Ok(None);
        };
        let answer = answer(&mut self.cache, &self.snapshot, proxy, kind, name);
        Ok(answer.resource.map(|resource| resource.body.to_vec()))
    }

    fn at(&self, address: IpAddr) -> Option<(Member, Option<String>)> {
        let pod = self.declared.get(&address)?;
        let id = WorkloadId(format!("{}.{}", pod.name, pod.namespace).into());
        let workload = self.snapshot.workloads.get(&id)?;
        Some((
            member(&self.snapshot, workload),
            Some(format!("{} ({})", pod.object, pod.place)),
        ))
    }

    fn in_force(&mut self, _of: &Member, _kind: ResourceType, _name: &str) -> Option<InForce> {
        None
    }

    fn ports(&self, address: IpAddr) -> Vec<u16> {
        let service = self.snapshot.by_vip(address);
        let ports = service.map_or(&[][..], |service| service.ports.as_slice());
        ports.iter().map(|port| port.port).collect()
    }

    fn runs(&self) -> bool {
        false
    }
}

/// Addresses that stand for pods which have none yet; never shown.
fn placeholders() -> impl Iterator<Item = IpAddr> {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 1));
    (first..first + 0x1_fffe).map(|bits| Ipv4Addr::from(bits).into())
}

fn principal(snapshot: &Snapshot, namespace: &str, account: &str) -> String {
    format!(
        "spiffe://{}/ns/{namespace}/sa/{account}",
        snapshot.mesh.trust_domain
    )
}

fn member(snapshot: &Snapshot, workload: &Arc<Workload>) -> Member {
    Member {
        id: workload.id.to_string(),
        workload: workload.id.to_string(),
        namespace: workload.namespace.clone(),
        principal: principal(snapshot, &workload.namespace, &workload.service_account),
        on_demand: true,
        grpc: false,
    }
}

/// The pods again, with the ports that services send to them and that their containers do not name: Kubernetes does not
/// ask for them.
fn targeted(snapshot: &Snapshot) -> Vec<Change> {
    let mut pods: BTreeMap<WorkloadId, Workload> = BTreeMap::new();
    for service in snapshot.services.values() {
        for pod in snapshot.endpoints(&service.host) {
            let pod = pods.entry(pod.id.clone()).or_insert_with(|| Workload::clone(pod));
            for served in &service.ports {
                let TargetPort::Number(port) = served.target else {
                    continue;
                };
                if pod.ports.iter().all(|known| known.port != port) {
                    pod.ports.push(WorkloadPort {
                        port,
                        name: String::new(),
                        protocol: Protocol::Detect,
                    });
                }
            }
        }
    }
    pods.into_values().map(Change::Workload).collect()
}

/// As its sidecar would introduce itself.
fn proxy(workload: &Arc<Workload>) -> Proxy {
    Proxy {
        id: format!(
            "sidecar~127.0.0.1~{}~{}.svc.cluster.local",
            workload.id, workload.namespace
        ),
        namespace: workload.namespace.clone(),
        labels: workload.labels.clone(),
        service_account: workload.service_account.clone(),
        workload: Some(workload.id.clone()),
        on_demand: true,
        metadata: BTreeMap::new(),
        audited: false,
        kind: ProxyKind::Sidecar,
    }
}

fn workload(pod: &Declared, address: IpAddr) -> Workload {
    Workload {
        id: WorkloadId(format!("{}.{}", pod.name, pod.namespace).into()),
        name: pod.name.clone(),
        namespace: pod.namespace.clone(),
        service_account: pod.service_account.clone(),
        labels: pod.labels.clone(),
        addresses: vec![address],
        ports: pod
            .ports
            .iter()
            .map(|(port, name)| WorkloadPort {
                port: *port,
                name: name.clone(),
                // A container's port has a name, but only a Service's says what it speaks.
                protocol: Protocol::Detect,
            })
            .collect(),
        service: None,
        healthy: true,
        mesh_tls: pod.injected,
        http2_upgrade: pod.injected,
        locality: String::new(),
        weight: 1,
    }
}
