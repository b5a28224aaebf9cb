//! `x-forwarded-client-cert`: who called, for applications behind the proxy that ends TLS (Envoy: "HTTP header
//! manipulation", XFCC).

use leno_engine::compile::http::{ForwardClientCert, ForwardClientCertMode, HttpConnectionManager};
use leno_engine::decide::rbac::Caller;
use leno_engine::message::{Headers, RequestHead};
use leno_tls::PeerInfo;
use serde_json::Value;

use crate::connection::Connection;
use crate::peer_certificates::{PeerCertificates, unescaped};

const XFCC: &str = "x-forwarded-client-cert";

pub(crate) fn forward(head: &mut RequestHead, manager: &HttpConnectionManager, connection: &Connection) {
    let by_request = manager.client_cert_by_request.as_ref();
    let own = by_request.and_then(|by| {
        let caller = Caller {
            request: Some(head),
            ..connection.without_request()
        };
        by.tree.decide(&caller).copied()
    });
    let config = own.as_ref().unwrap_or(&manager.client_cert);
    let headers = &mut head.headers;
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
            add(headers, config, connection);
        }
        ForwardClientCertMode::AppendForward => {
            if !connection.is_mesh_peer() {
                headers.remove(XFCC);
            }
            add(headers, config, connection);
        }
    }
}

/// In the form that is there already, else in the one configured.
fn add(headers: &mut Headers, config: &ForwardClientCert, connection: &Connection) {
    let Some(peer) = connection.peer.as_deref() else {
        return;
    };
    let before = headers.get_str(XFCC).filter(|before| !before.is_empty());
    let list = before.and_then(|before| before.strip_prefix('[')?.strip_suffix(']'));
    let value = match (before, list) {
        (None, _) if config.json => format!("[{}]", object(config, peer, connection)),
        (None, _) => element(config, peer, connection),
        (Some(_), Some(list)) if list.trim().is_empty() => format!("[{}]", object(config, peer, connection)),
        (Some(_), Some(list)) => format!("[{list},{}]", object(config, peer, connection)),
        (Some(before), None) => format!("{before},{}", element(config, peer, connection)),
    };
    headers.set(XFCC, value);
}

/// `By=…;Hash=…;Cert="…";Chain="…";Subject="…";URI=…;DNS=…;Issuer="…"`, in Envoy's order.
fn element(config: &ForwardClientCert, peer: &PeerInfo, connection: &Connection) -> String {
    let mut parts = Vec::new();
    if let Some(local) = &connection.record.local_principal {
        parts.push(format!("By={local}"));
    }
    if let Some(hash) = &peer.certificate_hash {
        parts.push(format!("Hash={hash}"));
    }
    let PeerCertificates { leaf, chain, issuer } = asked(config, connection);
    parts.extend(leaf.map(|pem| format!("Cert=\"{pem}\"")));
    parts.extend(chain.map(|pem| format!("Chain=\"{pem}\"")));
    if config.subject {
        // A quote in it has its backslash already (RFC 2253).
        parts.push(format!("Subject=\"{}\"", peer.subject));
    }
    if config.uri {
        parts.extend(peer.sans.uris.iter().map(|uri| format!("URI={uri}")));
    }
    if config.dns {
        parts.extend(peer.sans.dns.iter().map(|name| format!("DNS={name}")));
    }
    parts.extend(issuer.map(|issuer| format!("Issuer=\"{issuer}\"")));
    parts.join(";")
}

/// The same as JSON, where certificates are not escaped but by JSON.
fn object(config: &ForwardClientCert, peer: &PeerInfo, connection: &Connection) -> String {
    let list = |names: &[String]| (!names.is_empty()).then(|| Value::from(names));
    let PeerCertificates { leaf, chain, issuer } = asked(config, connection);
    let by = connection.record.local_principal.as_deref();
    let fields = [
        ("by", by.map(|by| Value::from(vec![by]))),
        ("hash", peer.certificate_hash.clone().map(Value::from)),
        ("cert", leaf.map(|pem| unescaped(&pem).into())),
        ("chain", chain.map(|pems| each(&unescaped(&pems)))),
        ("subject", config.subject.then(|| peer.subject.clone().into())),
        ("uri", list(&peer.sans.uris).filter(|_| config.uri)),
        ("dns", list(&peer.sans.dns).filter(|_| config.dns)),
        ("issuer", issuer.map(Value::from)),
    ];
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// The certificates one by one.
fn each(pems: &str) -> Value {
    pems.split_inclusive("-----END CERTIFICATE-----\n").collect()
}

/// Of what is kept, what this configuration says.
fn asked(config: &ForwardClientCert, connection: &Connection) -> PeerCertificates {
    let kept = connection.client_cert();
    let of = |wanted: bool, part: fn(&PeerCertificates) -> &Option<String>| {
        kept.filter(|_| wanted).and_then(|kept| part(kept).clone())
    };
    PeerCertificates {
        leaf: of(config.cert, |kept| &kept.leaf),
        chain: of(config.chain, |kept| &kept.chain),
        issuer: of(config.issuer, |kept| &kept.issuer),
    }
}
