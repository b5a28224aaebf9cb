//! `envoy.filters.http.set_metadata`: notes what the configuration says, for the filters after it and for logs.

use std::sync::Arc;

use leno_proto::google::protobuf::Any;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::metadata::{Fields, fields};
use crate::compile::pb::set_metadata as pb;
use crate::message::RequestHead;

pub(super) const KIND: Kind = Kind {
    messages: &["envoy.extensions.filters.http.set_metadata.v3.Config"],
    parse,
};

#[derive(Debug)]
struct Factory(Arc<[Entry]>);

#[derive(Debug)]
struct Entry {
    namespace: String,
    fields: Fields,
    /// Puts it together with what the namespace has, else that stays as it is.
    merges: bool,
}

#[derive(Debug)]
struct Filter(Arc<[Entry]>);

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    #[allow(deprecated)]
    let pb::Config {
        metadata_namespace,
        value,
        metadata,
    } = &at.unpack::<pb::Config>(any)?;
    let older = value.as_ref().map(|value| Entry {
        namespace: metadata_namespace.clone(),
        fields: fields(value),
        merges: true,
    });
    let mut entries = at.each("metadata", metadata, |at, one| {
        let pb::Metadata {
            metadata_namespace,
            allow_overwrite,
            value,
            typed_value,
        } = one;
        refuse!(at; typed_value);
        at.not_empty("metadata_namespace", metadata_namespace)?;
        Ok(Entry {
            namespace: metadata_namespace.clone(),
            fields: fields(at.required("value", value)?),
            merges: *allow_overwrite,
        })
    })?;
    if let Some(older) = older.filter(|older| !older.namespace.is_empty()) {
        entries.insert(0, older);
    }
    Ok(Box::new(Factory(entries.into())))
}

impl FilterFactory for Factory {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Filter(Arc::clone(&self.0))))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, _head: &mut RequestHead, _end: bool) -> Step {
        for entry in self.0.iter() {
            if entry.merges || !cx.notes.has_metadata(&entry.namespace) {
                cx.notes.merge_metadata(&entry.namespace, &entry.fields);
            }
        }
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}
