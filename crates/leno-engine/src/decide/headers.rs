//! Header edits (`request_headers_to_add`, `…_to_remove` and their kind).
//!
//! Envoy's order: first what is removed, then every value is formatted, then all are added: no added value sees
//! another.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::compile::access_log::{FormatValues, Heads};
use crate::compile::route::{AppendAction, HeaderOp, HeaderOps};
use crate::message::{Headers, RequestHead, ResponseHead};

impl HeaderOps {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    pub fn edit_request(&self, head: &mut RequestHead, values: &dyn FormatValues) {
        if self.is_empty() {
            return;
        }
        self.remove_from(&mut head.headers);
        let heads = Heads {
            request: Some(head),
            ..Heads::default()
        };
        let added = self.evaluate(heads, values);
        add(added, &mut head.headers);
    }

    pub fn edit_response(&self, request: &RequestHead, head: &mut ResponseHead, values: &dyn FormatValues) {
        if self.is_empty() {
            return;
        }
        self.remove_from(&mut head.headers);
        let heads = Heads {
            request: Some(request),
            response: Some(head),
        };
        let added = self.evaluate(heads, values);
        add(added, &mut head.headers);
    }

    fn remove_from(&self, headers: &mut Headers) {
        for name in &self.remove {
            headers.remove(name);
        }
    }

    fn evaluate(&self, heads: Heads<'_>, values: &dyn FormatValues) -> SmallVec<[(&HeaderOp, Bytes); 4]> {
        let evaluate = |op| {
            let HeaderOp {
                value, keep_empty, ..
            }: &HeaderOp = op;
            let mut out = Vec::new();
            value.write_omitting(heads, values, &mut out);
            (*keep_empty || !out.is_empty()).then(|| (op, Bytes::from(out)))
        };
        self.add.iter().filter_map(evaluate).collect()
    }
}

fn add(added: SmallVec<[(&HeaderOp, Bytes); 4]>, headers: &mut Headers) {
    for (op, value) in added {
        let name = op.name.as_str();
        match op.append {
            AppendAction::AppendOrAdd => headers.append(name, value),
            AppendAction::AddIfAbsent if headers.contains(name) => {}
            AppendAction::AddIfAbsent => headers.append(name, value),
            AppendAction::OverwriteOrAdd => headers.set(name, value),
            AppendAction::OverwriteIfExists if headers.contains(name) => headers.set(name, value),
            AppendAction::OverwriteIfExists => {}
        }
    }
}
