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
    ConfigError, Crypto, IdentityError, PendingIdentity, ROOT_CA, Secrets, SpiffeId, TrustBundle,
    WORKLOAD_CERTIFICATE,
};
use tokio::sync::watch;

use crate::control_plane::ControlPlane;
use crate::grpc::{self, Channel};

const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const TIMEOUT: Duration = Duration::from_secs(10);
/// However short certificates live, an authority is not asked without pause.
const RENEWAL_LEAST: Duration = Duration::from_millis(500);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(10);

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
}

/// Keeps the secrets `default` and `ROOTCA` fresh.
#[derive(Debug)]
pub struct Renewal {
    control: ControlPlane,
    secrets: Arc<Secrets>,
    crypto: Crypto,
    request: Request,
    issued: Option<watch::Sender<Option<Arc<Issued>>>>,
}

impl Renewal {
    pub fn new(control: ControlPlane, secrets: Arc<Secrets>, crypto: Crypto, request: Request) -> Self {
        Self {
            control,
            secrets,
            crypto,
            request,
            issued: None,
        }
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

    /// Renews for ever. `random` gives a share in 0..=1 for the jitter.
    pub async fn keep(mut self, mut random: impl FnMut() -> f64) {
        loop {
            tokio::time::sleep(self.until_renewal(random())).await;
            let mut wait = RETRY_FIRST;
            while let Err(error) = self.ask().await {
                tracing::warn!(%error, id = %self.request.id, "the certificate is not renewed yet; trying again");
                tokio::time::sleep(wait.mul_f64(0.5 + random() / 2.0)).await;
                wait = (wait * 2).min(RETRY_MOST);
            }
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
        let bundle = TrustBundle::from_pem(root.as_bytes(), "the certificate authority's root")?;
        let issued = self.issued.as_ref().map(|_| Issued {
            chain: identity.chain().iter().map(|c| encode_certificate(c)).collect(),
            key: pending.key_pem(),
            roots: bundle
                .certificates()
                .iter()
                .map(|c| encode_certificate(c))
                .collect(),
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

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}
