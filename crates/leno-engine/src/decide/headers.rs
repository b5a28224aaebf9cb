//! Header edits (`request_headers_to_add`, `…_to_remove` and their kind).
//!
//! Envoy's order: first what is removed, then every value is formatted, then all are added: no added value sees
//! another. Of these, what overwrites comes before what is appended.

pub mod mutation;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::compile::access_log::{FormatValues, Heads};
use crate::compile::route::{AppendAction, HeaderOp, HeaderOps};
use crate::message::{Headers, RequestHead, ResponseHead};

impl HeaderOps {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    #[inline]
    pub fn edit_request(&self, head: &mut RequestHead, values: &dyn FormatValues) {
        if !self.is_empty() {
            self.change_request(head, values);
        }
    }

    fn change_request(&self, head: &mut RequestHead, values: &dyn FormatValues) {
        self.remove_from(&mut head.headers);
        let heads = Heads {
            request: Some(head),
            ..Heads::default()
        };
        let added = self.evaluate(heads, values);
        add(added, &mut head.headers);
    }

    #[inline]
    pub fn edit_response(&self, request: &RequestHead, head: &mut ResponseHead, values: &dyn FormatValues) {
        if !self.is_empty() {
            self.change_response(request, head, values);
        }
    }

    fn change_response(&self, request: &RequestHead, head: &mut ResponseHead, values: &dyn FormatValues) {
        self.remove_from(&mut head.headers);
        let heads = Heads {
            request: Some(request),
            response: Some(head),
            ..Heads::default()
        };
        let added = self.evaluate(heads, values);
        add(added, &mut head.headers);
    }

    fn remove_from(&self, headers: &mut Headers) {
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// What is added, and whether it is decides the message as it is before any of it.
    fn evaluate(&self, heads: Heads<'_>, values: &dyn FormatValues) -> SmallVec<[(&HeaderOp, Bytes); 4]> {
        let evaluate = |op| {
            let HeaderOp {
                name,
                value,
                append,
                keep_empty,
            }: &HeaderOp = op;
            let headers = heads.response.map(|head| &head.headers);
            let headers = headers.or_else(|| heads.request.map(|head| &head.headers));
            let is_there = || headers.is_some_and(|headers| headers.contains(name));
            match append {
                AppendAction::AddIfAbsent if is_there() => return None,
                AppendAction::OverwriteIfExists if !is_there() => return None,
                _ => {}
            }
            let mut out = Vec::new();
            value.write_omitting(heads, values, &mut out);
            (*keep_empty || !out.is_empty()).then(|| (op, Bytes::from(out)))
        };
        self.add.iter().filter_map(evaluate).collect()
    }
}

/// First what takes a header's place, then what is appended: wherever they stand among each other.
fn add(added: SmallVec<[(&HeaderOp, Bytes); 4]>, headers: &mut Headers) {
    let overwrites = |op: &HeaderOp| {
        matches!(
            op.append,
            AppendAction::OverwriteOrAdd | AppendAction::OverwriteIfExists
        )
    };
    for (op, value) in added.iter().filter(|(op, _)| overwrites(op)) {
        headers.set(&op.name, value);
    }
    for (op, value) in added.into_iter().filter(|(op, _)| !overwrites(op)) {
        headers.append(&op.name, value);
    }
}
