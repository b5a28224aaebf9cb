//! `proxy-status` of answers that are not the upstream's (RFC 9209).

use leno_engine::compile::http::{ProxyName, ProxyStatus};
use leno_engine::decide::proxy_status::cause;
use leno_engine::message::ResponseHead;
use leno_telemetry::access_log;

use crate::record::Exchange;

const PROXY_STATUS: &str = "proxy-status";

pub(crate) fn write(config: &ProxyStatus, exchange: &Exchange, head: &mut ResponseHead) {
    let flags = exchange.flags.get();
    let Some((word, status)) = cause(flags) else {
        return;
    };
    let name = match &config.name {
        ProxyName::Server(name) | ProxyName::Literal(name) => name,
        ProxyName::NodeId => &exchange.worker().shared.node.id,
    };
    let mut value = format!("{name}; error={word}");
    let details = exchange.details.borrow();
    if config.details && !details.is_empty() {
        let upstream = exchange.upstream.borrow();
        let mut told = access_log::details(&details, upstream.failure.as_deref()).into_owned();
        if config.flags {
            told.push_str(&format!("; {}", flags.told()));
        }
        value.push_str(&format!("; details={}", quoted(&told)));
    }
    let value = match head.headers.joined(PROXY_STATUS) {
        Some(before) => [&before, &b", "[..], value.as_bytes()].concat(),
        None => value.into_bytes(),
    };
    head.headers.set(PROXY_STATUS, value);
    if config.recommended {
        head.status = status;
    }
}

/// A string of RFC 8941 §3.3.3.
fn quoted(text: &str) -> String {
    let kept = text.chars().filter(|c| (' '..='~').contains(c));
    let mut out = String::from("\"");
    for c in kept {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}
