//! Whom the mesh trusts: the authority's roots and what it has taken back, told to every proxy, and the steps by which one
//! root follows another.
//!
//! A step is taken when everybody follows the one before, and that is proved, not waited for: each proxy acknowledges the
//! secret `ROOTCA` when its roots are in force there and its own certificate is of the root that signs. Who does not is
//! named. Workloads that are in the mesh and not connected count as well: nobody knows what they have.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use leno_ca::{Authority, AuthorityRole, RevocationError, Revocations, RotationError};
use leno_model::{Change, Revoked, Trust};
use leno_proto::control::{AuthorityCertificate, Lagging, RootResponse};
use leno_tls::{Aging, CertificateInfo};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;

use crate::audit::{Audit, Event};
use crate::error::{EXPIRES, REVOCATIONS_REFUSED, StartError};
use crate::listener::Tls;
use crate::registration::Registrations;
use crate::roster::{Followed, Roster};

/// How often revocation lists are looked at, and what comes to its end.
const LOOK: Duration = Duration::from_secs(1);
const OPERATOR: &str = "operator";

pub(crate) struct Root {
    authority: Arc<Authority>,
    tls: Arc<Tls>,
    /// Where everybody on this machine finds whom to trust.
    file: PathBuf,
    changes: mpsc::UnboundedSender<Change>,
    audit: Audit,
    now: Mutex<Now>,
}

/// What is in force.
#[derive(Default)]
struct Now {
    trust: Trust,
    revocations: Option<Revocations>,
    /// Why the newest lists are not.
    refused: Option<String>,
}

/// One thing that ends.
pub(crate) struct Ending {
    pub(crate) what: String,
    pub(crate) role: &'static str,
    pub(crate) signs: bool,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

// === impl Root ===

impl Root {
    /// What the authority says is in force when this returns, and the model is told.
    pub(crate) fn new(
        authority: Arc<Authority>,
        tls: Arc<Tls>,
        file: PathBuf,
        changes: mpsc::UnboundedSender<Change>,
        audit: Audit,
    ) -> Result<Self, StartError> {
        let root = Self {
            authority,
            tls,
            file,
            changes,
            audit,
            now: Mutex::default(),
        };
        let revocations = root.authority.revocations(SystemTime::now())?;
        root.publish(&mut root.lock(), revocations)?;
        Ok(root)
    }

    pub(crate) fn answer(&self, roster: &Roster, registrations: &Registrations) -> RootResponse {
        let certificates = self.authority.certificates().into_iter();
        let lagging = self.lagging(roster, registrations);
        RootResponse {
            stage: self.authority.stage().to_string(),
            certificates: certificates
                .map(|certificate| AuthorityCertificate {
                    role: role(certificate.role).to_owned(),
                    signs: certificate.signs,
                    pem: certificate.pem,
                })
                .collect(),
            proxies: u32::try_from(roster.followers().len()).unwrap_or(u32::MAX),
            lagging,
            revoked: self
                .lock()
                .revocations
                .as_ref()
                .map_or(0, |lists| lists.count as u64),
        }
    }

    /// One step of a rotation.
    pub(crate) fn step(
        &self,
        step: &str,
        roster: &Roster,
        registrations: &Registrations,
    ) -> Result<(), Status> {
        let now = SystemTime::now();
        let mut state = self.lock();
        let (event, taken) = match step {
            "stage" => (Event::RootStaged, self.authority.stage_root(now)),
            "abort" => (Event::RootAborted, self.authority.abort_rotation()),
            "switch" | "retire" => {
                let lagging = lagging(&state.trust, roster, registrations);
                if !lagging.is_empty() {
                    return Err(refusal(step, &lagging));
                }
                match step {
                    "switch" => (Event::RootSwitched, self.authority.switch_root()),
                    _ => (Event::RootRetired, self.authority.retire_root(now)),
                }
            }
            other => {
                return Err(Status::invalid_argument(format!(
                    "{other:?} is no step — step — use stage, switch, retire or abort"
                )));
            }
        };
        taken.map_err(|error| match &error {
            RotationError::Ca(_) | RotationError::State(_) => Status::internal(error.to_string()),
            _ => Status::failed_precondition(error.to_string()),
        })?;
        let revocations = self.authority.revocations(now).unwrap_or_else(|error| {
            refuse(&mut state, &error);
            state.revocations.clone()
        });
        self.publish(&mut state, revocations)
            .map_err(|error| Status::internal(error.to_string()))?;
        drop(state);
        let names = self.endings().into_iter().filter(|ending| ending.role == "root");
        let roots: Vec<String> = names.map(|ending| ending.what).collect();
        tracing::info!(stage = %self.authority.stage(), ?roots, "the mesh's root");
        let stage = self.authority.stage().to_string();
        self.audit.tell(
            event,
            OPERATOR,
            roots.first().map_or("", String::as_str),
            json!({"roots": roots, "stage": stage}),
        );
        Ok(())
    }

    fn lagging(&self, roster: &Roster, registrations: &Registrations) -> Vec<Lagging> {
        let trust = self.lock().trust.clone();
        lagging(&trust, roster, registrations)
    }

    /// What is trusted now is in force here first, then it is told.
    fn publish(&self, state: &mut Now, revocations: Option<Revocations>) -> Result<(), StartError> {
        let trust = Trust {
            roots: self.authority.root_pem(),
            revocations: revocations.as_ref().map(|lists| Revoked {
                lists: lists.pem.clone(),
                leaf_only: lists.leaf_only,
            }),
        };
        self.tls.trust(&self.authority, &trust)?;
        // Only if it differs: with all of its state there, a control plane comes back on a full disk.
        if leno_ca::state::read(&self.file)?.as_deref() != Some(trust.roots.as_bytes()) {
            leno_ca::state::write(&self.file, trust.roots.as_bytes(), leno_ca::state::PUBLIC)?;
        }
        (state.trust, state.revocations) = (trust.clone(), revocations);
        // Nobody listens only while the control plane ends.
        let _ = self.changes.send(Change::Trust(trust));
        Ok(())
    }

    /// Takes revocation lists as they change, and tells of what comes to its end.
    pub(crate) async fn keep_watch(&self) {
        let mut look = tokio::time::interval(LOOK);
        let mut warned: Vec<(String, Aging)> = Vec::new();
        let mut seen = self.stamp();
        loop {
            look.tick().await;
            let stamp = self.stamp();
            if stamp != seen {
                seen = stamp;
                self.take_revocations();
            }
            let endings = self.endings();
            warned.retain(|(what, _)| endings.iter().any(|ending| ending.what == *what));
            for ending in &endings {
                if !warned.iter().any(|(what, _)| *what == ending.what) {
                    warned.push((ending.what.clone(), Aging::default()));
                }
                let known = warned.iter_mut().find(|(what, _)| *what == ending.what);
                let Some((_, aging)) = known else { continue };
                let passed = aging.passed(ending.not_before, ending.not_after, SystemTime::now());
                if let Some(age) = passed {
                    let at = time::OffsetDateTime::from(ending.not_after);
                    let remedy = ending.remedy();
                    tracing::warn!(
                        "warning[{EXPIRES}]: {age} of the life of the {} {} are over, it ends at {at} — state \
                         directory — {remedy}",
                        ending.role,
                        ending.what
                    );
                }
            }
        }
    }

    fn stamp(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(self.authority.revocations_path()).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    fn take_revocations(&self) {
        let mut state = self.lock();
        let lists = match self.authority.revocations(SystemTime::now()) {
            Ok(lists) => lists,
            Err(error) => return refuse(&mut state, &error),
        };
        state.refused = None;
        let count = lists.as_ref().map_or(0, |lists| lists.count);
        if let Err(error) = self.publish(&mut state, lists) {
            tracing::error!("error[{REVOCATIONS_REFUSED}]: {error}");
            return;
        }
        drop(state);
        tracing::info!(revoked = count, "revocation lists are in force");
        let path = self.authority.revocations_path().display().to_string();
        self.audit.tell(
            Event::RevocationsChanged,
            &path,
            "revocations",
            json!({"revoked": count}),
        );
    }

    /// Certificates of the authority, those that sign first, and revocation lists.
    pub(crate) fn endings(&self) -> Vec<Ending> {
        let certificates = self.authority.certificates();
        let mut endings: Vec<Ending> = certificates
            .iter()
            .filter_map(|certificate| {
                let der = leno_tls::pem::certificates(certificate.pem.as_bytes(), "authority").ok()?;
                let info = CertificateInfo::parse(der.first()?).ok()?;
                Some(Ending {
                    what: info.subject,
                    role: role(certificate.role),
                    signs: certificate.signs,
                    not_before: info.not_before,
                    not_after: info.not_after,
                })
            })
            .collect();
        let state = self.lock();
        let lists = state.revocations.as_ref();
        endings.extend(lists.and_then(|lists| {
            Some(Ending {
                what: "ca-crl.pem".to_owned(),
                role: "revocation list",
                signs: false,
                not_before: lists.not_before?,
                not_after: lists.not_after?,
            })
        }));
        endings
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Ending ===

impl Ending {
    fn remedy(&self) -> &'static str {
        match self.role {
            "root" => "put another in its place: `leno cert rotate-root`",
            "intermediate" => "put a new ca-cert.pem and cert-chain.pem there, and restart",
            _ => "make a new list; from its end on nobody is accepted",
        }
    }
}

fn role(role: AuthorityRole) -> &'static str {
    match role {
        AuthorityRole::Root => "root",
        AuthorityRole::Intermediate => "intermediate",
    }
}

/// Once for each reason; the lists before stay in force.
fn refuse(state: &mut Now, error: &RevocationError) {
    let why = error.to_string();
    if state.refused.as_ref() != Some(&why) {
        tracing::error!("error[{REVOCATIONS_REFUSED}]: {why} — the lists before stay in force");
        state.refused = Some(why);
    }
}

/// Who does not follow, and how that is mended.
fn lagging(trust: &Trust, roster: &Roster, registrations: &Registrations) -> Vec<Lagging> {
    let wanted = Followed::Version(leno_translate::trust_version(trust));
    let mut lagging = Vec::new();
    for follower in roster.followers() {
        let asks = follower.trust.iter().any(|trust| *trust != Followed::Unasked);
        // Without TLS nobody has a certificate of ours.
        if follower.trust.contains(&wanted) || !follower.proven && !asks {
            continue;
        }
        let why = match asks {
            true => format!(
                "its proxy has not taken it yet: wait, or see its log, or restart it ({})",
                follower.node
            ),
            false => format!(
                "its proxy does not ask whom to trust: start it with this version of leno, or an Envoy by `leno agent` ({})",
                follower.node
            ),
        };
        lagging.push(Lagging {
            workload: follower.workload,
            why,
        });
    }
    lagging.extend(registrations.away().into_iter().map(|id| {
        Lagging {
            workload: id.to_string(),
            why: "its proxy is not connected: start or stop it, and look at its way to the control plane"
                .to_owned(),
        }
    }));
    lagging
}

fn refusal(step: &str, lagging: &[Lagging]) -> Status {
    let named = lagging
        .iter()
        .take(20)
        .map(|one| format!("{}: {}", one.workload, one.why));
    let named: Vec<String> = named.collect();
    let more = match lagging.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Status::failed_precondition(format!(
        "the root is not changed ({step}): {} of the mesh do not follow — {}{more}",
        lagging.len(),
        named.join("; ")
    ))
}
