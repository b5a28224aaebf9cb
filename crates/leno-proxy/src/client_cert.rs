//! `x-forwarded-client-cert`: who called, for applications behind the proxy that ends TLS (Envoy: "HTTP header
//! manipulation", XFCC).

use leno_engine::compile::http::{ForwardClientCert, ForwardClientCertMode};
use leno_engine::message::Headers;
use leno_tls::PeerInfo;

use crate::connection::Connection;
use crate::peer_certificates::PeerCertificates;

const XFCC: &str = "x-forwarded-client-cert";

pub(crate) fn forward(headers: &mut Headers, config: &ForwardClientCert, connection: &Connection) {
    let element = || {
        let peer = connection.peer.as_ref()?;
        Some(element(config, peer, connection))
    };
    match config.mode {
        ForwardClientCertMode::AlwaysForwardOnly => {}
        ForwardClientCertMode::Sanitize => {
            headers.remove(XFCC);
        }
        ForwardClientCertMode::ForwardOnly => {
            if !connection.is_mesh_peer() {
                headers.remove(XFCC);
            }
        }
        ForwardClientCertMode::SanitizeSet => {
            headers.remove(XFCC);
            if let Some(element) = element() {
                headers.append(XFCC, element);
            }
        }
        ForwardClientCertMode::AppendForward => {
            if !connection.is_mesh_peer() {
                headers.remove(XFCC);
            }
            if let Some(element) = element() {
                let value = match headers.get_str(XFCC) {
                    Some(before) => format!("{before},{element}"),
                    None => element,
                };
                headers.set(XFCC, value);
            }
        }
    }
}

/// `By=…;Hash=…;Cert="…";Chain="…";Subject="…";URI=…;DNS=…`, in Envoy's order.
fn element(config: &ForwardClientCert, peer: &PeerInfo, connection: &Connection) -> String {
    let mut parts = Vec::new();
    if let Some(local) = &connection.record.local_principal {
        parts.push(format!("By={local}"));
    }
    if let Some(hash) = &peer.certificate_hash {
        parts.push(format!("Hash={hash}"));
    }
    if let Some(PeerCertificates { leaf, chain }) = connection.client_cert() {
        parts.extend(leaf.iter().map(|pem| format!("Cert=\"{pem}\"")));
        parts.extend(chain.iter().map(|pem| format!("Chain=\"{pem}\"")));
    }
    if config.subject {
        parts.push(format!("Subject=\"{}\"", peer.subject.replace('"', "\\\"")));
    }
    if config.uri {
        parts.extend(peer.id.iter().map(|id| format!("URI={id}")));
    }
    if config.dns {
        parts.extend(peer.sans.dns.iter().map(|name| format!("DNS={name}")));
    }
    parts.join(";")
}
