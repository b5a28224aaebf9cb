//! The audit log: who has done what to what, and when; one JSON object a line.
//!
//! Lines go through a bounded queue to a thread that appends them, so that no answer waits for a disk. A file that has
//! been moved away is made anew. What could not be written is counted, and a line says how many are missing.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use leno_api::{Object, ObjectKey};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::AUDIT_NOT_WRITTEN;

/// Lines on their way to the disk.
const QUEUE: usize = 4096;
/// Of these, what proxies tell: however much that is, the control plane's own have their places.
const REPORTED: usize = QUEUE / 2;
/// Lines that are written at once.
const TOGETHER: u64 = 256;

/// Where events go; without a file nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit(Option<Arc<Log>>);

#[derive(Debug)]
struct Log {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
    /// What proxies have told and is not written yet.
    reported: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Line {
    text: Vec<u8>,
    /// A proxy has told it.
    reported: bool,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A workload has got its first certificate, with a token.
    Joined,
    /// A workload has got a certificate for the one that it had.
    Renewed,
    /// No certificate was given.
    CertificateRefused,
    TokenCreated,
    TokenRevoked,
    RootStaged,
    RootSwitched,
    RootRetired,
    RootAborted,
    RevocationsChanged,
    ConfigurationAdded,
    ConfigurationChanged,
    ConfigurationRemoved,
    /// A policy has denied a request or a connection.
    Denied,
    /// A policy with `action: AUDIT` has matched.
    Audited,
    /// A policy that is only tried would have denied it.
    WouldBeDenied,
    /// A proxy has told more than is written.
    DecisionsLost,
}

// === impl Event ===

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Joined => "workload.joined",
            Self::Renewed => "certificate.renewed",
            Self::CertificateRefused => "certificate.refused",
            Self::TokenCreated => "token.created",
            Self::TokenRevoked => "token.revoked",
            Self::RootStaged => "root.staged",
            Self::RootSwitched => "root.switched",
            Self::RootRetired => "root.retired",
            Self::RootAborted => "root.aborted",
            Self::RevocationsChanged => "revocations.changed",
            Self::ConfigurationAdded => "configuration.added",
            Self::ConfigurationChanged => "configuration.changed",
            Self::ConfigurationRemoved => "configuration.removed",
            Self::Denied => "access.denied",
            Self::Audited => "access.audited",
            Self::WouldBeDenied => "access.dry-run",
            Self::DecisionsLost => "access.lost",
        }
    }
}

// === impl Audit ===

impl Audit {
    /// Fails if the file cannot be written now.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        append(path, &[])?;
        let (lines, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let reported = Arc::new(AtomicUsize::new(0));
        let (path, missing, waiting) = (path.to_owned(), Arc::clone(&lost), Arc::clone(&reported));
        std::thread::Builder::new()
            .name("audit-log".into())
            .spawn(move || write_all(&path, &queue, &missing, &waiting))?;
        Ok(Self(Some(Arc::new(Log {
            lines,
            lost,
            reported,
        }))))
    }

    /// `more`: what is special to the event, an object.
    pub(crate) fn tell(&self, event: Event, actor: &str, object: &str, more: Value) {
        let Some(log) = &self.0 else { return };
        log.put(line(event.name(), actor, object, more), false);
    }

    /// What a proxy tells.
    pub(crate) fn tell_reported(&self, event: Event, actor: &str, object: &str, more: Value) {
        let Some(log) = &self.0 else { return };
        if log.reported.load(Relaxed) >= REPORTED {
            log.lost.fetch_add(1, Relaxed);
            return;
        }
        log.put(line(event.name(), actor, object, more), true);
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// How a file of the configuration differs from what it said before.
    pub(crate) fn tell_configuration(&self, file: &str, before: &[Object], after: &[Object]) {
        if self.0.is_none() {
            return;
        }
        let of =
            |objects: &[Object], key: &ObjectKey| objects.iter().find(|object| object.key == *key).cloned();
        for object in after {
            let event = match of(before, &object.key) {
                None => Event::ConfigurationAdded,
                Some(known) if known.spec != object.spec || known.labels != object.labels => {
                    Event::ConfigurationChanged
                }
                // It says the same, in another place perhaps.
                Some(_) => continue,
            };
            self.tell(
                event,
                file,
                &object.key.to_string(),
                json!({"place": object.place().to_string()}),
            );
        }
        for object in before.iter().filter(|object| of(after, &object.key).is_none()) {
            self.tell(
                Event::ConfigurationRemoved,
                file,
                &object.key.to_string(),
                json!({}),
            );
        }
    }
}

// === impl Log ===

impl Log {
    fn put(&self, text: Vec<u8>, reported: bool) {
        self.reported.fetch_add(reported.into(), Relaxed);
        if self.lines.try_send(Line { text, reported }).is_err() {
            self.reported.fetch_sub(reported.into(), Relaxed);
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

fn line(event: &str, actor: &str, object: &str, more: Value) -> Vec<u8> {
    let now = OffsetDateTime::from(SystemTime::now());
    let mut said = json!({
        "time": now.format(&Rfc3339).unwrap_or_default(),
        "event": event,
        "actor": actor,
        "object": object,
    });
    if let (Some(said), Value::Object(more)) = (said.as_object_mut(), more) {
        said.extend(more);
    }
    let mut line = said.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn write_all(path: &Path, queue: &Receiver<Line>, lost: &AtomicU64, reported: &AtomicUsize) {
    let mut is_told = false;
    while let Ok(first) = queue.recv() {
        reported.fetch_sub(first.reported.into(), Relaxed);
        let mut lines = first.text;
        let mut count = 1u64;
        while count < TOGETHER
            && let Ok(next) = queue.try_recv()
        {
            reported.fetch_sub(next.reported.into(), Relaxed);
            lines.extend_from_slice(&next.text);
            count += 1;
        }
        let missing = lost.swap(0, Relaxed);
        if missing > 0 {
            lines.extend(line(
                "audit.lost",
                "leno control",
                &path.display().to_string(),
                json!({"lines": missing}),
            ));
        }
        match append(path, &lines) {
            Ok(()) => is_told = false,
            Err(error) => {
                lost.fetch_add(missing + count, Relaxed);
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(
                        "error[{AUDIT_NOT_WRITTEN}]: the audit log cannot be written: {error} — {} — mend it; what is \
                         missing is counted in it",
                        path.display()
                    );
                }
            }
        }
    }
}

/// Whoever can read it learns who talks to the mesh: it is its owner's.
fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proxies_tell_leaves_places_for_the_control_planes_own() {
        let (lines, queue) = sync_channel(QUEUE);
        let (lost, reported) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let audit = Audit(Some(Arc::new(Log {
            lines,
            lost: Arc::clone(&lost),
            reported,
        })));
        for _ in 0..QUEUE {
            audit.tell_reported(Event::Denied, "a", "b", json!({}));
        }
        assert_eq!(lost.load(Relaxed), (QUEUE - REPORTED) as u64);
        audit.tell(Event::TokenCreated, "operator", "t1", json!({}));
        let told: Vec<Line> = queue.try_iter().collect();
        assert_eq!(told.len(), REPORTED + 1);
        assert!(!told.last().unwrap().reported);
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted_in_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit/log");
        std::fs::create_dir(directory.path().join("audit")).unwrap();
        let (lines, queue) = sync_channel(8);
        let lost = AtomicU64::new(2);
        lines
            .send(Line {
                text: line("token.created", "operator", "t1", json!({"reusable": true})),
                reported: false,
            })
            .unwrap();
        drop(lines);
        write_all(&path, &queue, &lost, &AtomicUsize::new(0));
        let text = std::fs::read_to_string(&path).unwrap();
        let said: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(said[0]["event"], "token.created");
        assert_eq!(
            (&said[0]["actor"], &said[0]["reusable"]),
            (&json!("operator"), &json!(true))
        );
        assert_eq!(
            (&said[1]["event"], &said[1]["lines"]),
            (&json!("audit.lost"), &json!(2))
        );

        // A directory stands where the log was: nothing is written, and nothing forgotten.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let (lines, queue) = sync_channel(8);
        for _ in 0..3 {
            let text = b"{}\n".to_vec();
            let reported = true;
            lines.send(Line { text, reported }).unwrap();
        }
        drop(lines);
        let lost = AtomicU64::new(1);
        let reported = AtomicUsize::new(3);
        write_all(&path, &queue, &lost, &reported);
        assert_eq!(reported.load(Relaxed), 0);
        assert_eq!(lost.load(Relaxed), 4);
    }
}
