//! What an endpoint has had to do since somebody last asked: for reports to whoever balances load from afar.

use std::cell::Cell;

use crate::decide::grpc;
use crate::message::ResponseHead;

/// On one worker.
#[derive(Debug, Default)]
pub struct Load {
    issued: Cell<u64>,
    succeeded: Cell<u64>,
    failed: Cell<u64>,
}

/// What is told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub issued: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub active: u64,
}

// === impl Load ===

impl Load {
    /// A request is sent, or a connection made.
    pub fn issue(&self) {
        self.issued.set(self.issued.get() + 1);
    }

    /// What has become of one. What could not even be sent has failed too.
    pub fn settle(&self, success: bool) {
        let count = if success { &self.succeeded } else { &self.failed };
        count.set(count.get() + 1);
    }

    /// Since the last time.
    pub(super) fn take(&self, active: u32) -> Loaded {
        Loaded {
            issued: self.issued.take(),
            succeeded: self.succeeded.take(),
            failed: self.failed.take(),
            active: active.into(),
        }
    }
}

// === impl Loaded ===

impl Loaded {
    pub fn add(&mut self, other: Loaded) {
        self.issued += other.issued;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.active += other.active;
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether an answer counts as the endpoint's success, as in Envoy's router. None: of a gRPC call it is known when it has
/// ended.
pub fn success(head: &ResponseHead) -> Option<bool> {
    if head.status >= 500 {
        return Some(false);
    }
    let content_type = head.headers.get("content-type").unwrap_or_default();
    let is_grpc = content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')));
    if !is_grpc {
        return Some(true);
    }
    let status = head.headers.get_str("grpc-status")?;
    Some(status.parse().is_ok_and(succeeded))
}

/// The same of a call that has ended with this status.
pub fn succeeded(grpc_status: u32) -> bool {
    grpc::to_http(grpc_status) < 500
}
