//! Edits one after the other.

use bytes::Bytes;

use crate::compile::access_log::{FormatValues, Heads};
use crate::compile::header::{AppendAction, HeaderOp, Mutation};
use crate::message::{Headers, RequestHead, ResponseHead};

pub fn mutate_request(mutations: &[Mutation], head: &mut RequestHead, values: &dyn FormatValues) {
    for mutation in mutations {
        let heads = Heads {
            request: Some(head),
            ..Heads::default()
        };
        let value = mutation.value(heads, values);
        mutation.apply(value, &mut head.headers);
    }
}

pub(crate) fn mutate_response(
    mutations: &[Mutation],
    request: Option<&RequestHead>,
    head: &mut ResponseHead,
    values: &dyn FormatValues,
) {
    for mutation in mutations {
        let heads = Heads {
            request,
            response: Some(head),
            ..Heads::default()
        };
        let value = mutation.value(heads, values);
        mutation.apply(value, &mut head.headers);
    }
}

/// Of either side: `heads` are what their formats speak of.
pub(crate) fn mutate_trailers(
    mutations: &[Mutation],
    heads: Heads<'_>,
    trailers: &mut Headers,
    values: &dyn FormatValues,
) {
    for mutation in mutations {
        let value = mutation.value(heads, values);
        mutation.apply(value, trailers);
    }
}

impl Mutation {
    /// What it adds; empty where it adds nothing.
    fn value(&self, heads: Heads<'_>, values: &dyn FormatValues) -> Bytes {
        let mut out = Vec::new();
        if let Self::Add(op) = self {
            op.value.write_omitting(heads, values, &mut out);
        }
        out.into()
    }

    fn apply(&self, added: Bytes, headers: &mut Headers) {
        match self {
            Self::Remove(name) => drop(headers.remove(name)),
            Self::RemoveMatching(names) => headers.remove_matching(|name| names.matches(name)),
            Self::Add(HeaderOp {
                keep_empty: false, ..
            }) if added.is_empty() => {}
            Self::Add(HeaderOp { name, append, .. }) => match append {
                AppendAction::AddIfAbsent if headers.contains(name) => {}
                AppendAction::OverwriteIfExists if !headers.contains(name) => {}
                // At the end of them, as in Envoy: trailers are seen in their order.
                AppendAction::OverwriteIfExists | AppendAction::OverwriteOrAdd => {
                    headers.remove(name);
                    headers.append(name, added);
                }
                AppendAction::AddIfAbsent | AppendAction::AppendOrAdd => headers.append(name, added),
            },
        }
    }
}
