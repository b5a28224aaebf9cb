//! `envoy.filters.network.set_filter_state`: notes values that formats make of a connection, for the filters after it, for
//! the requests on it, for connections to listeners of the proxy's own and for logs.

use std::time::Instant;

use leno_proto::google::protobuf::Any;

use super::{Admission, Kind, NetworkFilter};
use crate::compile::Rejection;
use crate::compile::access_log::{FormatValues, Heads, MetadataKind, Operator, Side};
use crate::compile::at::{At, refuse};
use crate::compile::filter_state::{Noting, noting};
use crate::compile::metadata::Value;
use crate::compile::pb::network::set_filter_state as pb;
use crate::decide::rbac::Caller;
use crate::decide::tally::Tally;

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.network.set_filter_state.v3.Config",
    parse,
};

#[derive(Debug)]
struct Filter {
    /// Before the handshake of TLS.
    at_first: Vec<Noting>,
    /// After it.
    then: Vec<Noting>,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn NetworkFilter>, Rejection> {
    let pb::Config {
        on_new_connection,
        on_downstream_tls_handshake,
        on_downstream_data,
    } = &at.unpack::<pb::Config>(any)?;
    refuse!(at; on_downstream_data);
    Ok(Box::new(Filter {
        at_first: at.each("on_new_connection", on_new_connection, noting)?,
        then: at.each("on_downstream_tls_handshake", on_downstream_tls_handshake, noting)?,
    }))
}

impl NetworkFilter for Filter {
    fn admit(&self, caller: &Caller<'_>, _now: Instant, _tally: &dyn Tally) -> Admission {
        if let Some(notes) = caller.notes {
            for one in &self.at_first {
                one.note(Heads::default(), &Before(caller.values), notes);
            }
            for one in &self.then {
                one.note(Heads::default(), caller.values, notes);
            }
        }
        Admission::Admitted
    }

    fn counts(&self) -> Vec<String> {
        Vec::new()
    }

    fn notes(&self) -> bool {
        true
    }
}

/// What is known before the handshake.
struct Before<'a>(&'a dyn FormatValues);

impl FormatValues for Before<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        !matches!(operator, Operator::Tls(Side::Downstream, _)) && self.0.write(operator, out)
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        self.0.metadata(kind, namespace, read);
    }
}
