//! `envoy.filters.network.connection_limit`: so many connections of a chain at a time, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use leno_proto::google::protobuf::Any;

use super::{Admission, Kind, NetworkFilter};
use crate::compile::Rejection;
use crate::compile::at::{At, silent};
use crate::compile::pb::network::connection_limit as pb;
use crate::compile::pb::protobuf;
use crate::decide::rbac::Caller;
use crate::runtime::Setting;

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
    parse,
};

#[derive(Debug)]
struct ConnectionLimit {
    most: u64,
    delay: Option<Duration>,
    open: Arc<AtomicU64>,
    enabled: Setting<bool>,
}

/// A connection that counts, until this is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicU64>);

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn NetworkFilter>, Rejection> {
    let pb::ConnectionLimit {
        stat_prefix,
        max_connections,
        delay,
        runtime_enabled,
    } = &at.unpack::<pb::ConnectionLimit>(any)?;
    silent!("leno has its own statistics"; stat_prefix);
    let protobuf::UInt64Value { value: most } = at.required("max_connections", max_connections)?;
    if *most == 0 {
        return Err(at.field("max_connections").reject("must be more than 0"));
    }
    Ok(Box::new(ConnectionLimit {
        most: *most,
        delay: at.timeout("delay", delay, None)?,
        open: Arc::default(),
        enabled: at.enabled(runtime_enabled.as_ref()),
    }))
}

impl NetworkFilter for ConnectionLimit {
    fn admit(&self, _caller: &Caller<'_>, _now: Instant) -> Admission {
        if !self.enabled.now() {
            return Admission::Admitted;
        }
        let one_more = |open: u64| (open < self.most).then(|| open + 1);
        match self.open.fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => Admission::Holding(Place(Arc::clone(&self.open))),
            Err(_) => Admission::Refused {
                details: "connection_limit".into(),
                delay: self.delay,
            },
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
