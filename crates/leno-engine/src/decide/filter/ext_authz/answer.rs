//! An authorizer's answer, whichever protocol it speaks.

#![allow(deprecated)]

use bytes::Bytes;
use leno_proto::google::rpc::Status;
use prost::Message;

use crate::compile::at::silent;
use crate::compile::metadata::{Fields, fields};
use crate::compile::pb::auth::check_response::HttpResponse;
use crate::compile::pb::{auth, core};
use crate::message::Headers;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// Edits of the request, in their order.
    pub(super) request: Vec<Edit>,
    pub(super) remove: Vec<String>,
    pub(super) query_set: Vec<(String, String)>,
    pub(super) query_remove: Vec<String>,
    /// Edits of the response to it.
    pub(super) response: Vec<Edit>,
    pub(super) metadata: Fields,
    /// It says something that is not known.
    pub(super) strange: bool,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Allowed,
    Denied(Reply),
    Failed { why: String, reply: Option<Reply> },
}

/// What a client is answered.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) status: Option<u16>,
    pub(super) headers: Vec<Edit>,
    pub(super) body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// In lower case.
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Add,
    AddIfAbsent,
    OverwriteIfExists,
    Set,
    /// Behind a comma, where there is one.
    Lengthen,
}

// === impl Answer ===

impl Answer {
    pub(super) fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            request: Vec::new(),
            remove: Vec::new(),
            query_set: Vec::new(),
            query_remove: Vec::new(),
            response: Vec::new(),
            metadata: Fields::new(),
            strange: false,
        }
    }

    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self::of(Outcome::Failed {
            why: why.into(),
            reply: None,
        })
    }

    /// Of `envoy.service.auth.v3.CheckResponse`, encoded.
    pub(super) fn read(encoded: &[u8]) -> Self {
        let Ok(message) = auth::CheckResponse::decode(encoded) else {
            return Self::failed("its answer cannot be decoded");
        };
        let auth::CheckResponse {
            status,
            dynamic_metadata,
            http_response,
        } = message;
        let code = status.map_or(0, |Status { code, .. }| code);
        let mut strange = false;
        let mut edits = |options: Vec<core::HeaderValueOption>| {
            let edits = options.into_iter().map(|option| edit(option, &mut strange));
            edits.collect::<Vec<_>>()
        };
        // Of a request they are older than actions: what is not appended is set, and first of all.
        let of_request = |options: Vec<core::HeaderValueOption>| {
            let mut edits: Vec<Edit> = options.into_iter().map(edit_of_request).collect();
            edits.sort_by_key(|edit| edit.how == How::Lengthen);
            edits
        };
        let mut metadata = dynamic_metadata;
        let mut answer = match (code, http_response) {
            (0, Some(HttpResponse::OkResponse(ok))) => {
                let auth::OkHttpResponse {
                    headers,
                    headers_to_remove,
                    dynamic_metadata,
                    response_headers_to_add,
                    query_parameters_to_set,
                    query_parameters_to_remove,
                } = ok;
                metadata = dynamic_metadata.or(metadata);
                let set = query_parameters_to_set.into_iter();
                Self {
                    request: of_request(headers),
                    remove: headers_to_remove,
                    query_set: set.map(|parameter| (parameter.key, parameter.value)).collect(),
                    query_remove: query_parameters_to_remove,
                    response: edits(response_headers_to_add),
                    ..Self::of(Outcome::Allowed)
                }
            }
            (0, _) => Self::of(Outcome::Allowed),
            (_, Some(HttpResponse::DeniedResponse(denied))) => {
                Self::of(Outcome::Denied(reply(denied, &mut edits)))
            }
            (code, Some(HttpResponse::ErrorResponse(error))) => Self::of(Outcome::Failed {
                why: format!("it has failed itself (code {code})"),
                reply: Some(reply(error, &mut edits)),
            }),
            (_, Some(HttpResponse::OkResponse(ok))) => {
                metadata = ok.dynamic_metadata.or(metadata);
                Self::of(Outcome::Denied(Reply::default()))
            }
            (_, None) => Self::of(Outcome::Denied(Reply::default())),
        };
        answer.metadata = metadata.as_ref().map(fields).unwrap_or_default();
        answer.strange = strange;
        answer
    }
}

fn reply(
    message: auth::DeniedHttpResponse,
    edits: &mut impl FnMut(Vec<core::HeaderValueOption>) -> Vec<Edit>,
) -> Reply {
    let auth::DeniedHttpResponse {
        status,
        headers,
        body,
    } = message;
    let status = status.and_then(|status| u16::try_from(status.code).ok());
    Reply {
        status: status.filter(|status| (200..600).contains(status)),
        headers: edits(headers),
        body: body.into(),
    }
}

fn edit_of_request(option: core::HeaderValueOption) -> Edit {
    let appends = option.append.is_some_and(|append| append.value);
    let how = if appends { How::Lengthen } else { How::Set };
    Edit {
        how,
        ..edit(option, &mut false)
    }
}

fn edit(option: core::HeaderValueOption, strange: &mut bool) -> Edit {
    use core::header_value_option::HeaderAppendAction as Action;
    let core::HeaderValueOption {
        header,
        append,
        append_action,
        keep_empty_value,
    } = option;
    silent!("empty values are values"; keep_empty_value);
    let core::HeaderValue {
        key,
        value,
        raw_value,
    } = header.unwrap_or_default();
    let how = match (append.map(|append| append.value), Action::try_from(append_action)) {
        (Some(false), _) | (None, Ok(Action::OverwriteIfExistsOrAdd)) => How::Set,
        (Some(true), _) | (None, Ok(Action::AppendIfExistsOrAdd)) => How::Add,
        (None, Ok(Action::AddIfAbsent)) => How::AddIfAbsent,
        (None, Ok(Action::OverwriteIfExists)) => How::OverwriteIfExists,
        (None, Err(_)) => {
            *strange = true;
            How::Set
        }
    };
    Edit {
        name: key.to_ascii_lowercase().into_bytes(),
        value: match value.is_empty() {
            true => raw_value,
            false => value.into_bytes(),
        },
        how,
    }
}

// === impl Edit ===

impl Edit {
    pub(super) fn apply(&self, headers: &mut Headers) {
        let Self { name, value, how } = self;
        let Ok(text) = std::str::from_utf8(name) else {
            return;
        };
        match how {
            How::Add => headers.append(name, value),
            How::AddIfAbsent if headers.contains(text) => {}
            How::AddIfAbsent => headers.append(name, value),
            How::OverwriteIfExists if !headers.contains(text) => {}
            How::OverwriteIfExists | How::Set => headers.set(name, value),
            How::Lengthen => {
                if let Some(there) = headers.joined(text) {
                    let longer = [&there, &b","[..], value].concat();
                    headers.set(name, longer);
                }
            }
        }
    }
}
