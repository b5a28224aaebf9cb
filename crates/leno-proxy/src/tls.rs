//! TLS on a worker: the engine's contexts, as leno-tls makes rustls configurations of them.
//!
//! Configurations are kept per worker and per set of secrets (leno-tls does that), so that a renewed certificate is
//! used by the next handshake and leaves open connections alone.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leno_engine::compile::matcher::{Pattern, StringMatcher};
use leno_engine::compile::tls::{
    self as compiled, Certificate, CommonTls, DownstreamTls, SecretSource, TicketSource, Tickets,
    TrustSource, UpstreamTls, Validation,
};
use leno_telemetry::stats::{ClusterStat, Counts};
use leno_tls::{
    CertificatePem, ClientAuth, ClientTls, Crypto, HandshakeFailure, Identity, IdentityError, PeerCheck,
    PeerInfo, Pin, Resumption, Revocation, RevocationError, SYSTEM_ROOTS, SanMatcher, Secrets, ServerCheck,
    ServerTls, StapleError, StaplePolicy, StringMatch, SystemRootsError, TicketKeys, TlsConfigs, TlsVersion,
    TrustBundle, Versions,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use crate::alpn::{Offer, PEER_EXCHANGE, offered};
use crate::destination::Destination;
use crate::handshake::{Handshake, Handshakes};
use crate::io::Io;
use crate::outcome::Failure;
use crate::tls_counts;
use crate::tls_stream::{Records, TlsStream};

/// Configurations of each side that a worker keeps.
const KEPT: usize = 1024;

/// One worker's TLS contexts.
pub(crate) struct Contexts {
    secrets: Arc<Secrets>,
    records: Records,
    configs: RefCell<TlsConfigs>,
    servers: RefCell<HashMap<usize, Translated<DownstreamTls, ServerTls>>>,
    clients: RefCell<HashMap<(usize, Offer), Translated<UpstreamTls, ClientTls>>>,
    /// What filters ask to be offered: names with commas between them.
    named: RefCell<Vec<String>>,
    handshakes: Handshakes,
    /// The generation of the secrets by which it was looked who is revoked.
    looked: Cell<u64>,
}

/// A compiled context and leno-tls's form of it, by the address of the former, which the entry keeps alive.
type Translated<C, T> = (Arc<C>, Arc<T>);

/// A context that leno-tls cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    #[error("common_tls_context: {0}")]
    Inline(#[from] IdentityError),
    #[error("common_tls_context.validation_context.system_root_certs: {0}")]
    SystemRoots(#[from] SystemRootsError),
    #[error("common_tls_context: a server needs a certificate")]
    NoCertificate,
    #[error("common_tls_context.validation_context.crl: {0}")]
    Revocation(#[from] RevocationError),
    #[error("ocsp_staple_policy: {0}")]
    Staple(#[from] StapleError),
    #[error("match_typed_subject_alt_names: {0}")]
    San(String),
}

/// What is known of an upstream connection by its handshake.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) peer_principal: Option<Arc<str>>,
    pub(crate) local_principal: Option<Arc<str>>,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) server_name: Option<Arc<str>>,
}

/// A downstream connection after its handshake.
pub(crate) struct Accepted {
    pub(crate) stream: Box<TlsStream<Io>>,
    pub(crate) peer: PeerInfo,
    pub(crate) local_principal: Option<Arc<str>>,
    pub(crate) handshake: Arc<Handshake>,
}

impl Accepted {
    /// Whether the client has shown a certificate.
    pub(crate) fn is_shown(&self) -> bool {
        let shown = self.stream.state().peer_certificates();
        shown.is_some_and(|chain| !chain.is_empty())
    }

    /// What the client showed, the leaf first; nothing unless it was verified.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        let shown = self.stream.state().peer_certificates();
        shown.filter(|_| self.peer.is_authenticated()).unwrap_or_default()
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{0}")]
    Config(#[from] leno_tls::ConfigError),
    #[error("{0}")]
    Unsupported(#[from] Unsupported),
    #[error("{0}")]
    Handshake(#[from] HandshakeFailure),
    #[error("no handshake within {0:?}")]
    Timeout(Duration),
}

// === impl Contexts ===

impl Contexts {
    pub(crate) fn new(crypto: Crypto, secrets: Arc<Secrets>) -> Self {
        Self {
            configs: RefCell::new(TlsConfigs::new(crypto, Arc::clone(&secrets), KEPT)),
            secrets,
            records: Records::default(),
            servers: RefCell::default(),
            clients: RefCell::default(),
            named: RefCell::default(),
            handshakes: Handshakes::default(),
            looked: Cell::default(),
        }
    }

    pub(crate) async fn accept(
        &self,
        tls: &Arc<DownstreamTls>,
        offered: &[Vec<u8>],
        io: Io,
        timeout: Duration,
    ) -> Result<Accepted, TlsError> {
        let wanted = self.server(tls)?;
        let server = self.configs.borrow_mut().server(&wanted)?;
        let config = server.config_for(offered.iter().map(Vec::as_slice));
        let handshake = TlsStream::accept(config, io, &self.records);
        let handshake = async { handshake.await.map_err(|e| HandshakeFailure::from_io(&e)) };
        let stream = match timeout.is_zero() {
            true => handshake.await?,
            false => tokio::time::timeout(timeout, handshake)
                .await
                .map_err(|_| TlsError::Timeout(timeout))??,
        };
        let peer = server.peer(stream.state(), SystemTime::now())?;
        let local_principal = self.principal(Some(&wanted.identity));
        let shown = stream.state().peer_certificates().unwrap_or_default();
        let shown = if peer.is_authenticated() { shown } else { &[] };
        let handshake = self.handshake(&peer, shown, Some(&wanted.identity));
        Ok(Accepted {
            handshake,
            stream,
            peer,
            local_principal,
        })
    }

    pub(crate) async fn connect(
        &self,
        tls: &Arc<UpstreamTls>,
        to: &Destination,
        io: Io,
        counts: Option<&Counts<ClusterStat>>,
    ) -> Result<(Box<TlsStream<Io>>, Secured), Failure> {
        let failed = |e: TlsError| {
            if let (Some(counts), TlsError::Handshake(failure)) = (counts, &e) {
                tls_counts::failed(counts, failure);
            }
            Failure::Connect(format!("TLS_error: {e}").into())
        };
        let wanted = self.client(tls, to).map_err(|e| failed(e.into()))?;
        let client = self.configs.borrow_mut().client(&wanted);
        let client = client.map_err(|e| failed(e.into()))?;
        let ip = to
            .address
            .socket()
            .map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
        let name = client.server_name(to.host.as_deref(), ip);
        let sni = matches!(name, ServerName::DnsName(_)).then(|| name.clone());
        let stream = TlsStream::connect(client.config(), name, io, &self.records).await;
        let stream = stream.map_err(|e| failed(HandshakeFailure::from_io(&e).into()))?;
        let peer = client.peer(stream.state(), SystemTime::now());
        let peer = peer.map_err(|e| failed(e.into()))?;
        let shown = stream.state().peer_certificates().unwrap_or_default();
        let server_name = sni.map(|name| name.to_str().as_ref().into());
        let handshake = self.handshake(&peer, shown, wanted.identity.as_deref());
        if let Some(counts) = counts {
            tls_counts::shaken(counts, &handshake, true, peer.resumed);
        }
        let secured = Secured {
            handshake,
            server_name,
            peer_principal: peer.id.map(|id| id.to_string().into()),
            local_principal: self.principal(wanted.identity.as_deref()),
            alpn: peer.alpn,
        };
        Ok((stream, secured))
    }

    /// Marks those peers whose certificates were taken back since they came.
    pub(crate) fn look_for_revoked(&self) {
        let generation = self.secrets.generation();
        if self.looked.replace(generation) != generation {
            self.handshakes.look(&self.secrets.load());
        }
    }

    fn handshake(
        &self,
        peer: &PeerInfo,
        shown: &[CertificateDer<'static>],
        identity: Option<&str>,
    ) -> Arc<Handshake> {
        let secrets = self.secrets.load();
        let local = identity.and_then(|name| secrets.identity(name)?.chain().first());
        self.handshakes.of(peer, shown, local)
    }

    fn principal(&self, identity: Option<&str>) -> Option<Arc<str>> {
        let secrets = self.secrets.load();
        let id = secrets.identity(identity?)?.spiffe_id()?;
        Some(id.to_string().into())
    }

    /// For names that a filter asks for. There are as many as configurations have said; None: too many.
    pub(crate) fn named(&self, names: &str) -> Option<Offer> {
        let mut known = self.named.borrow_mut();
        let at = known.iter().position(|one| one == names).unwrap_or_else(|| {
            if known.len() < KEPT {
                known.push(names.to_owned());
            }
            known.iter().position(|one| one == names).unwrap_or(KEPT)
        });
        u16::try_from(at).ok().filter(|_| at < KEPT).map(Offer::Named)
    }

    fn server(&self, tls: &Arc<DownstreamTls>) -> Result<Arc<ServerTls>, Unsupported> {
        let key = Arc::as_ptr(tls) as usize;
        if let Some((_, made)) = self.servers.borrow().get(&key) {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(server_tls(tls)?);
        let mut servers = self.servers.borrow_mut();
        servers.retain(|_, (tls, _)| Arc::strong_count(tls) > 1);
        servers.insert(key, (Arc::clone(tls), Arc::clone(&made)));
        Ok(made)
    }

    fn client(&self, tls: &Arc<UpstreamTls>, to: &Destination) -> Result<Arc<ClientTls>, Unsupported> {
        let key = (Arc::as_ptr(tls) as usize, to.offer);
        if let Some((_, made)) = self.clients.borrow().get(&key) {
            return Ok(Arc::clone(made));
        }
        let mut made = client_tls(tls, to.offer)?;
        if let Offer::Named(at) = to.offer
            && let Some(names) = self.named.borrow().get(usize::from(at))
        {
            let names = names
                .split(',')
                .filter(|name| !name.is_empty() && *name != PEER_EXCHANGE);
            made.alpn = names.map(str::to_owned).collect();
        }
        let made = Arc::new(made);
        let mut clients = self.clients.borrow_mut();
        clients.retain(|_, (tls, _)| Arc::strong_count(tls) > 1);
        clients.insert(key, (Arc::clone(tls), Arc::clone(&made)));
        Ok(made)
    }
}

/// A listener's context in leno-tls's form.
pub(crate) fn server_tls(tls: &DownstreamTls) -> Result<ServerTls, Unsupported> {
    let mut identities = tls.common.certificates.iter().map(identity);
    let identity = identities.next().ok_or(Unsupported::NoCertificate)?;
    let client_auth = match peer_check(&tls.common)? {
        Some(check) if tls.require_client_certificate => ClientAuth::Require(check),
        Some(check) => ClientAuth::Optional(check),
        None => ClientAuth::None,
    };
    let accepted = tls.common.alpn.iter().filter(|name| *name != PEER_EXCHANGE);
    let accepted = accepted.cloned().collect();
    Ok(ServerTls {
        identity,
        further: identities.collect(),
        client_auth,
        alpn: accepted,
        versions: versions(&tls.common),
        cipher_suites: tls.common.parameters.cipher_suites.clone(),
        groups: tls.common.parameters.groups.clone(),
        resumption: match &tls.tickets {
            None => Resumption::Off,
            Some(Tickets { keys, lifetime }) => Resumption::Tickets {
                keys: ticket_keys(keys),
                lifetime: *lifetime,
            },
        },
        staples: staples(tls.staples),
        scans_all: tls.scans_all,
    })
}

fn staples(policy: compiled::StaplePolicy) -> StaplePolicy {
    match policy {
        compiled::StaplePolicy::Lenient => StaplePolicy::Lenient,
        compiled::StaplePolicy::Strict => StaplePolicy::Strict,
        compiled::StaplePolicy::Must => StaplePolicy::Must,
    }
}

/// A cluster's context in leno-tls's form.
pub(crate) fn client_tls(tls: &UpstreamTls, offer: Offer) -> Result<ClientTls, Unsupported> {
    let server = match peer_check(&tls.common)? {
        Some(check) if tls.auto_san_validation => ServerCheck::Hostname(check),
        Some(check) => ServerCheck::Peer(check),
        None => ServerCheck::Unverified,
    };
    Ok(ClientTls {
        identity: tls.common.certificates.first().map(identity),
        server,
        sni: tls.sni.clone(),
        alpn: offered(tls, offer),
        versions: versions(&tls.common),
        cipher_suites: tls.common.parameters.cipher_suites.clone(),
        groups: tls.common.parameters.groups.clone(),
        resumption: match tls.sessions {
            0 => Resumption::Off,
            most => Resumption::Sessions(most as usize),
        },
    })
}

/// Keys that the process has made for itself: SDS names do not begin so.
const OWN_TICKETS: &str = "\0own";

/// The name under which keys of tickets are kept.
fn ticket_keys(source: &TicketSource) -> String {
    match source {
        TicketSource::Sds(name, _) => name.clone(),
        TicketSource::Inline(keys) => inline_name(&keys.concat()),
        TicketSource::Own => OWN_TICKETS.to_owned(),
    }
}

/// Whether leno-tls can serve it; what it has inline is put where the workers find it.
pub(crate) fn register_server(
    tls: &DownstreamTls,
    secrets: &Secrets,
    crypto: &Crypto,
) -> Result<(), Unsupported> {
    server_tls(tls)?;
    register(&tls.common, secrets, crypto)?;
    let set = secrets.load();
    let inline = tls.common.certificates.iter();
    let inline = inline.filter(|source| matches!(source, SecretSource::Inline(_)));
    for identity in inline.filter_map(|source| set.identity(&identity(source))) {
        identity.satisfies(staples(tls.staples))?;
    }
    let source = tls.tickets.as_ref().map(|tickets| &tickets.keys);
    let made = match source {
        Some(TicketSource::Inline(keys)) => TicketKeys::new(keys),
        Some(TicketSource::Own) if set.tickets(OWN_TICKETS).is_none() => TicketKeys::random(),
        _ => None,
    };
    if let (Some(source), Some(made)) = (source, made) {
        secrets.set_tickets(&ticket_keys(source), made);
    }
    Ok(())
}

/// Puts a context's inline certificates, and the machine's roots, where the workers find secrets by name.
pub(crate) fn register(common: &CommonTls, secrets: &Secrets, crypto: &Crypto) -> Result<(), Unsupported> {
    for source in &common.certificates {
        let SecretSource::Inline(certificate) = source else {
            continue;
        };
        let made = Identity::read(&pem(certificate), "certificate_chain", "private_key", crypto)?;
        secrets.set_identity(&identity(source), made);
    }
    match common.validation.as_ref().map(|validation| &validation.trust) {
        Some(TrustSource::InlinePem(pem)) => {
            secrets.set_bundle(&inline_name(pem), TrustBundle::from_pem(pem, "trusted_ca")?);
        }
        Some(TrustSource::System) if secrets.load().bundle(SYSTEM_ROOTS).is_none() => {
            secrets.set_bundle(SYSTEM_ROOTS, TrustBundle::system()?);
        }
        _ => {}
    }
    Ok(())
}

/// In leno-tls's form.
pub(crate) fn pem(certificate: &Certificate) -> CertificatePem<'_> {
    let Certificate {
        chain,
        private_key,
        password,
        ocsp_staple,
    } = certificate;
    CertificatePem {
        chain,
        private_key,
        password: password.as_deref(),
        ocsp_staple: ocsp_staple.as_deref(),
    }
}

/// The same bytes have the same name; SDS names do not begin so.
fn inline_name(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("\0inline:{:016x}:{}", hasher.finish(), bytes.len())
}

/// The name under which a certificate is kept.
pub(crate) fn identity(source: &SecretSource) -> String {
    match source {
        SecretSource::Sds(name, _) => name.clone(),
        SecretSource::Inline(Certificate {
            chain, ocsp_staple, ..
        }) => inline_name(&[chain.as_slice(), ocsp_staple.as_deref().unwrap_or_default()].concat()),
    }
}

/// The name under which those are kept who are trusted.
pub(crate) fn trust(common: &CommonTls) -> Option<String> {
    match &common.validation.as_ref()?.trust {
        TrustSource::None => None,
        TrustSource::Sds(name, _) => Some(name.clone()),
        TrustSource::InlinePem(pem) => Some(inline_name(pem)),
        TrustSource::System => Some(SYSTEM_ROOTS.to_owned()),
    }
}

fn peer_check(common: &CommonTls) -> Result<Option<PeerCheck>, Unsupported> {
    let Some(validation) = &common.validation else {
        return Ok(None);
    };
    if !validation.verifies() {
        return Ok(None);
    }
    Ok(Some(PeerCheck {
        trust: trust(common),
        ..conditions(validation)?
    }))
}

/// What is asked of peers besides who vouches for them.
pub(crate) fn conditions(validation: &Validation) -> Result<PeerCheck, Unsupported> {
    let pins = validation.pins.iter().map(|pin| match *pin {
        compiled::Pin::Certificate(hash) => Pin::Certificate(hash),
        compiled::Pin::Key(hash) => Pin::Key(hash),
    });
    let revocation = validation.revocation.as_ref();
    let revocation = revocation.map(|given| Revocation::from_pem(&given.lists, given.leaf_only));
    let sans = validation.sans.iter().map(san).collect::<Result<_, _>>()?;
    Ok(PeerCheck {
        trust: None,
        sans,
        trust_domains: Vec::new(),
        pins: pins.collect(),
        allow_expired: validation.allow_expired,
        max_depth: validation.max_depth,
        revocation: revocation.transpose()?,
    })
}

fn san(matcher: &compiled::SanMatcher) -> Result<SanMatcher, Unsupported> {
    let kind = match &matcher.kind {
        compiled::SanKind::Other(oid) => leno_tls::SanKind::Other(oid.clone()),
        compiled::SanKind::Any => leno_tls::SanKind::Any,
        compiled::SanKind::Dns => leno_tls::SanKind::Dns,
        compiled::SanKind::Uri => leno_tls::SanKind::Uri,
        compiled::SanKind::Email => leno_tls::SanKind::Email,
        compiled::SanKind::Ip => leno_tls::SanKind::Ip,
    };
    Ok(SanMatcher {
        kind,
        matcher: string(&matcher.matcher)?,
    })
}

fn versions(common: &CommonTls) -> Versions {
    let version = |v| match v {
        compiled::TlsVersion::Tls12 => TlsVersion::V1_2,
        compiled::TlsVersion::Tls13 => TlsVersion::V1_3,
    };
    Versions {
        min: version(common.parameters.min_version),
        max: version(common.parameters.max_version),
    }
}

fn string(matcher: &StringMatcher) -> Result<StringMatch, Unsupported> {
    let ignore_case = matcher.ignore_case;
    Ok(match &matcher.pattern {
        Pattern::Exact(value) => StringMatch::Exact {
            value: value.clone(),
            ignore_case,
        },
        Pattern::Prefix(value) => StringMatch::Prefix {
            value: value.clone(),
            ignore_case,
        },
        Pattern::Suffix(value) => StringMatch::Suffix {
            value: value.clone(),
            ignore_case,
        },
        Pattern::Contains(value) => StringMatch::Contains {
            value: value.clone(),
            ignore_case,
        },
        Pattern::Regex(regex) => {
            let source = regex.as_str();
            // Compiled with anchors; leno-tls adds its own.
            let bare = source.strip_prefix("^(?:").and_then(|s| s.strip_suffix(")$"));
            StringMatch::regex(bare.unwrap_or(source)).map_err(|e| Unsupported::San(e.to_string()))?
        }
        Pattern::Present => StringMatch::Prefix {
            value: String::new(),
            ignore_case,
        },
    })
}
