//! Header edits.

use leno_model::route::HeaderEdits;

use crate::pb::core::header_value_option::HeaderAppendAction;
use crate::pb::core::{HeaderValue, HeaderValueOption};

/// Edits as Envoy takes them: what to add or set, what to remove; and `Host`, which is no header to it.
pub(super) struct Edits {
    pub(super) add: Vec<HeaderValueOption>,
    pub(super) remove: Vec<String>,
    pub(super) authority: Option<String>,
}

pub(super) fn edits(edits: &HeaderEdits) -> Edits {
    let is_host = |name: &str| name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority");
    let mut authority = None;
    let mut add = Vec::new();
    for (name, value) in &edits.set {
        if is_host(name) {
            authority = Some(value.clone());
        } else {
            add.push(option(name, value, HeaderAppendAction::OverwriteIfExistsOrAdd));
        }
    }
    for (name, value) in edits.add.iter().filter(|(name, _)| !is_host(name)) {
        add.push(option(name, value, HeaderAppendAction::AppendIfExistsOrAdd));
    }
    Edits {
        add,
        // Envoy refuses a configuration that removes the host.
        remove: edits
            .remove
            .iter()
            .filter(|name| !is_host(name))
            .cloned()
            .collect(),
        authority,
    }
}

fn option(name: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.into(),
            value: value.into(),
            ..Default::default()
        }),
        append_action: action.into(),
        ..Default::default()
    }
}
