//! `envoy.filters.http.ext_authz`: somebody else decides, over gRPC (`envoy.service.auth.v3`) or HTTP.
//!
//! The filter says what the authorizer is told and what its answer means; whoever performs [`Effect::Ask`] and
//! [`Effect::Call`] speaks to it. A request waits with its headers, and where the body is told with that, until the answer
//! is there, and then comes once more. What goes wrong on the way denies it, unless the configuration says otherwise.

mod answer;
mod authorizer;
mod config;
mod denial;
mod grpc;
mod http;
mod mutable;
mod query;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use leno_proto::google::protobuf::Any;

use self::answer::{Answer, Edit, How, Outcome, Reply};
use self::authorizer::Authorizer;
use self::config::{OfRoute, Rules, Settings};
use self::mutable::{Permit, is_framing, is_header};
use self::told::{Asking, Body, Gathered};
use super::{Context, EffectResult, FilterConfig, FilterFactory, Foretold, HttpFilter, Kind, Levels, Step};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::metadata::{Number, Value};
use crate::flags::Flag;
use crate::message::{Headers, LocalReply, RequestHead, ResponseHead};

pub(super) const KIND: Kind = Kind {
    messages: &[
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    ],
    parse,
};

/// Where answers are noted.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// Requests that have it went on although nobody was there to be asked.
const FAILURE_ALLOWED: &str = "x-envoy-auth-failure-mode-allowed";

#[derive(Debug)]
enum Factory {
    List(Arc<Rules>),
    Route(OfRoute),
}

#[derive(Debug)]
struct Filter {
    rules: Arc<Rules>,
    extensions: BTreeMap<String, String>,
    /// In place of the rules'.
    body: Option<Option<Body>>,
    authorizer: Option<Arc<Authorizer>>,
    phase: Phase,
    /// For the response.
    edits: Vec<Edit>,
}

#[derive(Debug)]
enum Phase {
    Begins,
    Gathers {
        rules: Body,
        body: Vec<Bytes>,
        size: usize,
    },
    Asks {
        since: Instant,
    },
    Answered {
        answer: Box<Answer>,
        millis: u64,
    },
    Over,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    if let Some(of_route) = config::of_route(at, any)? {
        return Ok(Box::new(Factory::Route(of_route)));
    }
    let rules = config::rules(at, &at.unpack(any)?)?;
    Ok(Box::new(Factory::List(Arc::new(rules))))
}

// === impl Factory ===

impl Factory {
    /// The levels' settings, the most specific first.
    fn filter<'l>(&self, levels: impl Iterator<Item = &'l FilterConfig>) -> Option<Filter> {
        let Self::List(rules) = self else { return None };
        let mut filter = Filter {
            rules: Arc::clone(rules),
            extensions: BTreeMap::new(),
            body: None,
            authorizer: None,
            phase: Phase::Begins,
            edits: Vec::new(),
        };
        for (at, level) in levels.enumerate() {
            match level.factory.as_any().downcast_ref::<Self>() {
                Some(Self::Route(OfRoute::Disabled(true))) if at == 0 => return None,
                Some(Self::Route(OfRoute::Settings(settings))) => filter.take(settings, at == 0),
                _ => {}
            }
        }
        Some(filter)
    }
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(self.filter(per_route.into_iter())?))
    }

    fn start_at(&self, levels: &Levels<'_>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(self.filter(levels.iter())?))
    }

    fn counts(&self) -> Vec<String> {
        match self {
            Self::List(rules) => rules.counts.all(),
            Self::Route(_) => Vec::new(),
        }
    }

    fn foretell(
        &self,
        per_route: Option<&FilterConfig>,
        _head: &RequestHead,
        _cluster: Option<&str>,
    ) -> Vec<Foretold> {
        let Some(filter) = self.filter(per_route.into_iter()) else {
            return Vec::new();
        };
        // What has been noted of a request is not known here.
        match &filter.rules.enabled.noted {
            None => vec![filter.foretold()],
            Some(_) => Vec::new(),
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

// === impl Filter ===

impl Filter {
    /// What a level says. Only what is told besides is put together of all of them.
    fn take(&mut self, settings: &Settings, most_specific: bool) {
        for (name, value) in &settings.extensions {
            self.extensions
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
        if most_specific {
            self.body = settings.body;
            self.authorizer.clone_from(&settings.authorizer);
        }
    }

    fn authorizer(&self) -> &Authorizer {
        self.authorizer.as_deref().unwrap_or(&self.rules.authorizer)
    }

    fn foretold(&self) -> Foretold {
        Foretold::Asks {
            at: self.authorizer().place().to_owned(),
            fails_open: self.rules.on_failure.allows,
        }
    }

    fn is_enabled(&self, cx: &Context<'_>) -> bool {
        let enabled = &self.rules.enabled;
        let by_share = enabled
            .share
            .as_ref()
            .is_none_or(|share| share.now().takes(cx.random));
        by_share
            && enabled
                .noted
                .as_ref()
                .is_none_or(|noted| noted.matches(Some(cx.notes)))
    }

    fn begin(&mut self, cx: &mut Context<'_>, head: &RequestHead, end: bool) -> Step {
        // Who goes nowhere needs no leave.
        if !cx.routed {
            return self.pass();
        }
        if !self.is_enabled(cx) {
            cx.tally.of_manager(&self.rules.counts.disabled);
            if self.rules.denies_disabled.now() {
                return self.refuse(self.rules.on_failure.status, "ext_authz_error");
            }
            return self.pass();
        }
        let body = self.body.unwrap_or(self.rules.body);
        match body.filter(|_| !end && head.upgrade.is_none()) {
            None => self.ask(cx, head, None),
            Some(rules) => {
                self.phase = Phase::Gathers {
                    rules,
                    body: Vec::new(),
                    size: 0,
                };
                Step::Buffer(rules.most)
            }
        }
    }

    fn pass(&mut self) -> Step {
        self.phase = Phase::Over;
        Step::Continue
    }

    fn ask(&mut self, cx: &mut Context<'_>, head: &RequestHead, body: Option<Gathered>) -> Step {
        let since = (cx.clock)();
        let asking = Asking {
            body,
            extensions: &self.extensions,
        };
        let effect = self.authorizer().ask(&self.rules.told, &asking, cx, head);
        self.phase = Phase::Asks { since };
        Step::Effect(effect)
    }

    /// More of the body; `end`: it is all.
    fn gather(&mut self, cx: &mut Context<'_>, data: Option<&Bytes>, end: bool) -> Step {
        let Phase::Gathers { rules, body, size } = &mut self.phase else {
            return Step::Continue;
        };
        if let Some(data) = data {
            *size += data.len();
            body.push(data.clone());
        }
        let (rules, size) = (*rules, *size);
        if size > rules.most && !rules.partial {
            self.phase = Phase::Over;
            return Step::Reply(too_large());
        }
        let is_enough = end || (rules.partial && size >= rules.most);
        if !is_enough {
            return Step::Buffer(rules.most);
        }
        let told = match body.as_slice() {
            [one] => one.clone(),
            several => several.concat().into(),
        };
        let gathered = Gathered {
            told: told.slice(..told.len().min(rules.most)),
            size,
            rules,
        };
        // Of what asks after the head has gone on, that is what goes upstream.
        match cx.request {
            Some(head) => self.ask(cx, head, Some(gathered)),
            None => self.fail(cx, "the request has gone", None),
        }
    }

    fn settle(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, answer: Answer, millis: u64) -> Step {
        if answer.strange && self.rules.mutable.validates {
            return self.invalid(cx);
        }
        self.note(cx, &answer, millis);
        match answer.outcome {
            Outcome::Allowed => self.allow(cx, head, answer),
            Outcome::Denied(reply) => self.deny(cx, reply),
            Outcome::Failed { why, reply } => match self.rules.on_failure.allows {
                false => self.fail(cx, &why, reply),
                true => {
                    let counts = &self.rules.counts;
                    for name in [&counts.error, &counts.failure_mode_allowed] {
                        self.count(cx, name);
                    }
                    denial::allowed_by_failure(cx, &why);
                    if self.rules.on_failure.marks {
                        head.headers.append(FAILURE_ALLOWED, "true");
                    }
                    Step::Continue
                }
            },
        }
    }

    fn note(&self, cx: &mut Context<'_>, answer: &Answer, millis: u64) {
        if answer.metadata.is_empty() {
            return;
        }
        if !self.rules.takes_metadata {
            cx.tally.of_manager(&self.rules.counts.ignored_metadata);
            return;
        }
        let mut fields = answer.metadata.clone();
        if matches!(answer.outcome, Outcome::Allowed) {
            let millis = Value::Number(Number::from(millis as f64));
            fields.insert("ext_authz_duration".to_owned(), millis);
        }
        cx.notes.set_metadata(NAMESPACE, fields);
    }

    fn allow(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, answer: Answer) -> Step {
        let mutable = &self.rules.mutable;
        // All of it or nothing.
        let mut changed = head.clone();
        for edit in &answer.request {
            match mutable.set(&edit.name, &edit.value) {
                Permit::Yes => change(&mut changed, edit),
                Permit::No => {}
                Permit::Never => return self.invalid(cx),
            }
        }
        for name in &answer.remove {
            let name = name.to_ascii_lowercase();
            match mutable.remove(name.as_bytes()) {
                Permit::Yes => drop(changed.headers.remove(&name)),
                Permit::No => {}
                Permit::Never => return self.invalid(cx),
            }
        }
        if !answer
            .response
            .iter()
            .all(|edit| is_header(&edit.name, &edit.value))
        {
            return self.invalid(cx);
        }
        let strict = mutable.validates;
        let encoded = |text: &String| query::is_encoded(text, strict);
        if !answer
            .query_set
            .iter()
            .all(|(name, value)| encoded(name) && encoded(value))
        {
            return self.invalid(cx);
        }
        query::change(&mut changed, &answer.query_set, &answer.query_remove);
        let edited = !answer.request.is_empty()
            || !answer.remove.is_empty()
            || !answer.query_set.is_empty()
            || !answer.query_remove.is_empty();
        if self.rules.reroutes && edited {
            cx.reroutes.set(true);
        }
        *head = changed;
        let edits = answer.response.into_iter();
        self.edits = edits.filter(|edit| !is_framing(&edit.name)).collect();
        self.count(cx, &self.rules.counts.ok);
        Step::Continue
    }

    fn deny(&mut self, cx: &mut Context<'_>, mut reply: Reply) -> Step {
        self.count(cx, &self.rules.counts.denied);
        let status = reply.status.unwrap_or(403);
        if self.rules.charges_cluster {
            cx.tally.answer_of_cluster(status);
        }
        if !reply
            .headers
            .iter()
            .all(|edit| is_header(&edit.name, &edit.value) || edit.name.starts_with(b":"))
        {
            return self.invalid(cx);
        }
        denial::denied(cx, &self.rules, self.authorizer());
        if let Some(most) = self.rules.most_denied_body {
            reply.body.truncate(most);
        }
        self.reply(status, reply, "ext_authz_denied")
    }

    /// There is no answer, or none that counts.
    fn fail(&mut self, cx: &mut Context<'_>, why: &str, reply: Option<Reply>) -> Step {
        self.count(cx, &self.rules.counts.error);
        denial::failed(cx, &self.rules, self.authorizer(), why);
        let mut reply = reply.unwrap_or_default();
        let is_header = |edit: &Edit| is_header(&edit.name, &edit.value);
        if !reply.headers.iter().all(is_header) {
            reply = Reply::default();
        }
        if let Some(most) = self.rules.most_denied_body {
            reply.body.truncate(most);
        }
        let status = reply.status.unwrap_or(self.rules.on_failure.status);
        self.reply(status, reply, "ext_authz_error")
    }

    fn invalid(&mut self, cx: &mut Context<'_>) -> Step {
        self.count(cx, &self.rules.counts.invalid);
        denial::failed(
            cx,
            &self.rules,
            self.authorizer(),
            "what it wants to change is no HTTP",
        );
        self.refuse(500, "ext_authz_invalid")
    }

    fn refuse(&mut self, status: u16, details: &'static str) -> Step {
        self.reply(status, Reply::default(), details)
    }

    fn reply(&mut self, status: u16, reply: Reply, details: &'static str) -> Step {
        self.phase = Phase::Over;
        let mut headers = Headers::default();
        for Edit { name, value, how } in &reply.headers {
            if is_framing(name) || name.starts_with(b":") {
                continue;
            }
            match (how, std::str::from_utf8(name)) {
                (How::Set, _) => headers.set(name, value),
                (How::AddIfAbsent, Ok(said)) if headers.contains(said) => {}
                // Nothing is there before.
                (How::OverwriteIfExists, _) => {}
                _ => headers.append(name, value),
            }
        }
        Step::Reply(LocalReply {
            status,
            headers,
            body: reply.body,
            details: details.into(),
            flags: Flag::UnauthorizedExternalService.into(),
            grpc_status: None,
        })
    }

    fn count(&self, cx: &Context<'_>, name: &str) {
        cx.tally.of_manager(name);
        cx.tally.of_cluster(name, 1);
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, end: bool) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Begins => self.begin(cx, head, end),
            Phase::Answered { answer, millis } => self.settle(cx, head, *answer, millis),
            Phase::Over => Step::Continue,
            // Nobody asks for the headers in between.
            Phase::Gathers { .. } | Phase::Asks { .. } => self.fail(cx, "it was not waited for", None),
        }
    }

    fn on_request_data(&mut self, cx: &mut Context<'_>, data: &mut Bytes, end: bool) -> Step {
        self.gather(cx, Some(data), end)
    }

    fn on_request_trailers(&mut self, cx: &mut Context<'_>, _trailers: &mut Headers) -> Step {
        self.gather(cx, None, true)
    }

    fn on_effect(&mut self, cx: &mut Context<'_>, result: EffectResult) -> Step {
        let Phase::Asks { since } = self.phase else {
            return Step::Again;
        };
        let answer = match (result, self.authorizer()) {
            (EffectResult::Asked(Ok(message)), _) => Answer::read(&message),
            (EffectResult::Asked(Err(why)), _) => Answer::failed(why),
            (EffectResult::Called(Ok((head, body))), Authorizer::Http(http)) => http.answer(&head, body),
            (EffectResult::Called(Err(flags)), _) => Answer::failed(format!("response flags {flags}")),
            _ => Answer::failed("there is no answer"),
        };
        let time = (cx.clock)().saturating_duration_since(since);
        self.phase = Phase::Answered {
            answer: Box::new(answer),
            millis: time.as_millis().try_into().unwrap_or(u64::MAX),
        };
        Step::Again
    }

    fn on_response_headers(&mut self, _cx: &mut Context<'_>, head: &mut ResponseHead, _end: bool) -> Step {
        for edit in &self.edits {
            edit.apply(&mut head.headers);
        }
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        self.body.unwrap_or(self.rules.body).is_some()
    }
}

/// One of the head's fields, or a header.
fn change(head: &mut RequestHead, edit: &Edit) {
    let field = match edit.name.as_slice() {
        b":path" => &mut head.path,
        b":method" => &mut head.method,
        b":scheme" => &mut head.scheme,
        b":authority" | b"host" => &mut head.authority,
        _ => return edit.apply(&mut head.headers),
    };
    // They are always there.
    if edit.how != How::AddIfAbsent {
        *field = Bytes::copy_from_slice(&edit.value);
    }
}

fn too_large() -> LocalReply {
    LocalReply {
        status: 413,
        headers: Headers::default(),
        body: Bytes::from_static(b"Payload Too Large"),
        details: "request_payload_too_large".into(),
        flags: Default::default(),
        grpc_status: None,
    }
}

#[cfg(test)]
mod tests;
