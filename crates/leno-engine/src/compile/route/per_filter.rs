//! `typed_per_filter_config`: what a route, host, table or weighted cluster says of filters.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::protobuf;
use crate::decide::filter::{self, FilterConfig};

pub(super) fn filter_configs(
    at: &At<'_>,
    configs: &HashMap<String, protobuf::Any>,
) -> Result<HashMap<String, Arc<FilterConfig>>, Rejection> {
    let mut compiled = HashMap::with_capacity(configs.len());
    for (name, any) in configs {
        let at = at.entry("typed_per_filter_config", name);
        if let Some(config) = filter::per_route(&at, name, any)? {
            compiled.insert(name.clone(), Arc::new(config));
        }
    }
    Ok(compiled)
}
