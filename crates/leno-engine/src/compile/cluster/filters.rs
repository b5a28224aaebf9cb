//! Network filters of upstream connections.

use crate::compile::at::{At, refuse, silent};
use crate::compile::pb::cluster as pb;
use crate::compile::{Rejection, metadata_exchange, typed_struct};

/// Only what does nothing here is taken.
pub(super) fn filter(at: &At<'_>, message: &pb::Filter) -> Result<(), Rejection> {
    let pb::Filter {
        name,
        typed_config,
        config_discovery,
    } = message;
    silent!("names are for people"; name);
    refuse!(at; config_discovery);
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    let any = &*typed_struct::opened(&at, any)?;
    match metadata_exchange::is_one(any) {
        true => metadata_exchange::check(&at, any),
        false => Err(at.unknown_extension(any)),
    }
}
