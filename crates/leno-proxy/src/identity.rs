//! The workload's certificate: asked for with a token, renewed with itself.
//!
//! The key is made here and stays here, unless somebody beside the workload needs it ([`Renewal::issuing`]). Renewal comes at half life, with jitter, so that a control plane may be
//! away for the other half; open connections keep the certificate they were made with.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leno_proto::google::protobuf::Struct;
use leno_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use leno_tls::pem::encode_certificate;
use leno_tls::{
    Aging, ConfigError, Crypto, IdentityError, PendingIdentity, ROOT_CA, Secrets, SpiffeId, TrustBundle,
    WORKLOAD_CERTIFICATE,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::control_plane::ControlPlane;
use crate::grpc::{self, Channel};
use crate::trust::{Revocations, Trust};

const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const TIMEOUT: Duration = Duration::from_secs(10);
/// However short certificates live, an authority is not asked without pause.
const RENEWAL_LEAST: Duration = Duration::from_millis(500);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// When another root signs everybody wants a certificate of it; they come within this time.
const SPREAD: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Call(#[from] grpc::Error),
    #[error(transparent)]
    Tls(#[from] ConfigError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the control plane answered without a certificate")]
    NoCertificate,
}

impl Error {
    /// Trying again cannot help.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Call(e) if e.is_refusal())
    }
}

/// Who asks, and with what.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: SpiffeId,
    /// The join token, for as long as there is no certificate to renew with.
    pub token: Option<String>,
    /// How long the certificate is asked to live; the authority may give less. None: its default.
    pub ttl: Option<Duration>,
}

/// A certificate with its key, for a process beside us that has no other way to one. All of it is PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The leaf first, without the root.
    pub chain: String,
    pub key: String,
    pub roots: String,
    pub revocations: Option<Revocations>,
}

/// Keeps the secrets `default` and `ROOTCA` fresh.
#[derive(Debug)]
pub struct Renewal {
    control: ControlPlane,
    secrets: Arc<Secrets>,
    crypto: Crypto,
    request: Request,
    issued: Option<watch::Sender<Option<Arc<Issued>>>>,
    /// Whom to trust, from when the control plane has said so; before that its answers say it.
    trust: Option<watch::Receiver<Option<Arc<Trust>>>>,
    warned: Aging,
}

impl Renewal {
    pub fn new(control: ControlPlane, secrets: Arc<Secrets>, crypto: Crypto, request: Request) -> Self {
        Self {
            control,
            secrets,
            crypto,
            request,
            issued: None,
            trust: None,
            warned: Aging::default(),
        }
    }

    /// Whom to trust is told from elsewhere. When another root signs, the certificate is renewed at once.
    #[must_use]
    pub fn following(mut self, trust: watch::Receiver<Option<Arc<Trust>>>) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Tells of each certificate, with its key, as soon as it is in force here.
    #[must_use]
    pub fn issuing(mut self, issued: watch::Sender<Option<Arc<Issued>>>) -> Self {
        self.issued = Some(issued);
        self
    }

    /// Asks until there is a certificate, or the authority refuses. `waiting` hears of each failure.
    pub async fn first(&mut self, mut waiting: impl FnMut(&Error)) -> Result<(), Error> {
        let mut wait = RETRY_FIRST;
        loop {
            match self.ask().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_refusal() => return Err(error),
                Err(error) => waiting(&error),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MOST);
        }
    }

    /// Asks once.
    pub async fn once(&mut self) -> Result<(), Error> {
        self.ask().await
    }

    /// Renews for ever. `random` gives a share in 0..=1 for the jitter.
    pub async fn keep(mut self, mut random: impl FnMut() -> f64) {
        let mut wait = RETRY_FIRST;
        let mut due = Instant::now() + self.until_renewal(random());
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => match self.ask().await {
                    Ok(()) => {
                        wait = RETRY_FIRST;
                        self.warned = Aging::default();
                        let next = self.until_renewal(random());
                        // An authority that does not sign as it says is asked again, and not without pause.
                        due = Instant::now() + if self.is_of_first() { next } else { next.min(RETRY_MOST) };
                    }
                    Err(error) => {
                        self.tell_failure(&error);
                        due = Instant::now() + wait.mul_f64(0.5 + random() / 2.0);
                        wait = (wait * 2).min(self.longest_retry());
                    }
                },
                () = told(&mut self.trust) => {
                    self.take_trust();
                    if !self.is_of_first() {
                        due = due.min(Instant::now() + SPREAD.mul_f64(random()));
                    }
                }
            }
        }
    }

    /// Puts in force whom the control plane says to trust.
    fn take_trust(&self) {
        let Some(trust) = self.trust() else { return };
        self.secrets.set_bundle(ROOT_CA, trust.bundle().clone());
        if let Some(issued) = &self.issued {
            issued.send_if_modified(|issued| {
                let Some(before) = issued else { return false };
                let now = Issued {
                    roots: trust.roots(),
                    revocations: trust.revocations().cloned(),
                    ..Issued::clone(before)
                };
                let changed = **before != now;
                *before = Arc::new(now);
                changed
            });
        }
    }

    fn trust(&self) -> Option<Arc<Trust>> {
        self.trust.as_ref()?.borrow().clone()
    }

    fn is_of_first(&self) -> bool {
        let set = self.secrets.load();
        let (identity, bundle) = (set.identity(WORKLOAD_CERTIFICATE), set.bundle(ROOT_CA));
        identity
            .zip(bundle)
            .is_none_or(|(identity, bundle)| identity.is_of_first(bundle))
    }

    /// Each failure, and louder when half, three quarters and nine tenths of the certificate's life are over.
    #[allow(clippy::disallowed_methods)]
    fn tell_failure(&mut self, error: &Error) {
        let set = self.secrets.load();
        let id = &self.request.id;
        let age = set.identity(WORKLOAD_CERTIFICATE).and_then(|identity| {
            let info = identity.info();
            self.warned
                .passed(info.not_before, info.not_after, SystemTime::now())
        });
        match age {
            Some(age) => tracing::error!(
                %error, %id,
                "{age} of the certificate's life are over and it is not renewed — the control plane — start it, or see \
                 why it refuses; after the certificate's end nobody accepts this workload"
            ),
            None => tracing::warn!(%error, %id, "the certificate is not renewed yet; trying again"),
        }
    }

    /// Up to a tenth before half of what is left now, which is right after it came: its beginning lies in the past
    /// for the sake of slow clocks, so half of a short life could be over already.
    #[allow(clippy::disallowed_methods)]
    fn until_renewal(&self, share: f64) -> Duration {
        let set = self.secrets.load();
        let Some(identity) = set.identity(WORKLOAD_CERTIFICATE) else {
            return Duration::ZERO;
        };
        let left = identity.info().not_after.duration_since(SystemTime::now());
        let half = left.unwrap_or_default() / 2;
        half.mul_f64(1.0 - 0.1 * share).max(RENEWAL_LEAST)
    }

    /// Several tries are left before the certificate's end, if there is one.
    #[allow(clippy::disallowed_methods)]
    fn longest_retry(&self) -> Duration {
        let set = self.secrets.load();
        let identity = set.identity(WORKLOAD_CERTIFICATE);
        let left = identity.and_then(|i| i.info().not_after.duration_since(SystemTime::now()).ok());
        left.map_or(RETRY_MOST, |left| (left / 8).clamp(RETRY_FIRST, RETRY_MOST))
    }

    async fn ask(&mut self) -> Result<(), Error> {
        let pending = PendingIdentity::generate(self.request.id.clone())?;
        let joined = self.is_joined();
        let target = if joined {
            self.control.joined()?
        } else {
            self.control.joining()?
        };
        let token = if joined {
            None
        } else {
            self.request.token.as_deref()
        };
        let channel = Channel::connect(&target).await?;
        let request = IstioCertificateRequest {
            csr: pending.csr_pem().to_owned(),
            validity_duration: self
                .request
                .ttl
                .map_or(0, |t| i64::try_from(t.as_secs()).unwrap_or(i64::MAX)),
            metadata: None::<Struct>,
        };
        let answer: IstioCertificateResponse = channel
            .unary(CREATE_CERTIFICATE, token, &request, TIMEOUT)
            .await?;
        self.install(&pending, &answer.cert_chain)
    }

    /// A present certificate that has not expired vouches for its renewal.
    #[allow(clippy::disallowed_methods)]
    fn is_joined(&self) -> bool {
        self.secrets
            .load()
            .identity(WORKLOAD_CERTIFICATE)
            .is_some_and(|i| !i.is_expired(SystemTime::now()))
    }

    /// As istiod answers: the leaf first, the root last.
    fn install(&self, pending: &PendingIdentity, chain: &[String]) -> Result<(), Error> {
        let root = chain
            .last()
            .filter(|_| chain.len() > 1)
            .ok_or(Error::NoCertificate)?;
        let identity = pending.complete(chain, &self.crypto)?;
        let told = self.trust();
        let bundle = match &told {
            Some(trust) => trust.bundle().clone(),
            None => TrustBundle::from_pem(root.as_bytes(), "the certificate authority's root")?,
        };
        let issued = self.issued.as_ref().map(|_| Issued {
            chain: identity.chain().iter().map(|c| encode_certificate(c)).collect(),
            key: pending.key_pem(),
            roots: bundle
                .certificates()
                .iter()
                .map(|c| encode_certificate(c))
                .collect(),
            revocations: told.as_ref().and_then(|trust| trust.revocations().cloned()),
        });
        self.secrets.update(|set| {
            set.set_identity(WORKLOAD_CERTIFICATE, identity);
            set.set_bundle(ROOT_CA, bundle);
        });
        if let (Some(sender), Some(issued)) = (&self.issued, issued) {
            sender.send_replace(Some(Arc::new(issued)));
        }
        Ok(())
    }
}

/// When there is something new of whom to trust. Cancel safe.
async fn told(trust: &mut Option<watch::Receiver<Option<Arc<Trust>>>>) {
    if let Some(trust) = trust
        && trust.changed().await.is_ok()
    {
        return;
    }
    // Nobody says anything (any more).
    std::future::pending().await
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}
