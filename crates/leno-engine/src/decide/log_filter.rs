//! Whether a filter takes a request.

use std::time::Duration;

use crate::compile::access_log::{AccessLog, Attributes};
use crate::compile::log_filter::{Comparison, LogFilter, LogType};
use crate::compile::metadata::Value;
use crate::decide::grpc;
use crate::decide::notes::Notes;
use crate::flags::Flags;
use crate::message::RequestHead;

/// What is known of a request at its end, or when it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'r> {
    /// None: a connection without HTTP.
    pub request: Option<&'r RequestHead>,
    pub status: u16,
    pub grpc_status: Option<u32>,
    pub flags: Flags,
    pub duration: Duration,
    /// Traced because a service wants it.
    pub forced: bool,
    pub random: u64,
    /// When it is made.
    pub log_type: LogType,
    /// What filters have noted.
    pub notes: Option<&'r Notes>,
}

impl AccessLog {
    /// `attributes`: what expressions know.
    pub fn takes(&self, facts: &Facts<'_>, attributes: &Attributes<'_>) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.takes(facts, attributes))
    }
}

impl LogFilter {
    pub fn takes(&self, facts: &Facts<'_>, attributes: &Attributes<'_>) -> bool {
        match self {
            Self::Status { comparison, value } => comparison.holds(u64::from(facts.status), value.now()),
            Self::Duration { comparison, value } => {
                let milliseconds = u64::try_from(facts.duration.as_millis()).unwrap_or(u64::MAX);
                comparison.holds(milliseconds, value.now())
            }
            Self::Header(header) => facts.request.is_some_and(|head| header.matches_request(head)),
            Self::Flags(wanted) => wanted.iter().any(|flag| facts.flags.contains(flag)),
            Self::Grpc { codes, exclude } => {
                let status = facts.grpc_status.unwrap_or_else(|| grpc::from_http(facts.status));
                codes.contains(&status) != *exclude
            }
            Self::Share(share) => share.now().takes(facts.random),
            Self::Forced => facts.forced,
            Self::And(filters) => filters.iter().all(|filter| filter.takes(facts, attributes)),
            Self::Or(filters) => filters.iter().any(|filter| filter.takes(facts, attributes)),
            Self::NoHealthCheck => !facts.flags.is_health_check(),
            Self::Metadata { matcher, otherwise } => {
                let found = matcher.as_ref().zip(facts.notes).and_then(|(matcher, notes)| {
                    let matches = |value: &Value| matcher.value.matches(value);
                    notes.metadata(&matcher.namespace, &matcher.path, matches)
                });
                found.unwrap_or(*otherwise)
            }
            Self::Types { types, exclude } => types.contains(&facts.log_type) != *exclude,
            Self::Expression(program) => program.holds(attributes),
        }
    }
}

impl Comparison {
    fn holds(self, is: u64, wanted: u64) -> bool {
        match self {
            Self::Equal => is == wanted,
            Self::NotEqual => is != wanted,
            Self::AtLeast => is >= wanted,
            Self::AtMost => is <= wanted,
        }
    }
}
