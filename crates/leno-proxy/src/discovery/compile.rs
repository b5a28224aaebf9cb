//! What arrives, in the form that the workers use.

use std::path::{Path, PathBuf};

use leno_dns::NameTable;
use leno_engine::compile::{Files, Warnings, cluster, endpoint, extension, http, listener, route, runtime};
use leno_engine::runtime::Runtime;
use leno_proto::envoy::config::route::v3::VirtualHost;
use leno_proto::google::protobuf::Any;
use prost::Message;

use crate::resources::{Compiled, Kind};
use crate::secret;

pub(super) fn name_table(body: &Any, namespace: &str) -> Result<NameTable, String> {
    let table = leno_proto::istio::networking::nds::v1::NameTable::decode(body.value.as_slice())
        .map_err(|e| e.to_string())?;
    Ok(NameTable::in_namespace(&table, namespace))
}

/// Makes the validated form of a resource, or says which field is why not.
pub(super) fn compile(kind: Kind, body: &[u8], files: &dyn Files) -> Result<Compiled, String> {
    let mut warnings = Warnings::default();
    let compiled =
        match kind {
            Kind::Runtime => runtime::discovered(&decode(body)?, files, &mut warnings).map(Compiled::Runtime),
            Kind::Endpoints => endpoint::compile(&decode(body)?, files, &mut warnings)
                .map(|e| Compiled::Endpoints(Box::new(e))),
            Kind::Secret => {
                let secret = secret::compile(&decode(body)?, files)?;
                return Ok(Compiled::Secret(Box::new(secret)));
            }
            Kind::Cluster => {
                cluster::compile(&decode(body)?, files, &mut warnings).map(|c| Compiled::Cluster(Box::new(c)))
            }
            Kind::VirtualHost => {
                decode::<VirtualHost>(body)?;
                return Ok(Compiled::VirtualHost);
            }
            Kind::Route => {
                route::compile(&decode(body)?, files, &mut warnings).map(|r| Compiled::Route(Box::new(r)))
            }
            Kind::Scope => {
                http::scope(&decode(body)?, files, &mut warnings).map(|s| Compiled::Scope(Box::new(s)))
            }
            Kind::Extension => extension::compile(&decode(body)?, files, &mut warnings)
                .map(|e| Compiled::Extension(Box::new(e))),
            Kind::Listener => listener::compile(&decode(body)?, files, &mut warnings)
                .map(|l| Compiled::Listener(Box::new(l))),
        };
    for warning in &warnings.0 {
        tracing::debug!(%warning, ?kind, "a field has no effect");
    }
    compiled.map_err(|rejection| rejection.to_string())
}

/// Whose control planes the machine's owner has chosen: they may name its files, as Envoy's may.
pub(super) struct Disk(pub(super) Runtime);

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }

    fn runtime(&self) -> Runtime {
        self.0.clone()
    }

    fn hostname(&self) -> Option<String> {
        hostname()
    }

    fn time_zone(&self) -> Option<Vec<u8>> {
        time_zone(None)
    }
}

/// What this machine is called.
pub fn hostname() -> Option<String> {
    let name = rustix::system::uname();
    name.nodename().to_str().ok().map(str::to_owned)
}

/// The time zone of this machine, as its database has it. `named`: by the environment, as by `TZ`.
pub fn time_zone(named: Option<&str>) -> Option<Vec<u8>> {
    let path = match named.map(|name| name.strip_prefix(':').unwrap_or(name)) {
        None => PathBuf::from("/etc/localtime"),
        // A whole path replaces it.
        Some(name) => Path::new("/usr/share/zoneinfo").join(name),
    };
    std::fs::read(path).ok()
}

/// The one file that a mesh's control plane may name: the machine's own trust store, for TLS to the outside (Istio's
/// `SIMPLE` without `caCertificates`).
pub(super) struct SystemTrust;

const SYSTEM_TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Files for SystemTrust {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            SYSTEM_TRUST => std::fs::read(path).map_err(|e| e.to_string()),
            _ => Err("over xDS a secret is named, not a file".to_owned()),
        }
    }

    fn time_zone(&self) -> Option<Vec<u8>> {
        time_zone(None)
    }
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, String> {
    M::decode(body).map_err(|e| e.to_string())
}
