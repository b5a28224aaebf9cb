//! The configurations in use, kept per worker.
//!
//! A configuration is kept as long as its secrets are the current ones: when the
//! store's generation moves, what was made from replaced secrets is dropped, and
//! with it its sessions. The number kept is bounded; the least recently used goes
//! first.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::{ClientConfig, CommonState, ServerConfig};
use rustls_pki_types::{DnsName, ServerName};

use crate::config::{ClientAuth, ClientTls, ConfigError, Resolved, ServerCheck, ServerTls};
use crate::crypto::Crypto;
use crate::failure::HandshakeFailure;
use crate::peer::PeerInfo;
use crate::secrets::{SecretSet, Secrets};

/// One worker's configurations.
#[derive(Debug)]
pub struct TlsConfigs {
    crypto: Crypto,
    secrets: Arc<Secrets>,
    seen: Arc<SecretSet>,
    servers: Bounded<Resolved<ServerTls>, TlsServer>,
    clients: Bounded<Resolved<ClientTls>, TlsClient>,
}

/// The server side of handshakes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
    verified: bool,
}

/// The client side of handshakes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    sni: Option<DnsName<'static>>,
    verified: bool,
}

/// A map that forgets the least recently used entry when full.
#[derive(Debug)]
struct Bounded<K, V> {
    entries: HashMap<K, (V, u64)>,
    capacity: usize,
    clock: u64,
}

// === impl TlsConfigs ===

impl TlsConfigs {
    /// Keeps at most `capacity` configurations of each side.
    pub fn new(crypto: Crypto, secrets: Arc<Secrets>, capacity: usize) -> TlsConfigs {
        let seen = secrets.load();
        TlsConfigs {
            crypto,
            secrets,
            seen,
            servers: Bounded::new(capacity),
            clients: Bounded::new(capacity),
        }
    }

    /// For a new connection that is accepted. Fails while a secret is missing.
    pub fn server(&mut self, tls: &Arc<ServerTls>) -> Result<TlsServer, ConfigError> {
        self.refresh();
        let resolved = Resolved::server(tls.clone(), &self.seen)?;
        self.servers.get_or_make(resolved, |resolved| {
            let config = resolved.build(&self.crypto)?;
            let mut without_alpn = config.clone();
            without_alpn.alpn_protocols.clear();
            let verified = !matches!(resolved.tls.client_auth, ClientAuth::None);
            Ok(TlsServer {
                config: Arc::new(config),
                without_alpn: Arc::new(without_alpn),
                verified,
            })
        })
    }

    /// For a new connection that is made. Fails while a secret is missing.
    pub fn client(&mut self, tls: &Arc<ClientTls>) -> Result<TlsClient, ConfigError> {
        self.refresh();
        let resolved = Resolved::client(tls.clone(), &self.seen)?;
        self.clients.get_or_make(resolved, |resolved| {
            let config = Arc::new(resolved.build(&self.crypto)?);
            let sni = resolved
                .tls
                .sni
                .as_deref()
                .and_then(|name| DnsName::try_from(name.to_owned()).ok());
            let verified = !matches!(resolved.tls.server, ServerCheck::Unverified);
            Ok(TlsClient {
                config,
                sni,
                verified,
            })
        })
    }

    fn refresh(&mut self) {
        if self.secrets.generation() == self.seen.generation() {
            return;
        }
        self.seen = self.secrets.load();
        self.servers
            .entries
            .retain(|resolved, _| resolved.is_current(&self.seen));
        self.clients
            .entries
            .retain(|resolved, _| resolved.is_current(&self.seen));
    }
}

// === impl TlsServer ===

impl TlsServer {
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The configuration for a client that offers these application protocols.
    /// With none in common the handshake goes on without one, as in Envoy, where
    /// rustls by itself would refuse the client.
    pub fn config_for<'a>(&self, mut offered: impl Iterator<Item = &'a [u8]>) -> &Arc<ServerConfig> {
        let ours = &self.config.alpn_protocols;
        match offered.any(|protocol| ours.iter().any(|own| own == protocol)) {
            true => &self.config,
            false => &self.without_alpn,
        }
    }

    /// Who the client is, after the handshake.
    pub fn peer(&self, connection: &CommonState, now: SystemTime) -> Result<PeerInfo, HandshakeFailure> {
        PeerInfo::of(connection, self.verified, now)
    }
}

// === impl TlsClient ===

impl TlsClient {
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// What rustls is to dial: the configured server name, else `host` when it is
    /// a DNS name, else the address (for which no SNI is sent).
    pub fn server_name(&self, host: Option<&str>, address: IpAddr) -> ServerName<'static> {
        let host = || host.and_then(|host| DnsName::try_from(host.to_owned()).ok());
        match self.sni.clone().or_else(host) {
            Some(name) => ServerName::DnsName(name),
            None => ServerName::from(address),
        }
    }

    /// Who the server is, after the handshake.
    pub fn peer(&self, connection: &CommonState, now: SystemTime) -> Result<PeerInfo, HandshakeFailure> {
        PeerInfo::of(connection, self.verified, now)
    }
}

// === impl Bounded ===

impl<K: Eq + Hash, V: Clone> Bounded<K, V> {
    fn new(capacity: usize) -> Self {
        Bounded {
            entries: HashMap::new(),
            capacity: capacity.max(1),
            clock: 0,
        }
    }

    fn get_or_make<E>(&mut self, key: K, make: impl FnOnce(&K) -> Result<V, E>) -> Result<V, E> {
        self.clock += 1;
        if let Some((value, used)) = self.entries.get_mut(&key) {
            *used = self.clock;
            return Ok(value.clone());
        }
        let value = make(&key)?;
        if self.entries.len() >= self.capacity {
            // A full scan, but only when a configuration is made, which costs far more.
            let oldest = self.entries.values().map(|(_, used)| *used).min();
            self.entries.retain(|_, (_, used)| Some(*used) != oldest);
        }
        self.entries.insert(key, (value.clone(), self.clock));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut kept = Bounded::new(2);
        let mut made = Vec::new();
        for key in ["a", "b", "a", "c", "a", "b"] {
            let _ = kept.get_or_make(key, |key| {
                made.push(*key);
                Ok::<_, ()>(())
            });
        }
        assert_eq!(made, ["a", "b", "c", "b"], "b was the oldest when c came");
        assert_eq!(kept.entries.len(), 2);
    }
}
