//! How endpoints are that a request may ask for by their address.

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::endpoint::{Health, health};
use crate::compile::pb::core;

/// A set of health statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses(u8);

// === impl Statuses ===

impl Statuses {
    pub fn contains(self, health: Health) -> bool {
        self.0 & 1 << health as u8 != 0
    }

    fn of(statuses: impl IntoIterator<Item = Health>) -> Self {
        Self(statuses.into_iter().fold(0, |set, one| set | 1 << one as u8))
    }
}

/// `override_host_status`
pub(super) fn statuses(at: &At<'_>, message: Option<&core::HealthStatusSet>) -> Result<Statuses, Rejection> {
    let Some(core::HealthStatusSet { statuses }) = message else {
        return Ok(Statuses::default());
    };
    let at = at.field("override_host_status");
    let each = statuses.iter().map(|status| health(&at, "statuses", *status));
    Ok(Statuses::of(each.collect::<Result<Vec<_>, _>>()?))
}

impl Default for Statuses {
    fn default() -> Self {
        Self::of([Health::Unknown, Health::Healthy, Health::Degraded])
    }
}
