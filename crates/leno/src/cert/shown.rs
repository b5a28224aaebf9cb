//! A certificate as it is told.

use std::time::SystemTime;

use leno_tls::{Age, CertificateInfo, fingerprint_sha256};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub struct Shown {
    pub subject: String,
    issuer: String,
    serial: String,
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    fingerprint: String,
}

impl Shown {
    /// Those of a PEM text, in its order; `origin` names it in errors.
    pub fn of_pem(pem: &[u8], origin: &str) -> anyhow::Result<Vec<Shown>> {
        let all = leno_tls::pem::certificates(pem, origin)?;
        let shown = all.iter().map(|der| {
            let info = CertificateInfo::parse(der)?;
            Ok(Shown {
                names: info.sans.all(),
                subject: info.subject,
                issuer: info.issuer,
                serial: info.serial,
                not_before: info.not_before,
                not_after: info.not_after,
                fingerprint: fingerprint_sha256(der),
            })
        });
        shown.collect()
    }

    pub fn until(&self) -> String {
        written(self.not_after)
    }

    pub fn life_over(&self) -> Age {
        Age::of(self.not_before, self.not_after, SystemTime::now())
    }

    /// How much of its life is over.
    pub fn age(&self) -> String {
        let age = self.life_over();
        match age.percent() {
            100 => "expired".to_owned(),
            _ => age.to_string(),
        }
    }

    pub fn short_fingerprint(&self) -> String {
        self.fingerprint.chars().take(16).collect()
    }

    /// Line by line.
    pub fn text(&self) -> String {
        let lines = [
            ("names", self.names.join(", ")),
            ("subject", self.subject.clone()),
            ("issuer", self.issuer.clone()),
            ("serial", self.serial.clone()),
            ("from", written(self.not_before)),
            (
                "until",
                format!("{} ({} of its life over)", self.until(), self.age()),
            ),
            ("sha-256", self.fingerprint.clone()),
        ];
        let lines = lines.iter().filter(|(_, value)| !value.is_empty());
        lines
            .map(|(name, value)| format!("{name:<8} {value}\n"))
            .collect()
    }

    pub fn document(&self) -> Value {
        json!({
            "subject": self.subject,
            "issuer": self.issuer,
            "serial": self.serial,
            "names": self.names,
            "notBefore": written(self.not_before),
            "notAfter": self.until(),
            "lifeOverPercent": self.life_over().percent(),
            "sha256": self.fingerprint,
        })
    }
}

fn written(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}
