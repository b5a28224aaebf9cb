//! `/certs`: the certificates that are in use, and whom they are trusted by.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use leno_engine::compile::cluster::Transport;
use leno_engine::compile::tls::CommonTls;
use leno_proto::envoy::admin::v3::{
    Certificate, CertificateDetails, Certificates, SubjectAlternateName, subject_alternate_name::Name,
};
use leno_proto::google::protobuf::Timestamp;
use leno_tls::{CertificateInfo, ROOT_CA, SecretSet, WORKLOAD_CERTIFICATE};

use super::Own;
use crate::state::Config;
use crate::tls;

/// One for each TLS context, of listeners and of clusters.
pub(super) fn message(own: &Own, now: SystemTime) -> Certificates {
    let config = own.proxy.config();
    let secrets = own.proxy.updater().secrets();
    Certificates {
        certificates: contexts(&config)
            .map(|context| certificate(context, &secrets, now))
            .collect(),
    }
}

/// Until the first of all certificates that are in use expires, trusted ones among them. None: there are none.
pub(crate) fn days_until_first_expires(config: &Config, secrets: &SecretSet, now: SystemTime) -> Option<u64> {
    let ends = contexts(config).flat_map(|context| {
        let names = context.certificates.iter().map(tls::identity);
        names.filter_map(|name| Some(secrets.identity(&name)?.info().not_after))
    });
    let left = ends.min()?.duration_since(now).unwrap_or_default();
    Some(left.as_secs() / (24 * 60 * 60))
}

/// How long the secrets of a mesh's proxy last, under the name that Istio's agent has for it.
pub(super) fn write_expiry(text: &mut String, secrets: &SecretSet, now: SystemTime) {
    const NAME: &str = "istio_agent_cert_expiry_seconds";
    let own = secrets
        .identities()
        .map(|(name, own)| (name, Some(own.info().not_after)));
    let trusted = secrets.bundles().map(|(name, bundle)| {
        let ends = bundle.certificates().iter();
        let ends = ends.filter_map(|der| Some(CertificateInfo::parse(der).ok()?.not_after));
        (name, ends.min())
    });
    let mut ends: Vec<(&str, SystemTime)> = own
        .chain(trusted)
        .filter_map(|(name, end)| Some((name, end?)))
        .collect();
    ends.sort_unstable();
    let _ = write!(
        text,
        "# HELP {NAME} Seconds until a certificate, or the first of several, ends.\n# TYPE {NAME} gauge\n"
    );
    for (name, end) in ends
        .into_iter()
        .filter(|(name, _)| matches!(*name, WORKLOAD_CERTIFICATE | ROOT_CA))
    {
        let left = match end.duration_since(now) {
            Ok(left) => left.as_secs_f64(),
            Err(over) => -over.duration().as_secs_f64(),
        };
        let _ = writeln!(text, "{NAME}{{resource_name=\"{name}\"}} {left}");
    }
}

/// Of listeners, then of clusters.
fn contexts(config: &Config) -> impl Iterator<Item = &CommonTls> {
    let chains = config
        .listeners()
        .flat_map(|listener| listener.chains.iter().chain(&listener.default_chain));
    let downstream = chains.filter_map(|chain| chain.tls.as_ref().map(|tls| &tls.common));
    let transports = config.clusters().flat_map(|state| state.cluster.transport.all());
    let upstream = transports.filter_map(Transport::tls).map(|tls| &tls.common);
    downstream.chain(upstream)
}

fn certificate(context: &CommonTls, secrets: &SecretSet, now: SystemTime) -> Certificate {
    let trusted = tls::trust(context)
        .and_then(|name| secrets.bundle(&name))
        .cloned();
    let authorities = trusted.iter().flat_map(|bundle| bundle.certificates());
    let authorities = authorities.filter_map(|der| CertificateInfo::parse(der).ok());
    let names = context.certificates.iter().map(tls::identity);
    let chain = names.filter_map(|name| Some(details(secrets.identity(&name)?.info(), now)));
    Certificate {
        // Envoy tells of the first.
        ca_cert: authorities.take(1).map(|info| details(&info, now)).collect(),
        cert_chain: chain.collect(),
    }
}

fn details(info: &CertificateInfo, now: SystemTime) -> CertificateDetails {
    let sans = &info.sans;
    let uris = sans.uris.iter().cloned().map(Name::Uri);
    let dns = sans.dns.iter().cloned().map(Name::Dns);
    let ips = sans.ips.iter().map(|ip| Name::IpAddress(ip.to_string()));
    let left = info.not_after.duration_since(now).unwrap_or_default();
    CertificateDetails {
        // What was in a file has been read, and nothing is kept of where.
        path: "<inline>".to_owned(),
        serial_number: serial(&info.serial).to_owned(),
        subject_alt_names: dns
            .chain(uris)
            .chain(ips)
            .map(|name| SubjectAlternateName { name: Some(name) })
            .collect(),
        days_until_expiration: left.as_secs() / (24 * 60 * 60),
        valid_from: Some(timestamp(info.not_before)),
        expiration_time: Some(timestamp(info.not_after)),
        ocsp_details: None,
    }
}

/// Without the byte that only says that a number is not below zero.
fn serial(hex: &str) -> &str {
    hex.strip_prefix("00")
        .filter(|rest| !rest.is_empty())
        .unwrap_or(hex)
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}
