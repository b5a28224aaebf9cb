//! The mesh that runs: resources from the control plane, and from the proxy itself what it has in force.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::bail;
use leno_api::nearest;
use leno_proto::control::{ProxyStatus, Resource, StatusResponse};
use leno_translate::ResourceType;
use tokio::runtime::{Builder, Runtime};

use super::mesh::{InForce, Member, Mesh};
use crate::client;
use crate::join::Join;

/// What a name may be of a proxy.
type Meaning = fn(&ProxyStatus) -> String;

pub struct Live {
    runtime: Runtime,
    control: client::Mesh,
    address: String,
    status: StatusResponse,
    /// What the control plane has sent, by member, type and name.
    versions: HashMap<(String, &'static str, String), String>,
    /// What proxies have in force. None: one does not answer.
    proxies: HashMap<String, Option<Vec<Resource>>>,
}

impl Live {
    pub fn connect(join: &Join) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (control, status) = runtime.block_on(async {
            let control = client::Mesh::connect(join).await?;
            let status = control.status().await?;
            anyhow::Ok((control, status))
        })?;
        Ok(Self {
            runtime,
            control,
            address: join.address.to_string(),
            status,
            versions: HashMap::new(),
            proxies: HashMap::new(),
        })
    }

    /// What the control plane complains of.
    pub fn left_out(&self) -> Vec<String> {
        let errors = self
            .status
            .diagnostics
            .iter()
            .filter(|found| found.severity == "error");
        errors.map(client::line).collect()
    }
}

impl Mesh for Live {
    fn told_by(&self) -> String {
        format!("the control plane at {}", self.address)
    }

    fn find(&mut self, name: &str) -> anyhow::Result<(Member, Option<String>)> {
        let (kind, name) = match name.split_once('/') {
            Some((kind @ ("service" | "workload"), name)) => (Some(kind), name),
            Some((kind, _)) => {
                bail!("`{kind}/` is not known — FROM — give NAME, service/NAME or workload/NAME")
            }
            None => (None, name),
        };
        let meanings: [(&str, Meaning); 4] = [
            ("workload", |proxy| proxy.workload.clone()),
            ("workload", |proxy| short(&proxy.workload).to_owned()),
            ("service", |proxy| {
                format!("{}.{}", proxy.service, namespace(proxy))
            }),
            ("service", |proxy| proxy.service.clone()),
        ];
        for (_, meaning) in meanings
            .iter()
            .filter(|(is, _)| kind.is_none_or(|kind| kind == *is))
        {
            let mut named = self.status.proxies.iter().filter(|proxy| meaning(proxy) == name);
            if let Some(first) = named.next() {
                let others = named.count();
                let note = format!("asked for {}, one of {} of that name", first.workload, others + 1);
                return Ok((member(first), (others > 0).then_some(note)));
            }
        }
        // `reviews-v1` for its only instance, `reviews-v1-6f2a`.
        let begins = format!("{name}-");
        let mut instances = self
            .status
            .proxies
            .iter()
            .filter(|proxy| proxy.workload.starts_with(&begins));
        if let (Some(first), true) = (instances.next(), kind != Some("service")) {
            let others = instances.count();
            let note = format!("asked for {}, one of {} instances", first.workload, others + 1);
            return Ok((member(first), (others > 0).then_some(note)));
        }
        let known = self.status.proxies.iter();
        let known = known.flat_map(|proxy| [short(&proxy.workload), proxy.service.as_str()]);
        let mend = match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "`leno status` lists those that are".into(),
        };
        bail!("nobody called {name} is connected — FROM — {mend}")
    }

    fn resource(&mut self, of: &Member, kind: ResourceType, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let asked = self
            .control
            .resources(&of.id, kind.type_url(), vec![name.to_owned()]);
        let found = self.runtime.block_on(asked)?.resources.into_iter().next();
        if let Some(found) = &found {
            let key = (of.id.clone(), kind.type_url(), name.to_owned());
            self.versions.insert(key, found.version.clone());
        }
        Ok(found.map(|resource| resource.body))
    }

    fn at(&self, address: IpAddr) -> Option<(Member, Option<String>)> {
        let address = address.to_string();
        let proxy = self
            .status
            .proxies
            .iter()
            .find(|proxy| proxy.address == address)?;
        Some((member(proxy), None))
    }

    fn in_force(&mut self, of: &Member, kind: ResourceType, name: &str) -> Option<InForce> {
        if !self.proxies.contains_key(&of.id) {
            let dumped = self.runtime.block_on(self.control.config(&of.id, "all"));
            let dumped = dumped.ok().map(|dump| dump.resources);
            self.proxies.insert(of.id.clone(), dumped);
        }
        let has = self.proxies.get(&of.id)?.as_ref()?;
        let key = (of.id.clone(), kind.type_url(), name.to_owned());
        let sent = self.versions.get(&key)?;
        let found = has
            .iter()
            .find(|resource| resource.type_url == kind.type_url() && resource.name == name);
        Some(match found {
            None => InForce::NotYet,
            Some(found) if !found.error.is_empty() => InForce::Rejected {
                error: found.error.clone(),
            },
            Some(found) if found.version == *sent => InForce::Same,
            Some(found) => InForce::Older {
                version: found.version.clone(),
            },
        })
    }

    fn ports(&self, _address: IpAddr) -> Vec<u16> {
        Vec::new()
    }

    fn runs(&self) -> bool {
        true
    }
}

fn member(proxy: &ProxyStatus) -> Member {
    Member {
        id: proxy.node_id.clone(),
        workload: proxy.workload.clone(),
        namespace: namespace(proxy).to_owned(),
        principal: proxy.principal.clone(),
        on_demand: proxy.kind == "leno",
        grpc: proxy.kind == "grpc",
    }
}

fn short(workload: &str) -> &str {
    workload.split_once('.').map_or(workload, |(name, _)| name)
}

fn namespace(proxy: &ProxyStatus) -> &str {
    proxy
        .workload
        .split_once('.')
        .map_or("default", |(_, namespace)| namespace)
}
