//! What a TLS endpoint is to do, in plain values, and how rustls's
//! configurations are made from it.
//!
//! Secrets are named here and resolved against a [`SecretSet`]; the resolved
//! value is the only argument of the builders, so it is also the whole key under
//! which [`TlsConfigs`](crate::TlsConfigs) may keep what they return.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::{ClientConfig, Resumption as ClientResumption};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ServerConfig, ServerSessionMemoryCache};
use rustls::sign::SingleCertAndKey;
use rustls::{SupportedProtocolVersion, version};
use rustls_pki_types::DnsName;

use crate::choice::ByServerName;
use crate::crypto::Crypto;
use crate::identity::{Identity, TrustBundle};
use crate::ocsp::{StapleError, StaplePolicy};
use crate::peer_check::PeerCheck;
use crate::secrets::SecretSet;
use crate::suites::{UnsupportedError, provider};
use crate::tickets::{TicketKeys, Ticketer};
use crate::verify::{
    ClientVerifier, HostnameVerifier, PeerRule, PeerServerVerifier, ServerVerifier, UnverifiedServer,
};

/// A TLS listener's side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// The secret that holds the certificate and key.
    pub identity: String,
    /// Secrets of more certificates: the server name that a client asks for decides which one it is shown.
    pub further: Vec<String>,
    pub client_auth: ClientAuth,
    /// Application protocols, most preferred first.
    pub alpn: Vec<String>,
    pub versions: Versions,
    /// OpenSSL names, for TLS 1.2 only, as in Envoy; none means the defaults.
    pub cipher_suites: Vec<String>,
    /// Key exchange groups as Envoy names them (`ecdh_curves`); none means the
    /// defaults, of which the post-quantum hybrid is preferred.
    pub groups: Vec<String>,
    pub resumption: Resumption,
    /// Of certificates whose OCSP response is missing or has expired.
    pub staples: StaplePolicy,
    /// Where no certificate has the name that is asked for, the first that serves is shown; else it is the first.
    pub scans_all: bool,
}

/// A TLS client's side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// The secret that holds the client certificate and key, if one is to be shown.
    pub identity: Option<String>,
    pub server: ServerCheck,
    /// The server name to ask for.
    pub sni: Option<String>,
    pub alpn: Vec<String>,
    pub versions: Versions,
    pub cipher_suites: Vec<String>,
    pub groups: Vec<String>,
    pub resumption: Resumption,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    None,
    /// A client without a certificate is accepted, one with a wrong certificate is not.
    Optional(PeerCheck),
    Require(PeerCheck),
}

/// How a server is verified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerCheck {
    /// By its names; the host it was dialled by means nothing.
    Peer(PeerCheck),
    /// By the host name or address it was dialled by, and by what the check adds.
    Hostname(PeerCheck),
    /// Not at all.
    Unverified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// The versions spoken, both inclusive. The default is TLS 1.3 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Versions {
    pub min: TlsVersion,
    pub max: TlsVersion,
}

/// Whether sessions are resumed. Resumption skips the certificate verifier; a
/// session lives no longer than the configuration it was made under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Resumption {
    /// For the mesh, whose connections are pooled and long: nothing is stored.
    #[default]
    Off,
    /// At most this many sessions in memory.
    Sessions(usize),
    /// Of a server: the client keeps a ticket, which all servers read that have the keys of this secret. Where they are
    /// not there nothing is resumed.
    Tickets { keys: String, lifetime: Duration },
}

/// Why a configuration cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Retry when the secrets' generation moves.
    #[error("the certificate {name:?} is not there yet — SDS — it comes from the control plane or a file")]
    NoIdentity { name: String },
    /// Retry when the secrets' generation moves.
    #[error("the trust bundle {name:?} is not there yet — SDS — it comes from the control plane or a file")]
    NoTrust { name: String },
    #[error(
        "a check of peers has neither trust nor pins — validation_context — leave it out or set trusted_ca"
    )]
    NobodyIsChecked,
    #[error("the TLS versions {min:?} to {max:?} are none — tls_params — the minimum is above the maximum")]
    Versions { min: TlsVersion, max: TlsVersion },
    #[error(transparent)]
    Unsupported(#[from] UnsupportedError),
    #[error("the server name {name:?} is not a DNS name — sni — correct or remove it")]
    Sni { name: String },
    #[error("{0} — ocsp_staple_policy — give the certificate an ocsp_staple, or choose another policy")]
    Staple(StapleError),
    #[error("the configuration is inconsistent: {detail} — tls_params — leave out what is not needed")]
    Inconsistent { detail: String },
}

/// Plain values with their secrets: all that a configuration depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Resolved<T> {
    pub(crate) tls: Arc<T>,
    identity: Option<Identity>,
    further: Vec<Identity>,
    trust: Option<TrustBundle>,
    tickets: Option<TicketKeys>,
}

// === impl Versions ===

impl Versions {
    pub const TLS13: Versions = Versions {
        min: TlsVersion::V1_3,
        max: TlsVersion::V1_3,
    };
    pub const TLS12_AND_13: Versions = Versions {
        min: TlsVersion::V1_2,
        max: TlsVersion::V1_3,
    };

    fn supported(self) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
        let Versions { min, max } = self;
        let all = [
            (TlsVersion::V1_3, &version::TLS13),
            (TlsVersion::V1_2, &version::TLS12),
        ];
        let chosen: Vec<_> = all
            .into_iter()
            .filter(|(v, _)| (min..=max).contains(v))
            .map(|(_, rustls)| rustls)
            .collect();
        if chosen.is_empty() {
            Err(ConfigError::Versions { min, max })
        } else {
            Ok(chosen)
        }
    }
}

impl Default for Versions {
    fn default() -> Self {
        Versions::TLS13
    }
}

// === impl PeerCheck ===

impl PeerCheck {
    fn rule(&self, trust: Option<&TrustBundle>, provider: &CryptoProvider) -> Result<PeerRule, ConfigError> {
        if let (Some(name), None) = (&self.trust, trust) {
            return Err(ConfigError::NoTrust { name: name.clone() });
        }
        let check = match trust.and_then(TrustBundle::also) {
            None => self.clone(),
            Some(also) => self.and(also),
        };
        let trust = trust.filter(|trust| !trust.roots().is_empty());
        if trust.is_none() && check.pins.is_empty() {
            return Err(ConfigError::NobodyIsChecked);
        }
        Ok(PeerRule {
            trust: trust.cloned(),
            check,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ClientAuth {
    fn check(&self) -> Option<&PeerCheck> {
        match self {
            ClientAuth::None => None,
            ClientAuth::Optional(check) | ClientAuth::Require(check) => Some(check),
        }
    }
}

impl ServerCheck {
    fn check(&self) -> Option<&PeerCheck> {
        match self {
            ServerCheck::Peer(check) | ServerCheck::Hostname(check) => Some(check),
            ServerCheck::Unverified => None,
        }
    }
}

// === impl Resolved ===

impl Resolved<ServerTls> {
    pub(crate) fn server(tls: Arc<ServerTls>, secrets: &SecretSet) -> Result<Self, ConfigError> {
        let identity = Some(identity(secrets, &tls.identity)?);
        let further = tls.further.iter().map(|name| self::identity(secrets, name));
        Ok(Resolved {
            identity,
            further: further.collect::<Result<_, _>>()?,
            trust: trust(secrets, tls.client_auth.check())?,
            tickets: match &tls.resumption {
                Resumption::Tickets { keys, .. } => secrets.tickets(keys).cloned(),
                Resumption::Off | Resumption::Sessions(_) => None,
            },
            tls,
        })
    }

    pub(crate) fn is_current(&self, secrets: &SecretSet) -> bool {
        Self::server(self.tls.clone(), secrets).is_ok_and(|now| now == *self)
    }

    pub(crate) fn build(&self, crypto: &Crypto) -> Result<ServerConfig, ConfigError> {
        let tls = &self.tls;
        let provider = provider(crypto, &tls.cipher_suites, &tls.groups)?;
        let builder = ServerConfig::builder_with_details(provider.clone(), crypto.clock.clone())
            .with_protocol_versions(&tls.versions.supported()?)
            .map_err(inconsistent)?;
        let builder = match &tls.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional(check) | ClientAuth::Require(check) => {
                let mandatory = matches!(tls.client_auth, ClientAuth::Require(_));
                let rule = check.rule(self.trust.as_ref(), &provider)?;
                builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(rule, mandatory)))
            }
        };
        let identity = self.identity.as_ref();
        let identity = identity.ok_or_else(|| ConfigError::NoIdentity {
            name: tls.identity.clone(),
        })?;
        for one in [identity].into_iter().chain(&self.further) {
            one.satisfies(tls.staples).map_err(ConfigError::Staple)?;
        }
        let resolver: Arc<dyn ResolvesServerCert> = match self.further.as_slice() {
            [] if identity.is_plain(tls.staples) => {
                Arc::new(SingleCertAndKey::from(identity.certified_key()))
            }
            further => {
                let all = [identity].into_iter().chain(further);
                Arc::new(ByServerName::new(
                    all,
                    tls.staples,
                    tls.scans_all,
                    crypto.clock.clone(),
                ))
            }
        };
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = alpn(&tls.alpn);
        match (&tls.resumption, &self.tickets) {
            (Resumption::Tickets { lifetime, .. }, Some(keys)) => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                // Not the certificate shown: it may be renewed.
                let bound_to = (tls, &self.trust);
                let ticketer = Ticketer::new(keys, *lifetime, &bound_to, crypto.clock.clone());
                let ticketer = ticketer.ok_or_else(|| ConfigError::Inconsistent {
                    detail: "the session ticket keys cannot be used".to_owned(),
                })?;
                config.ticketer = Arc::new(ticketer);
            }
            (Resumption::Off | Resumption::Tickets { .. }, _) => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            (Resumption::Sessions(limit), _) => {
                config.session_storage = ServerSessionMemoryCache::new(*limit);
            }
        }
        Ok(config)
    }
}

impl Resolved<ClientTls> {
    pub(crate) fn client(tls: Arc<ClientTls>, secrets: &SecretSet) -> Result<Self, ConfigError> {
        let identity = tls
            .identity
            .as_deref()
            .map(|name| identity(secrets, name))
            .transpose()?;
        let trust = trust(secrets, tls.server.check())?;
        Ok(Resolved {
            tls,
            identity,
            further: Vec::new(),
            trust,
            tickets: None,
        })
    }

    pub(crate) fn is_current(&self, secrets: &SecretSet) -> bool {
        Self::client(self.tls.clone(), secrets).is_ok_and(|now| now == *self)
    }

    pub(crate) fn build(&self, crypto: &Crypto) -> Result<ClientConfig, ConfigError> {
        let tls = &self.tls;
        let provider = provider(crypto, &tls.cipher_suites, &tls.groups)?;
        if let Some(name) = &tls.sni {
            DnsName::try_from(name.as_str()).map_err(|_| ConfigError::Sni { name: name.clone() })?;
        }
        let builder = ClientConfig::builder_with_details(provider.clone(), crypto.clock.clone())
            .with_protocol_versions(&tls.versions.supported()?)
            .map_err(inconsistent)?
            .dangerous();
        let rule = |check: &PeerCheck| check.rule(self.trust.as_ref(), &provider);
        let builder = match &tls.server {
            ServerCheck::Peer(check) => builder
                .with_custom_certificate_verifier(Arc::new(ServerVerifier(PeerServerVerifier(rule(check)?)))),
            ServerCheck::Hostname(check) => builder
                .with_custom_certificate_verifier(Arc::new(ServerVerifier(HostnameVerifier(rule(check)?)))),
            ServerCheck::Unverified => builder
                .with_custom_certificate_verifier(Arc::new(ServerVerifier(UnverifiedServer::new(&provider)))),
        };
        let mut config = match &self.identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key())))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn(&tls.alpn);
        config.resumption = match tls.resumption {
            Resumption::Off | Resumption::Tickets { .. } => ClientResumption::disabled(),
            Resumption::Sessions(limit) => ClientResumption::in_memory_sessions(limit),
        };
        Ok(config)
    }
}

fn identity(secrets: &SecretSet, name: &str) -> Result<Identity, ConfigError> {
    secrets
        .identity(name)
        .cloned()
        .ok_or_else(|| ConfigError::NoIdentity {
            name: name.to_owned(),
        })
}

fn trust(secrets: &SecretSet, check: Option<&PeerCheck>) -> Result<Option<TrustBundle>, ConfigError> {
    let Some(name) = check.and_then(|check| check.trust.as_ref()) else {
        return Ok(None);
    };
    let bundle = secrets.bundle(name).cloned();
    bundle
        .map(Some)
        .ok_or_else(|| ConfigError::NoTrust { name: name.clone() })
}

fn alpn(protocols: &[String]) -> Vec<Vec<u8>> {
    protocols
        .iter()
        .map(|protocol| protocol.clone().into_bytes())
        .collect()
}

fn inconsistent(error: rustls::Error) -> ConfigError {
    ConfigError::Inconsistent {
        detail: error.to_string(),
    }
}
