//! What pages of other origins may ask for.

use leno_model::route::Cors;

use super::matching::text;
use crate::parts::{bool_value, per_million};
use crate::pb::{core, cors};

pub(super) fn policy(said: &Cors) -> cors::CorsPolicy {
    cors::CorsPolicy {
        allow_origin_string_match: said.origins.iter().map(text).collect(),
        allow_methods: said.methods.join(","),
        allow_headers: said.headers.join(","),
        expose_headers: said.exposed.join(","),
        max_age: said
            .max_age
            .map_or(String::new(), |age| age.as_secs().to_string()),
        allow_credentials: said.credentials.and_then(bool_value),
        filter_enabled: Some(core::RuntimeFractionalPercent {
            default_value: per_million(1_000_000),
            ..Default::default()
        }),
        forward_not_matching_preflights: bool_value(said.forward_unmatched),
        ..Default::default()
    }
}
