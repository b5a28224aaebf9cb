//! Session tickets under keys that several servers may share (RFC 8446 §4.6.1, RFC 5077).
//!
//! What is in a ticket is rustls's own form, so that only leno reads leno's tickets. A ticket is bound to the server's
//! settings and to those whom it trusts: when these change, what was verified under the old ones is verified again.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

/// Bytes of a key, as Envoy has them.
pub const TICKET_KEY_BYTES: usize = 80;

/// Bytes by which a ticket names its key.
const NAME: usize = 16;

/// The first makes new tickets, all of them read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TicketKeys(Arc<[Key]>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    name: [u8; NAME],
    secret: [u8; 32],
}

/// Makes and reads the tickets of one configuration.
pub(crate) struct Ticketer {
    keys: Vec<([u8; NAME], LessSafeKey)>,
    lifetime: Duration,
    bound_to: [u8; 8],
    clock: Arc<dyn TimeProvider>,
}

// === impl TicketKeys ===

impl TicketKeys {
    /// None: there is none, or one of them has not [`TICKET_KEY_BYTES`].
    pub fn new(keys: &[Vec<u8>]) -> Option<Self> {
        let all: Option<Vec<Key>> = keys.iter().map(|bytes| Key::new(bytes)).collect();
        all.filter(|all| !all.is_empty()).map(|all| Self(all.into()))
    }

    /// One that nobody else has. None: the system gives no random numbers.
    pub fn random() -> Option<Self> {
        let mut key = vec![0; TICKET_KEY_BYTES];
        rand::fill(&mut key).ok()?;
        Self::new(&[key])
    }
}

/// Keys are never shown.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeys({})", self.0.len())
    }
}

// === impl Key ===

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != TICKET_KEY_BYTES {
            return None;
        }
        let secret = digest::digest(&digest::SHA256, bytes);
        let name = digest::digest(&digest::SHA256, secret.as_ref());
        Some(Self {
            name: name.as_ref().get(..NAME)?.try_into().ok()?,
            secret: secret.as_ref().try_into().ok()?,
        })
    }
}

// === impl Ticketer ===

impl Ticketer {
    /// None: the library takes none of the keys.
    pub(crate) fn new(
        keys: &TicketKeys,
        lifetime: Duration,
        bound_to: &impl Hash,
        clock: Arc<dyn TimeProvider>,
    ) -> Option<Self> {
        // Without a seed: every server comes to the same.
        let mut hasher = DefaultHasher::new();
        bound_to.hash(&mut hasher);
        let made = keys.0.iter().map(|key| {
            let secret = UnboundKey::new(&AES_256_GCM, &key.secret).ok()?;
            Some((key.name, LessSafeKey::new(secret)))
        });
        Some(Self {
            keys: made.collect::<Option<_>>()?,
            lifetime,
            bound_to: hasher.finish().to_be_bytes(),
            clock,
        })
    }

    fn now(&self) -> Option<u64> {
        self.clock.current_time().map(|now| now.as_secs())
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    /// The key's name, a nonce, and under the key when it was made and what is in it.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = self.now()?.to_be_bytes().to_vec();
        sealed.extend_from_slice(plain);
        let bound_to = Aad::from(self.bound_to);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to, &mut sealed)
            .ok()?;
        Some([&name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = key
            .open_in_place(nonce, Aad::from(self.bound_to), &mut sealed)
            .ok()?;
        let (made, plain) = opened.split_at_checked(8)?;
        let made = u64::from_be_bytes(made.try_into().ok()?);
        let age = self.now()?.checked_sub(made)?;
        (age <= self.lifetime.as_secs()).then(|| plain.to_vec())
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticketer({})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustls_pki_types::UnixTime;

    use super::*;

    #[derive(Debug, Default)]
    struct Clock(AtomicU64);

    impl TimeProvider for Clock {
        fn current_time(&self) -> Option<UnixTime> {
            let seconds = self.0.load(Ordering::Relaxed);
            Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
        }
    }

    fn ticketer(keys: &[u8], bound_to: &str, clock: &Arc<Clock>) -> Ticketer {
        let keys: Vec<Vec<u8>> = keys.iter().map(|byte| vec![*byte; TICKET_KEY_BYTES]).collect();
        let clock: Arc<dyn TimeProvider> = Arc::clone(clock) as _;
        Ticketer::new(
            &TicketKeys::new(&keys).unwrap(),
            Duration::from_secs(60),
            &bound_to,
            clock,
        )
        .unwrap()
    }

    #[test]
    fn a_ticket_is_read_by_who_has_its_key_and_is_configured_alike_and_in_time() {
        let clock = Arc::default();
        let ticket = ticketer(&[1], "a", &clock).encrypt(b"session").unwrap();
        let read = |keys: &[u8], bound_to| ticketer(keys, bound_to, &clock).decrypt(&ticket);
        assert_eq!(read(&[2, 1], "a").as_deref(), Some(&b"session"[..]));
        assert_eq!(read(&[2], "a"), None);
        assert_eq!(read(&[1], "b"), None);
        clock.0.store(60, Ordering::Relaxed);
        assert!(read(&[1], "a").is_some());
        clock.0.store(61, Ordering::Relaxed);
        assert_eq!(read(&[1], "a"), None);
    }

    #[test]
    fn what_is_no_ticket_is_not_read() {
        let ticketer = ticketer(&[1], "a", &Arc::default());
        let ticket = ticketer.encrypt(b"session").unwrap();
        for length in 0..ticket.len() {
            assert_eq!(ticketer.decrypt(&ticket[..length]), None);
            let mut other = ticket.clone();
            other[length] ^= 1;
            assert_eq!(ticketer.decrypt(&other), None);
        }
    }

    #[test]
    fn keys_have_one_length() {
        assert!(TicketKeys::new(&[]).is_none());
        assert!(TicketKeys::new(&[vec![0; 48]]).is_none());
    }
}
