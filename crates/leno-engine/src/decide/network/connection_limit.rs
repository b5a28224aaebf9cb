//! `envoy.filters.network.connection_limit`: so many connections of a chain at a time, over all workers.

use std::time::{Duration, Instant};

use leno_proto::google::protobuf::Any;

use super::{Admission, Kind, NetworkFilter};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::network::connection_limit as pb;
use crate::compile::pb::protobuf;
use crate::decide::places::Places;
use crate::decide::rbac::Caller;
use crate::decide::tally::Tally;
use crate::flags::Flags;
use crate::runtime::Setting;

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
    parse,
};

#[derive(Debug)]
struct ConnectionLimit {
    places: Places,
    delay: Option<Duration>,
    enabled: Setting<bool>,
    /// The name of a counter.
    limited: String,
    /// The name of how many places are taken.
    active: String,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn NetworkFilter>, Rejection> {
    let pb::ConnectionLimit {
        stat_prefix,
        max_connections,
        delay,
        runtime_enabled,
    } = &at.unpack::<pb::ConnectionLimit>(any)?;
    let protobuf::UInt64Value { value: most } = at.required("max_connections", max_connections)?;
    if *most == 0 {
        return Err(at.field("max_connections").reject("must be more than 0"));
    }
    Ok(Box::new(ConnectionLimit {
        places: Places::new(*most),
        delay: at.timeout("delay", delay, None)?,
        enabled: at.enabled(runtime_enabled.as_ref()),
        active: format!("connection_limit.{stat_prefix}.active_connections"),
        limited: format!("connection_limit.{stat_prefix}.limited_connections"),
    }))
}

impl NetworkFilter for ConnectionLimit {
    fn admit(&self, _caller: &Caller<'_>, _now: Instant, tally: &dyn Tally) -> Admission {
        if !self.enabled.now() {
            return Admission::Admitted;
        }
        match self.places.take() {
            Some(place) => Admission::Holding(place),
            None => {
                tally.alone(&self.limited);
                Admission::Refused {
                    details: "connection_limit".into(),
                    flags: Flags::default(),
                    denial: None,
                    delay: self.delay,
                }
            }
        }
    }

    fn counts(&self) -> Vec<String> {
        vec![self.limited.clone()]
    }

    fn states(&self) -> Vec<(String, u64)> {
        vec![(self.active.clone(), self.places.taken().0)]
    }
}
