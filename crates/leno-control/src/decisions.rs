//! What proxies tell of their policies' decisions, for the audit log: Envoy's access log service
//! (`envoy.service.accesslog.v3`), which Envoy and leno's proxy speak alike.
//!
//! Who reports is known by the certificate of the connection; the node that a message names counts where that identity
//! has an xDS stream for it. A proxy that is somebody else's can tell lies of its own workload's requests, and of no other's.
//! What comes is bounded by identity, and told as missing beyond.

mod entry;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leno_proto::envoy::service::accesslog::v3::access_log_service_server::AccessLogService;
use leno_proto::envoy::service::accesslog::v3::stream_access_logs_message::{Identifier, LogEntries};
use leno_proto::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use serde_json::json;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::audit::{Audit, Event};
use crate::error::PEER_REFUSED;
use crate::listener::{Peer, stream_of};
use crate::once::Once;
use crate::roster::Roster;

/// As the control plane names it in what proxies are told.
const LOG_NAME: &str = "leno.audit";
/// Entries of one identity that are written; a service has one, however many instances it has.
const MOST_IN_SECOND: u32 = 1000;
/// Identities that are counted by themselves.
const MOST_REPORTERS: usize = 4096;
const SECOND: Duration = Duration::from_secs(1);

/// The service, which its streams share.
#[derive(Debug)]
pub(crate) struct Decisions {
    audit: Audit,
    roster: Arc<Roster>,
    /// Closed when the control plane ends.
    running: watch::Receiver<()>,
    /// Of this second, by identity.
    heard: Mutex<HashMap<String, Heard>>,
    refused: Once,
    pub(crate) counts: Counts,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) heard: AtomicU64,
    pub(crate) lost: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    entries: u32,
    lost: u64,
}

/// Who tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reporter {
    identity: String,
    /// The workload that it stands beside, if it has an xDS stream.
    workload: Option<String>,
}

// === impl Decisions ===

impl Decisions {
    pub(crate) fn new(audit: Audit, roster: Arc<Roster>, running: watch::Receiver<()>) -> Self {
        Self {
            audit,
            roster,
            running,
            heard: Mutex::default(),
            refused: Once::default(),
            counts: Counts::default(),
        }
    }

    /// Begins a new second again and again, and tells how much of the last one is missing.
    pub(crate) async fn keep_time(&self) {
        let mut seconds = tokio::time::interval(SECOND);
        loop {
            seconds.tick().await;
            self.begin_second();
        }
    }

    fn begin_second(&self) {
        let last = std::mem::take(&mut *self.heard());
        for (reporter, Heard { lost, .. }) in last {
            if lost > 0 {
                self.audit.tell(
                    Event::DecisionsLost,
                    &reporter,
                    LOG_NAME,
                    json!({"entries": lost}),
                );
            }
        }
    }

    /// Whether one more of this identity is written.
    fn has_room(&self, identity: &str) -> bool {
        let mut all = self.heard();
        if !all.contains_key(identity) && all.len() >= MOST_REPORTERS {
            all.entry(String::new()).or_default().lost += 1;
            self.counts.lost.fetch_add(1, Relaxed);
            return false;
        }
        let heard = all.entry(identity.to_owned()).or_default();
        if heard.entries >= MOST_IN_SECOND {
            heard.lost += 1;
            self.counts.lost.fetch_add(1, Relaxed);
            return false;
        }
        heard.entries += 1;
        self.counts.heard.fetch_add(1, Relaxed);
        true
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reporter(&self, peer: Option<&Peer>) -> Result<String, Status> {
        let identity = peer.and_then(|peer| peer.identity.as_ref());
        let Some(identity) = identity else {
            let who = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.address.ip().to_string());
            if self.refused.first(&who) {
                tracing::warn!(
                    "warning[{PEER_REFUSED}]: peer {who} tells of decisions without a mesh certificate; they are not taken"
                );
            }
            return Err(Status::unauthenticated(
                "no mesh certificate — StreamAccessLogs — get one with a join token first, and use the TLS port (15012)",
            ));
        };
        Ok(identity.to_string())
    }

    /// The first message says which log it is, and of which node.
    fn introduced(&self, identity: &str, identifier: Option<&Identifier>) -> Result<Reporter, Status> {
        let Some(Identifier { node, log_name }) = identifier else {
            return Err(Status::invalid_argument(
                "the first message names no log — identifier — send it first",
            ));
        };
        if log_name != LOG_NAME {
            return Err(Status::invalid_argument(format!(
                "{log_name:?} is not taken here — log_name — the control plane keeps {LOG_NAME} alone"
            )));
        }
        let node = node.as_ref().map_or("", |node| node.id.as_str());
        Ok(Reporter {
            identity: identity.to_owned(),
            workload: self.roster.workload_of(node, identity),
        })
    }

    fn take(&self, reporter: &Reporter, message: StreamAccessLogsMessage) {
        match message.log_entries {
            Some(LogEntries::HttpLogs(logs)) => {
                for entry in &logs.log_entry {
                    self.write(reporter, || entry::of_request(entry));
                }
            }
            Some(LogEntries::TcpLogs(logs)) => {
                for entry in &logs.log_entry {
                    self.write(reporter, || entry::of_connection(entry));
                }
            }
            None => {}
        }
    }

    fn write(&self, reporter: &Reporter, read: impl FnOnce() -> Vec<entry::Decision>) {
        if !self.has_room(&reporter.identity) {
            return;
        }
        for decision in read() {
            let mut more = decision.more;
            more.insert("reporter".into(), reporter.identity.as_str().into());
            let object = reporter.workload.as_ref().unwrap_or(&reporter.identity);
            self.audit
                .tell_reported(decision.event, &decision.actor, object, more.into());
        }
    }
}

#[tonic::async_trait]
impl AccessLogService for Decisions {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let identity = self.reporter(request.extensions().get::<Peer>())?;
        let _place = stream_of(&request)?;
        let mut messages = request.into_inner();
        let mut running = self.running.clone();
        let mut reporter = None;
        loop {
            let message = tokio::select! {
                message = messages.message() => message?,
                _ = running.changed() => return Err(Status::unavailable("the control plane ends")),
            };
            let Some(message) = message else {
                return Ok(Response::new(StreamAccessLogsResponse {}));
            };
            let known = match &reporter {
                Some(known) => known,
                None => reporter.insert(self.introduced(&identity, message.identifier.as_ref())?),
            };
            self.take(known, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions() -> (Decisions, watch::Sender<()>) {
        let (running, stopped) = watch::channel(());
        (Decisions::new(Audit::default(), Arc::default(), stopped), running)
    }

    #[test]
    fn an_identity_that_tells_too_much_takes_nothing_from_others() {
        let (decisions, _running) = decisions();
        for _ in 0..MOST_IN_SECOND {
            assert!(decisions.has_room("loud"));
        }
        assert!(!decisions.has_room("loud"));
        assert!(!decisions.has_room("loud"));
        assert!(decisions.has_room("quiet"));
        assert_eq!(decisions.heard()["loud"].lost, 2);
        assert_eq!(decisions.counts.lost.load(Relaxed), 2);
        decisions.begin_second();
        assert!(decisions.has_room("loud"));
    }

    #[test]
    fn identities_beyond_those_that_are_counted_are_lost_together() {
        let (decisions, _running) = decisions();
        for i in 0..MOST_REPORTERS {
            assert!(decisions.has_room(&i.to_string()));
        }
        assert!(!decisions.has_room("one more"));
        assert!(!decisions.has_room("another"));
        assert_eq!(decisions.heard()[""].lost, 2);
        assert!(decisions.heard().len() <= MOST_REPORTERS + 1);
    }

    #[test]
    fn another_log_and_a_log_of_nobody_are_refused() {
        let (decisions, _running) = decisions();
        assert!(decisions.introduced("me", None).is_err());
        let other = Identifier {
            node: None,
            log_name: "mine".into(),
        };
        let refused = decisions.introduced("me", Some(&other)).unwrap_err();
        assert!(refused.message().contains("\"mine\""), "{refused}");
    }
}
