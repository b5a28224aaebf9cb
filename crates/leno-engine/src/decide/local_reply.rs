//! Which mapper takes an answer of the proxy's own.

use super::log_filter::Facts;
use crate::compile::access_log::Attributes;
use crate::compile::local_reply::{LocalReplies, Mapper};

impl LocalReplies {
    pub fn mapper(&self, facts: &Facts<'_>, attributes: &Attributes<'_>) -> Option<&Mapper> {
        let mut mappers = self.mappers.iter();
        mappers.find(|mapper| mapper.filter.takes(facts, attributes))
    }
}
