//! What a user says of a workload: shared by `leno run`, which launches it, and the sidecar it starts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use leno_tls::SpiffeId;

/// Who the workload is
#[derive(Clone, Debug, Args)]
pub struct WorkloadArgs {
    /// The service it is an instance of
    #[arg(long, value_parser = dns_label)]
    pub service: String,
    #[arg(long, default_value = "default", value_parser = dns_label)]
    pub namespace: String,
    #[arg(long, default_value = "default", value_name = "SA", value_parser = dns_label)]
    pub service_account: String,
    /// Label `version`, by which subsets select
    #[arg(long)]
    pub version: Option<String>,
    /// Further labels
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// A port the command listens on: 8080, 8080:http, 9000:grpc, 6379:tcp; without a protocol it is detected
    #[arg(long = "port", value_name = "P[:PROTOCOL]")]
    pub ports: Vec<Port>,
    /// The address that others reach it at, instead of one of its own on this machine
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<IpAddr>,
    /// Lifetime of its certificates; the control plane's default otherwise
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub cert_ttl: Option<std::time::Duration>,
    /// Trust domain of its identity
    #[arg(long, default_value = "cluster.local")]
    pub trust_domain: String,
}

/// `8080` or `8080:http`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub port: u16,
    pub protocol: Option<String>,
}

/// What `appProtocol` and port names may say.
const PROTOCOLS: &[&str] = &[
    "http", "http2", "grpc", "grpc-web", "tcp", "tls", "https", "mongo", "mysql", "redis", "udp",
];

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, protocol) = match text.split_once(':') {
            Some((number, protocol)) => (number, Some(protocol.to_owned())),
            None => (text, None),
        };
        let port = number.parse().ok().filter(|p| *p > 0);
        let port = port.ok_or_else(|| format!("`{number}` is no port: give a number from 1 to 65535"))?;
        if let Some(unknown) = protocol.as_deref().filter(|p| !PROTOCOLS.contains(p)) {
            return Err(format!(
                "`{unknown}` is no protocol: one of {}",
                PROTOCOLS.join(", ")
            ));
        }
        Ok(Self { port, protocol })
    }
}

impl WorkloadArgs {
    /// `app`, `version`, and what `--label` adds or overrides.
    pub fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([("app".to_owned(), self.service.clone())]);
        labels.extend(self.version.iter().map(|v| ("version".to_owned(), v.clone())));
        labels.extend(self.labels.iter().cloned());
        labels
    }

    pub fn identity(&self) -> anyhow::Result<SpiffeId> {
        let trust_domain = self.trust_domain.parse()?;
        Ok(SpiffeId::workload(
            &trust_domain,
            &self.namespace,
            &self.service_account,
        )?)
    }

    /// `reviews-v1`
    pub fn base_name(&self) -> String {
        match &self.version {
            Some(version) => format!("{}-{version}", self.service),
            None => self.service.clone(),
        }
    }

    /// The same as flags, for the sidecar's command line.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--service={}", self.service),
            format!("--namespace={}", self.namespace),
            format!("--service-account={}", self.service_account),
            format!("--trust-domain={}", self.trust_domain),
        ];
        flags.extend(self.version.iter().map(|v| format!("--version={v}")));
        flags.extend(self.labels.iter().map(|(k, v)| format!("--label={k}={v}")));
        flags.extend(self.ports.iter().map(|p| match &p.protocol {
            Some(protocol) => format!("--port={}:{protocol}", p.port),
            None => format!("--port={}", p.port),
        }));
        flags.extend(self.advertise.iter().map(|a| format!("--advertise={a}")));
        flags.extend(
            self.cert_ttl
                .iter()
                .map(|t| format!("--cert-ttl={}ms", t.as_millis())),
        );
        flags
    }
}

/// RFC 1123: what Kubernetes takes for names.
pub fn dns_label(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    if text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last()) {
        Ok(text.to_owned())
    } else {
        Err("use at most 63 lower-case letters, digits and `-`, not at the ends".into())
    }
}

pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if key.is_empty() {
        Err("the key is empty: write it as KEY=VALUE".into())
    } else {
        Ok((key.into(), value.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_may_say_their_protocol() {
        assert_eq!(
            "8080".parse(),
            Ok(Port {
                port: 8080,
                protocol: None
            })
        );
        assert_eq!(
            "9000:grpc".parse(),
            Ok(Port {
                port: 9000,
                protocol: Some("grpc".into())
            })
        );
    }

    #[test]
    fn a_wrong_port_says_what_would_be_right() {
        assert!("0".parse::<Port>().unwrap_err().contains("1 to 65535"));
        assert!("80:htp".parse::<Port>().unwrap_err().contains("http"));
    }

    #[test]
    fn names_are_dns_labels() {
        assert!(dns_label("reviews-v1").is_ok());
        for wrong in ["", "Reviews", "-a", "a-", "a.b", &"a".repeat(64)] {
            assert!(dns_label(wrong).is_err(), "{wrong}");
        }
    }
}
