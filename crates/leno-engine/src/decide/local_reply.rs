//! Which mapper takes an answer of the proxy's own.

use crate::compile::local_reply::{Comparison, LocalReplies, Mapper, ReplyFilter};
use crate::flags::Flags;
use crate::message::RequestHead;

impl LocalReplies {
    pub fn mapper(&self, request: &RequestHead, status: u16, flags: Flags) -> Option<&Mapper> {
        let mut mappers = self.mappers.iter();
        mappers.find(|mapper| mapper.filter.takes(request, status, flags))
    }
}

impl ReplyFilter {
    fn takes(&self, request: &RequestHead, status: u16, flags: Flags) -> bool {
        match self {
            Self::Status { comparison, value } => match comparison {
                Comparison::Equal => status == *value,
                Comparison::NotEqual => status != *value,
                Comparison::AtLeast => status >= *value,
                Comparison::AtMost => status <= *value,
            },
            Self::Header(header) => header.matches_request(request),
            Self::Flags(wanted) => wanted.iter().any(|flag| flags.contains(flag)),
            Self::And(filters) => filters.iter().all(|filter| filter.takes(request, status, flags)),
            Self::Or(filters) => filters.iter().any(|filter| filter.takes(request, status, flags)),
            Self::Any => true,
        }
    }
}
