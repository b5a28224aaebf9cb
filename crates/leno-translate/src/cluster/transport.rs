//! Plaintext or TLS towards the endpoints of a cluster, and whom they may be.

use std::collections::BTreeSet;

use leno_model::{Backing, Service, TlsMode};

use super::UpstreamHttp;
use crate::Proxy;
use crate::parts::{string, structure};
use crate::pb::cluster::cluster::TransportSocketMatch;
use crate::pb::core::TransportSocket;
use crate::pb::protobuf::Struct;
use crate::reader::Reader;
use crate::tls::{self, Inside};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    Plaintext,
    /// Mesh mTLS to the endpoints that speak it, plaintext to the others.
    Auto(MeshTls),
    Mesh(MeshTls),
    Public {
        server_name: String,
        http2: bool,
        leno: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MeshTls {
    sni: String,
    /// SPIFFE ids of the service accounts that stand behind the service.
    identities: Vec<String>,
    inside: Inside,
}

pub(super) fn transport(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    service: &Service,
    said: Option<&TlsMode>,
    sni: String,
    http: UpstreamHttp,
) -> Transport {
    // Of an address that a name resolves to, or that the caller brings, nobody knows what it speaks.
    let known = matches!(service.backing, Backing::Workloads | Backing::Fixed(_));
    match said {
        None if known && reader.mesh().auto_mtls => Transport::Auto(mesh(reader, service, sni, http)),
        None | Some(TlsMode::Disable) => Transport::Plaintext,
        Some(TlsMode::IstioMutual) => Transport::Mesh(mesh(reader, service, sni, http)),
        Some(TlsMode::Simple { sni }) => Transport::Public {
            server_name: sni.clone().unwrap_or_else(|| service.host.to_string()),
            http2: http == UpstreamHttp::Http2,
            leno: proxy.on_demand,
        },
    }
}

fn mesh(reader: &mut Reader<'_>, service: &Service, sni: String, http: UpstreamHttp) -> MeshTls {
    let mesh = reader.mesh();
    let described = match &service.backing {
        Backing::Fixed(endpoints) | Backing::Dns { endpoints, one: _ } => endpoints.as_slice(),
        Backing::Workloads | Backing::Caller => &[],
    };
    let accounts = described
        .iter()
        .filter_map(|endpoint| endpoint.service_account.as_ref());
    let mut identities: BTreeSet<String> = accounts
        .flat_map(|account| mesh.identities(&service.namespace, account))
        .collect();
    identities.extend(service.subject_alt_names.iter().cloned());
    let workloads = reader.endpoints(&service.host).iter();
    identities.extend(
        workloads.flat_map(|workload| mesh.identities(&workload.namespace, &workload.service_account)),
    );
    MeshTls {
        sni,
        identities: identities.into_iter().collect(),
        inside: match http {
            UpstreamHttp::Http2 => Inside::Http2,
            UpstreamHttp::Http1 | UpstreamHttp::AsDownstream => Inside::Http,
            UpstreamHttp::Detected | UpstreamHttp::None => Inside::Tcp,
        },
    }
}

impl MeshTls {
    fn socket(&self) -> TransportSocket {
        tls::mesh_upstream(&self.sni, &self.identities, self.inside)
    }
}

impl Transport {
    /// The cluster's socket, and those by endpoint metadata, of which the first that fits is used.
    pub(super) fn sockets(&self) -> (Option<TransportSocket>, Vec<TransportSocketMatch>) {
        match self {
            Self::Plaintext => (None, Vec::new()),
            Self::Mesh(mesh) => (Some(mesh.socket()), Vec::new()),
            Self::Public {
                server_name,
                http2,
                leno,
            } => {
                let socket = tls::public_upstream(server_name, *http2, *leno);
                (Some(socket), Vec::new())
            }
            Self::Auto(mesh) => {
                let by_mode = |name: &str, fields: Struct, socket: TransportSocket| TransportSocketMatch {
                    name: name.into(),
                    r#match: Some(fields),
                    transport_socket: Some(socket),
                };
                let speaks = structure([("tlsMode", string("istio"))]);
                let matches = vec![
                    by_mode("tlsMode-istio", speaks, mesh.socket()),
                    by_mode("tlsMode-disabled", Struct::default(), tls::plaintext()),
                ];
                (None, matches)
            }
        }
    }
}
