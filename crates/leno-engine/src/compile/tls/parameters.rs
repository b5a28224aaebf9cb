//! `TlsParameters`: versions, cipher suites and key exchange groups.

use super::pb;
use crate::compile::Rejection;
use crate::compile::at::{At, refuse};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// OpenSSL's names, for TLS 1.2; empty: all that are spoken.
    pub cipher_suites: Vec<String>,
    /// Key exchange groups; empty: all that are spoken.
    pub groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// All that have forward secrecy and authenticated encryption.
const SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

const GROUPS: [&str; 4] = ["P-256", "P-384", "X25519", "X25519MLKEM768"];

// === impl Parameters ===

impl Default for Parameters {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
        }
    }
}

pub(super) fn parameters(at: &At<'_>, message: &pb::TlsParameters) -> Result<Parameters, Rejection> {
    use pb::tls_parameters::TlsProtocol as P;
    let pb::TlsParameters {
        tls_minimum_protocol_version,
        tls_maximum_protocol_version,
        cipher_suites,
        ecdh_curves,
        signature_algorithms,
        compliance_policies,
    } = message;
    refuse!(at; signature_algorithms, compliance_policies);
    let min = match at.choice("tls_minimum_protocol_version", *tls_minimum_protocol_version)? {
        P::TlsAuto | P::TlSv12 => TlsVersion::Tls12,
        P::TlSv13 => TlsVersion::Tls13,
        P::TlSv10 | P::TlSv11 => {
            at.field("tls_minimum_protocol_version")
                .warn("TLS before 1.2 is not spoken");
            TlsVersion::Tls12
        }
    };
    let max = match at.choice("tls_maximum_protocol_version", *tls_maximum_protocol_version)? {
        P::TlsAuto | P::TlSv13 => TlsVersion::Tls13,
        P::TlSv12 => TlsVersion::Tls12,
        P::TlSv10 | P::TlSv11 => {
            return Err(at
                .field("tls_maximum_protocol_version")
                .reject("TLS before 1.2 is not spoken"));
        }
    };
    if min > max {
        return Err(at
            .field("tls_maximum_protocol_version")
            .reject("less than the minimum"));
    }
    Ok(Parameters {
        min_version: min,
        max_version: max,
        // `[A|B]` is BoringSSL's way to write suites of equal preference.
        cipher_suites: spoken(at, "cipher_suites", cipher_suites, &SUITES, |entry| {
            entry.trim_matches(['[', ']']).split('|').collect()
        })?,
        groups: spoken(at, "ecdh_curves", ecdh_curves, &GROUPS, |entry| vec![entry])?,
    })
}

/// What is not spoken is left out, which is told; that nothing is left is a mistake.
fn spoken(
    at: &At<'_>,
    field: &'static str,
    wanted: &[String],
    known: &[&str],
    names: impl Fn(&str) -> Vec<&str>,
) -> Result<Vec<String>, Rejection> {
    let mut spoken = Vec::new();
    for (i, entry) in wanted.iter().enumerate() {
        for name in names(entry) {
            match known.contains(&name) {
                true => spoken.push(name.to_owned()),
                false => at.item(field, i).warn("not spoken: left out"),
            }
        }
    }
    match spoken.is_empty() && !wanted.is_empty() {
        true => Err(at
            .field(field)
            .reject(format!("none of them is spoken; there are {}", known.join(", ")))),
        false => Ok(spoken),
    }
}
