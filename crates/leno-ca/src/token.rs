//! Join tokens: what a workload shows to be given its first certificate.
//!
//! A token is 256 random bits in hexadecimal with a prefix that secret scanners
//! can find. The control plane keeps its SHA-256 only: whoever reads the state
//! learns no token. A slow hash would add nothing, since nobody guesses 256 bits.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{constant_time, digest};
use leno_tls::SpiffeId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

const PREFIX: &str = "leno_join_";
const RANDOM_BYTES: usize = 32;

/// Which identities a token may ask for. An unbound field allows every one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaims {
    /// Names the token in logs and lists; it is not secret.
    pub id: String,
    pub binding: Binding,
    pub reusable: bool,
    /// None: never.
    pub expires: Option<SystemTime>,
    /// It was for one use, which is over.
    pub used: bool,
    /// The local one, of whoever runs the control plane: it also lets its bearer ask what operators ask.
    pub operator: bool,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this is no join token — token — it has the form {PREFIX}… with 64 hexadecimal digits")]
    Malformed,
    #[error(
        "the join token is not known here — token — take the one this control plane made, it may have lost its state"
    )]
    Unknown,
    #[error("the join token expired at {at} — token — make a new one")]
    Expired { at: OffsetDateTime },
    #[error("the join token was used already and is for one use — token — make a new one")]
    Used,
}

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredToken {
    pub(crate) id: String,
    /// Lower-case hexadecimal.
    sha256: String,
    /// Seconds since the epoch.
    expires: Option<u64>,
    #[serde(default)]
    pub(crate) binding: Binding,
    pub(crate) reusable: bool,
    pub(crate) used: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) operator: bool,
}

/// The secret itself, checked in form.
pub(crate) struct TokenText<'a>(&'a str);

// === impl Binding ===

impl Binding {
    pub fn allows(&self, id: &SpiffeId) -> bool {
        let matches = |bound: &Option<String>, asked: Option<&str>| {
            bound.as_deref().is_none_or(|bound| asked == Some(bound))
        };
        matches(&self.namespace, id.namespace()) && matches(&self.service_account, id.service_account())
    }
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.as_deref().unwrap_or("*");
        let account = self.service_account.as_deref().unwrap_or("*");
        write!(f, "ns/{namespace}/sa/{account}")
    }
}

// === impl TokenText ===

impl<'a> TokenText<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<TokenText<'a>, TokenError> {
        let text = text.trim();
        let digits = text.strip_prefix(PREFIX).ok_or(TokenError::Malformed)?;
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let well_formed = digits.len() == 2 * RANDOM_BYTES && digits.bytes().all(is_digit);
        well_formed
            .then_some(TokenText(text))
            .ok_or(TokenError::Malformed)
    }

    /// A new one, or nothing when the system gives no random numbers.
    pub(crate) fn generate() -> Option<String> {
        let mut bytes = [0u8; RANDOM_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        Some(format!("{PREFIX}{}", hex(&bytes)))
    }

    fn sha256(&self) -> String {
        hex(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref())
    }
}

// === impl StoredToken ===

impl StoredToken {
    pub(crate) fn new(
        text: &TokenText<'_>,
        binding: Binding,
        expires: Option<SystemTime>,
        reusable: bool,
    ) -> StoredToken {
        let sha256 = text.sha256();
        let id = sha256.chars().take(8).collect();
        StoredToken {
            id,
            sha256,
            expires: expires.map(seconds),
            binding,
            reusable,
            used: false,
            operator: false,
        }
    }

    pub(crate) fn expired_at(&self, now: SystemTime) -> Option<SystemTime> {
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.expires?))?;
        (at <= now).then_some(at)
    }

    pub(crate) fn claims(&self) -> TokenClaims {
        TokenClaims {
            id: self.id.clone(),
            binding: self.binding.clone(),
            reusable: self.reusable,
            expires: self
                .expires
                .and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at))),
            used: self.used && !self.reusable,
            operator: self.operator,
        }
    }

    /// Whether the token may be used now.
    pub(crate) fn check(&self, now: SystemTime) -> Result<TokenClaims, TokenError> {
        if let Some(at) = self.expired_at(now) {
            return Err(TokenError::Expired { at: at.into() });
        }
        if self.used && !self.reusable {
            return Err(TokenError::Used);
        }
        Ok(self.claims())
    }
}

/// The token that `text` is. Looks at every one, each in constant time.
pub(crate) fn find(tokens: &[StoredToken], text: &TokenText<'_>) -> Option<usize> {
    let hash = text.sha256();
    tokens.iter().enumerate().fold(None, |found, (index, token)| {
        let same = constant_time::verify_slices_are_equal(token.sha256.as_bytes(), hash.as_bytes()).is_ok();
        if same { Some(index) } else { found }
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
