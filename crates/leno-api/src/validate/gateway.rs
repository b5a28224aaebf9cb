//! Istio's Gateway.

use std::net::IpAddr;

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::gateway::{GatewaySpec, Server, ServerTls, TlsMode};

const HTTP: &[&str] = &["HTTP", "HTTP2", "GRPC", "GRPC-WEB"];
const TCP: &[&str] = &["TCP", "MONGO", "MYSQL", "REDIS"];

pub(super) fn check(check: &mut Check<'_>, spec: &GatewaySpec) {
    if spec.servers.is_empty() {
        let hint = "add servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]";
        check.error(Code::Empty, "spec.servers", "a Gateway without servers", hint);
    }
    for (i, server) in spec.servers.iter().enumerate() {
        self::server(check, &format!("spec.servers[{i}]"), server);
    }
    let named = spec.servers.iter().enumerate();
    let named = named.filter(|(_, server)| !server.port.name.is_empty());
    check.distinct(
        "port name",
        named.map(|(i, server)| (format!("spec.servers[{i}].port.name"), server.port.name.as_str())),
    );
}

fn server(check: &mut Check<'_>, at: &str, server: &Server) {
    check.port(format!("{at}.port.number"), server.port.number);
    let hosts = format!("{at}.hosts");
    if server.hosts.is_empty() {
        check.error(
            Code::Empty,
            &hosts,
            "a server without hosts",
            "add hosts: [\"*\"] to serve all",
        );
    }
    for (i, host) in server.hosts.iter().enumerate() {
        self::host(check, &format!("{hosts}[{i}]"), host);
    }
    if let Some(bind) = &server.bind
        && bind.parse::<IpAddr>().is_err()
    {
        check.not_served(
            format!("{at}.bind"),
            format!("bind to {bind:?}, which is no IP address,"),
        );
    }
    let protocol = server.port.protocol.to_ascii_uppercase();
    match protocol.as_str() {
        "HTTPS" | "TLS" => encrypted(check, at, &protocol, server.tls.as_ref()),
        plain if HTTP.contains(&plain) || TCP.contains(&plain) => {
            let redirects = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
            if redirects && TCP.contains(&plain) {
                let message = format!("httpsRedirect of {plain}, which is not HTTP");
                check.error(
                    Code::BadCombination,
                    format!("{at}.tls.httpsRedirect"),
                    message,
                    "leave it out",
                );
            }
            if server.tls.as_ref().is_some_and(says_how) {
                let message = format!("TLS settings of {plain}, which is not encrypted");
                let hint = "use the protocol HTTPS or TLS";
                check.error(Code::BadCombination, format!("{at}.tls"), message, hint);
            }
        }
        other => {
            let message = format!("{other:?} is no protocol of a gateway");
            let hint = "use HTTP, HTTPS, HTTP2, GRPC, TLS or TCP";
            check.error(Code::WrongValue, format!("{at}.port.protocol"), message, hint);
        }
    }
}

/// Anything beside the redirect.
fn says_how(tls: &ServerTls) -> bool {
    let mut without = tls.clone();
    without.https_redirect = false;
    without != ServerTls::default()
}

fn encrypted(check: &mut Check<'_>, at: &str, protocol: &str, tls: Option<&ServerTls>) {
    let at = format!("{at}.tls");
    let Some(tls) = tls else {
        let hint = "add tls: {mode: SIMPLE, credentialName: …}";
        return check.error(
            Code::MissingField,
            &at,
            format!("{protocol} without tls settings"),
            hint,
        );
    };
    if tls.https_redirect {
        let message = format!("httpsRedirect at a port that is {protocol} already");
        check.error(
            Code::BadCombination,
            format!("{at}.httpsRedirect"),
            message,
            "set it at the HTTP port",
        );
    }
    let certificate = [
        ("credentialName", tls.credential_name.is_some()),
        ("serverCertificate", tls.server_certificate.is_some()),
    ];
    let mode = tls.mode.unwrap_or(TlsMode::Passthrough);
    match mode {
        TlsMode::Passthrough if tls.mode.is_none() && certificate.iter().any(|(_, given)| *given) => {
            let message = "no mode is given, which means PASSTHROUGH, and that uses no certificate";
            check.error(
                Code::BadCombination,
                &at,
                message,
                "add mode: SIMPLE to end TLS at the gateway",
            );
        }
        TlsMode::Passthrough => {}
        TlsMode::AutoPassthrough | TlsMode::IstioMutual => {
            check.not_served(format!("{at}.mode"), format!("the TLS mode {}", name(mode)));
        }
        TlsMode::Simple | TlsMode::Mutual | TlsMode::OptionalMutual => {
            check.one_of(&at, &certificate);
            if tls.server_certificate.is_some() != tls.private_key.is_some() {
                let hint = "give both, or a credentialName";
                let message = "serverCertificate and privateKey belong together";
                check.error(Code::MissingField, &at, message, hint);
            }
            let verifies = mode != TlsMode::Simple;
            if verifies && tls.credential_name.is_none() && tls.ca_certificates.is_none() {
                let message = format!("{} without caCertificates to verify clients by", name(mode));
                check.error(Code::MissingField, &at, message, "add caCertificates");
            }
            if tls.ca_certificates.is_some() && tls.credential_name.is_some() {
                let message = "caCertificates and credentialName are given together";
                let hint = "put ca.crt into the Secret";
                check.error(Code::BadCombination, &at, message, hint);
            }
            if !verifies && !tls.subject_alt_names.is_empty() {
                let message = "subjectAltNames say nothing where no client certificate is asked for";
                let hint = "use mode: MUTUAL";
                check.error(
                    Code::BadCombination,
                    format!("{at}.subjectAltNames"),
                    message,
                    hint,
                );
            }
        }
    }
    files(check, &at, tls);
}

/// A comma or `~` would end the name in the words that proxies are told it by.
fn files(check: &mut Check<'_>, at: &str, tls: &ServerTls) {
    let files = [
        ("serverCertificate", &tls.server_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
    ];
    for (field, path) in files {
        if let Some(path) = path
            && (!path.starts_with('/') || path.contains('~'))
        {
            let message = format!("{path:?} is no path from the root without \"~\"");
            let hint = "give the path of a file on the gateway's machine";
            check.error(Code::BadPath, format!("{at}.{field}"), message, hint);
        }
    }
}

fn name(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Passthrough => "PASSTHROUGH",
        TlsMode::Simple => "SIMPLE",
        TlsMode::Mutual => "MUTUAL",
        TlsMode::AutoPassthrough => "AUTO_PASSTHROUGH",
        TlsMode::IstioMutual => "ISTIO_MUTUAL",
        TlsMode::OptionalMutual => "OPTIONAL_MUTUAL",
    }
}

/// `host` or `namespace/host`; the namespace may be `*` or `.`, the host a wildcard.
fn host(check: &mut Check<'_>, at: &str, written: &str) {
    let (namespace, host) = written.split_once('/').unwrap_or(("*", written));
    if !matches!(namespace, "*" | ".") && !names::is_label(namespace) {
        check.error(
            Code::BadHost,
            at,
            format!("{namespace:?} is no namespace"),
            "write NAMESPACE/HOST",
        );
    }
    check.host_or_wildcard(at, host);
}
