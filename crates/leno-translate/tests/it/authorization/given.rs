//! The RBAC that is given, under leno's engine.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::listener::{self, FilterChain, TerminalFilter};
use leno_engine::compile::metadata::{Fields, Value};
use leno_engine::compile::{NoFiles, Warnings};
use leno_engine::decide::notes::Notes;
use leno_engine::decide::rbac::{Caller, Peer};
use leno_engine::message::{Headers, RequestHead, Version};
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto_text::Schema;
use serde_json::json;

use super::facts::Facts;

pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::load);

/// Addresses of a case as ones of this machine, so that a client can have them: networks of 16 bits by their order. And
/// names without the brackets that no URI and no method has.
#[derive(Default)]
pub(super) struct Local(BTreeMap<(u8, u8), u8>);

impl Local {
    pub(super) fn text(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, number) = rest.split_at(at);
            out.push_str(before);
            let end = number
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(number.len());
            let (token, behind) = number.split_at(end);
            match token.parse::<std::net::Ipv4Addr>() {
                Ok(address) => {
                    let [a, b, c, d] = address.octets();
                    let next = u8::try_from(self.0.len() + 1).unwrap();
                    let known = self.0.entry((a, b)).or_insert(next);
                    let _ = write!(out, "127.{known}.{c}.{d}");
                }
                Err(_) => out.push_str(token),
            }
            rest = behind;
        }
        out.push_str(rest);
        for digit in 0..=9 {
            out = out.replace(&format!("\\[{digit}\\]"), &format!("-{digit}-"));
            out = out.replace(&format!("[{digit}]"), &format!("-{digit}-"));
        }
        out
    }
}

/// The filters of a chain that may deny.
pub(super) struct Guards(pub(super) Arc<FilterChain>);

impl Guards {
    pub(super) fn given(filters: &[serde_json::Value], tcp: bool) -> Self {
        let chain = chain(filters, tcp, false);
        let message = json!({
            "name": "given",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
            "filter_chains": [chain],
        });
        Self::of(&SCHEMA.from_text(&message.to_string()).unwrap())
    }

    /// Those of a listener's first chain.
    pub(super) fn of(listener: &Listener) -> Self {
        let compiled = listener::compile(listener, &NoFiles, &mut Warnings::default());
        let compiled = compiled.unwrap_or_else(|e| panic!("{e}"));
        Self(Arc::clone(&compiled.chains[0]))
    }

    pub(super) fn denies(&self, facts: &Facts) -> bool {
        let mut headers = Headers::default();
        for (name, value) in &facts.headers {
            headers.append(name.to_lowercase(), value.clone());
        }
        let head = RequestHead {
            method: facts.method.clone().into(),
            authority: facts.host.clone().into(),
            path: facts.path.clone().into(),
            scheme: "http".into(),
            headers,
            version: Version::Http11,
            upgrade: None,
        };
        let notes = Notes::default();
        for ((namespace, field), value) in &facts.noted {
            notes.set_metadata(namespace, [(field.clone(), Value::Text(value.clone()))].into());
        }
        if !facts.claims.is_empty() {
            let payload = Value::Fields(payload(facts));
            notes.set_metadata(
                "envoy.filters.http.jwt_authn",
                [("payload".to_owned(), payload)].into(),
            );
        }
        let http = matches!(self.0.terminal, TerminalFilter::Http(_));
        let caller = Caller {
            request: http.then_some(&head),
            ignores_parameters: false,
            remote: (IpAddr::from(facts.remote), 1).into(),
            peer: Peer {
                address: facts.source.into(),
                source: (facts.source, 40_000).into(),
                destination: facts.destination.into(),
                server_name: facts
                    .server_name
                    .as_deref()
                    .filter(|_| !facts.identities.is_empty()),
                tls: !facts.identities.is_empty(),
                uris: &facts.identities,
                names: &[],
                subject: "",
            },
            notes: http.then_some(&notes),
            values: &NoValues,
        };
        match &self.0.terminal {
            TerminalFilter::Http(manager) => {
                manager.filters.iter().any(|f| f.denies(None, &caller).is_some())
            }
            _ => self
                .0
                .network
                .iter()
                .any(|filter| filter.denies(&caller).is_some()),
        }
    }
}

fn payload(facts: &Facts) -> Fields {
    let mut all = Fields::new();
    for (path, value) in &facts.claims {
        let Some((last, before)) = path.split_last() else {
            continue;
        };
        let mut at = &mut all;
        for name in before {
            let inner = at
                .entry(name.clone())
                .or_insert_with(|| Value::Fields(Fields::new()));
            let Value::Fields(fields) = inner else {
                unreachable!()
            };
            at = fields;
        }
        at.insert(last.clone(), Value::Text(value.clone()));
    }
    all
}

/// A chain of these filters, whose end lets everything pass. `told`: what filters would have noted comes in headers.
pub(super) fn chain(filters: &[serde_json::Value], tcp: bool, told: bool) -> serde_json::Value {
    let answer = json!({"inline_string": "passed"});
    if tcp {
        let mut all = filters.to_vec();
        all.push(json!({
            "name": "tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "given",
                "cluster": "upstream",
            },
        }));
        return json!({"filters": all});
    }
    let noted = |header: &str, namespace: &str, key: &str, value: serde_json::Value| {
        let mut present = json!({"metadata_namespace": namespace, "key": key});
        present
            .as_object_mut()
            .unwrap()
            .extend(value.as_object().unwrap().clone());
        json!({"header": header, "on_header_present": present, "remove": true})
    };
    let text = json!({"type": "STRING"});
    let struct_ = json!({"type": "PROTOBUF_VALUE", "encode": "BASE64"});
    let mut all = Vec::new();
    let noting = json!({
        "name": "header_to_metadata",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
            "request_rules": [
                noted("x-noted", "envoy.filters.a.b", "c", text),
                noted("x-claims", "envoy.filters.http.jwt_authn", "payload", struct_),
            ],
        },
    });
    all.extend(told.then_some(noting));
    all.extend(filters.to_vec());
    all.push(json!({
        "name": "router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }));
    json!({"filters": [{
        "name": "manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "given",
            "http_protocol_options": {"allow_custom_methods": true},
            "delayed_close_timeout": "0s",
            "http_filters": all,
            "route_config": {"virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": answer}}],
            }]},
        },
    }]})
}
