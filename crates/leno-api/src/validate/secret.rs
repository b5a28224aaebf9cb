//! Secrets that hold a gateway's certificate; of others nothing is demanded.

use super::Check;
use crate::base64;
use crate::codes::Code;
use crate::kinds::secret::SecretSpec;

/// Where a certificate, its key and the roots for its clients stand: Kubernetes' keys, then Istio's.
pub const CERTIFICATE: &[&str] = &["tls.crt", "cert"];
pub const KEY: &[&str] = &["tls.key", "key"];
pub const ROOTS: &[&str] = &["ca.crt", "cacert"];

pub(super) fn check(check: &mut Check<'_>, spec: &SecretSpec) {
    for (name, value) in &spec.data {
        if base64::decode(value).is_none() {
            let hint = "write it under stringData as it is, or in base64: base64 -w0 FILE";
            check.error(
                Code::WrongValue,
                "spec.data",
                format!("what stands under {name} is not base64"),
                hint,
            );
        }
    }
    let is_tls = spec.kind.as_deref() == Some("kubernetes.io/tls");
    for (keys, what, mark) in [
        (CERTIFICATE, "a certificate", "-----BEGIN CERTIFICATE-----"),
        (KEY, "a private key", "PRIVATE KEY-----"),
    ] {
        let Some(name) = keys.first() else { continue };
        match spec.value(keys) {
            None if is_tls && !spec.data.contains_key(*name) => {
                let message = format!("a kubernetes.io/tls Secret without {name}");
                check.error(Code::MissingField, "spec", message, "add it, or use type: Opaque");
            }
            Some(value) if is_tls && !String::from_utf8_lossy(&value).contains(mark) => {
                let message = format!("{name} is not {what} in PEM");
                let hint = "it begins with -----BEGIN; openssl x509 or openssl pkey makes it of other forms";
                check.error(Code::WrongValue, "spec", message, hint);
            }
            _ => {}
        }
    }
}
