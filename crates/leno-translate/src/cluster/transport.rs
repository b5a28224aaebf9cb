//! Plaintext or TLS towards the endpoints of a cluster, and whom they may be.

use std::collections::BTreeSet;

use leno_model::policy::{Credentials, Origination, ProxyProtocol};
use leno_model::{Backing, Service, TlsMode, TrafficPolicy};
use leno_proto::ToAny;

use super::UpstreamHttp;
use crate::Proxy;
use crate::endpoint;
use crate::parts::{string, structure, transport_socket};
use crate::pb::cluster::cluster::TransportSocketMatch;
use crate::pb::core::{self, TransportSocket};
use crate::pb::protobuf::Struct;
use crate::pb::upstream_proxy_protocol::ProxyProtocolUpstreamTransport;
use crate::reader::Reader;
use crate::tls::{self, Inside, Public, PublicCredentials};

/// How connections are secured, and what comes before that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transport {
    security: Security,
    /// The client's address is told, first of all.
    introduces: Option<ProxyProtocol>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Security {
    Plaintext,
    /// Mesh mTLS to the endpoints that speak it, plaintext to the others.
    Auto(MeshTls),
    Mesh(MeshTls),
    Public(Box<Public>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct MeshTls {
    sni: String,
    /// SPIFFE ids of the service accounts that stand behind the service.
    identities: Vec<String>,
    inside: Inside,
}

/// None: the proxy cannot have what TLS is to be made with, and without it nothing may go there.
pub(super) fn transport(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    service: &Service,
    policy: &TrafficPolicy,
    sni: String,
    http: UpstreamHttp,
) -> Option<Transport> {
    // Of an address that a name resolves to, or that the caller brings, nobody knows what it speaks.
    let known = matches!(service.backing, Backing::Workloads | Backing::Fixed(_));
    let security = match &policy.tls {
        None if known && reader.mesh().auto_mtls => Security::Auto(mesh(reader, service, sni, http)),
        None | Some(TlsMode::Disable) => Security::Plaintext,
        Some(TlsMode::IstioMutual { sni: said, names }) => {
            let mut mesh = mesh(reader, service, said.clone().unwrap_or(sni), http);
            if !names.is_empty() {
                mesh.identities.clone_from(names);
            }
            Security::Mesh(mesh)
        }
        Some(TlsMode::Originate(said)) => Security::Public(Box::new(public(proxy, service, said, http)?)),
    };
    Some(Transport {
        security,
        introduces: policy.proxy_protocol,
    })
}

fn mesh(reader: &mut Reader<'_>, service: &Service, sni: String, http: UpstreamHttp) -> MeshTls {
    let mesh = reader.mesh();
    let accounts = endpoint::described(service).filter_map(|endpoint| endpoint.service_account.as_ref());
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

/// Secrets are a gateway's only. Files a gateway reads, and Envoy; to a sidecar of leno's nobody may name files.
fn public(proxy: &Proxy, service: &Service, said: &Origination, http: UpstreamHttp) -> Option<Public> {
    let credentials = match &said.credentials {
        credentials if credentials.are_none() => PublicCredentials::None,
        Credentials::Secret(name) if proxy.is_gateway() => PublicCredentials::Secret {
            namespace: proxy.namespace.clone(),
            name: name.clone(),
        },
        // A list of what is revoked has no name that leno's proxy could ask for.
        Credentials::Files { revoked: Some(_), .. } if proxy.on_demand => return None,
        Credentials::Files {
            certificate,
            roots,
            revoked,
        } if proxy.is_gateway() || !proxy.on_demand => PublicCredentials::Files {
            certificate: certificate.clone(),
            roots: roots.clone(),
            revoked: revoked.clone(),
        },
        Credentials::Secret(_) | Credentials::Files { .. } => return None,
    };
    Some(Public {
        server_name: said.sni.clone().unwrap_or_else(|| service.host.to_string()),
        names: said.names.clone(),
        unverified: said.unverified,
        mutual: said.mutual,
        credentials,
        http2: http == UpstreamHttp::Http2,
        leno: proxy.on_demand,
    })
}

// === impl MeshTls ===

impl MeshTls {
    fn socket(&self) -> TransportSocket {
        tls::mesh_upstream(&self.sni, &self.identities, self.inside)
    }
}

// === impl Transport ===

impl Transport {
    /// The cluster's socket, and those by endpoint metadata, of which the first that fits is used.
    pub(super) fn sockets(&self) -> (Option<TransportSocket>, Vec<TransportSocketMatch>) {
        match &self.security {
            Security::Plaintext => (
                self.introduces.map(|_| self.introduced(tls::plaintext())),
                Vec::new(),
            ),
            Security::Mesh(mesh) => (Some(self.introduced(mesh.socket())), Vec::new()),
            Security::Public(public) => (Some(self.introduced(tls::public_upstream(public))), Vec::new()),
            Security::Auto(mesh) => {
                let by_mode = |name: &str, fields: Struct, socket: TransportSocket| TransportSocketMatch {
                    name: name.into(),
                    r#match: Some(fields),
                    transport_socket: Some(self.introduced(socket)),
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

    fn introduced(&self, socket: TransportSocket) -> TransportSocket {
        use core::proxy_protocol_config::Version;
        let Some(version) = self.introduces else {
            return socket;
        };
        let version = match version {
            ProxyProtocol::V1 => Version::V1,
            ProxyProtocol::V2 => Version::V2,
        };
        let outer = ProxyProtocolUpstreamTransport {
            config: Some(core::ProxyProtocolConfig {
                version: version.into(),
                ..Default::default()
            }),
            transport_socket: Some(socket),
            ..Default::default()
        };
        transport_socket("envoy.transport_sockets.upstream_proxy_protocol", outer.to_any())
    }
}
