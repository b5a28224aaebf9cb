//! Which mapper takes an answer of the proxy's own.

use super::log_filter::Facts;
use crate::compile::local_reply::{LocalReplies, Mapper};

impl LocalReplies {
    pub fn mapper(&self, facts: &Facts<'_>) -> Option<&Mapper> {
        self.mappers.iter().find(|mapper| mapper.filter.takes(facts))
    }
}
