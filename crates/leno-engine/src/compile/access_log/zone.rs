//! The machine's time zone (RFC 9636), for times that are told as its clocks show them.

use std::sync::Arc;

use tz::TimeZone;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(Arc<TimeZone>);

// === impl Zone ===

impl Zone {
    /// `data`: of a file of the time zone database. UTC without, and where it makes no sense, as in Envoy.
    pub fn new(data: Option<&[u8]>) -> Self {
        let read = data.and_then(|data| TimeZone::from_tz_data(data).ok());
        Self(Arc::new(read.unwrap_or_else(TimeZone::utc)))
    }

    /// Seconds east of Greenwich at that second since 1970, and what that is called.
    pub fn at(&self, unix: u64) -> (i32, &str) {
        let found = i64::try_from(unix).ok();
        let found = found.and_then(|unix| self.0.find_local_time_type(unix).ok());
        let found = found.map(|found| (found.ut_offset(), found.time_zone_designation()));
        found.filter(|(_, name)| !name.is_empty()).unwrap_or((0, "UTC"))
    }
}
