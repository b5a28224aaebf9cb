//! `envoy.filters.http.grpc_stats`: calls, their messages and what became of them, by cluster and method.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::{core, grpc_stats as pb, protobuf};
use crate::decide::notes::{Object, Shared, Shown};
use crate::decide::route::is_grpc;
use crate::message::{Headers, RequestHead, ResponseHead};

pub(super) const KIND: Kind = Kind {
    messages: &["envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"],
    parse,
};

/// As which object of the filter state messages are told.
const STATE: &str = "envoy.filters.http.grpc_stats";

#[derive(Debug)]
struct Factory(Arc<Settings>);

#[derive(Debug)]
struct Settings {
    methods: Methods,
    /// Of a service's name dots become `_`.
    replaces_dots: bool,
    /// The time of calls.
    times: bool,
    notes: bool,
}

/// Which methods have counters of their own; others are counted together.
#[derive(Debug)]
enum Methods {
    All,
    /// Service and method.
    These(BTreeSet<(String, String)>),
}

#[derive(Debug)]
struct Filter {
    settings: Arc<Settings>,
    /// What stands before the counters' names, once it is a call that is counted.
    prefix: Option<String>,
    sent: Frames,
    received: Frames,
    is_answered_by_grpc: bool,
    /// The request's last byte.
    asked: Option<Instant>,
}

/// Counts messages: each has a byte of flags and four of its length before it.
#[derive(Debug, Default)]
struct Frames {
    count: u64,
    /// Bytes of the header that have come, and the length that they say.
    header: u8,
    length: u32,
    /// Of the message, to come.
    left: u32,
}

fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    use pb::filter_config::PerMethodStatSpecifier as S;
    let pb::FilterConfig {
        emit_filter_state,
        per_method_stat_specifier,
        enable_upstream_stats,
        replace_dots_in_grpc_service_name,
    } = &at.unpack::<pb::FilterConfig>(any)?;
    let methods = match per_method_stat_specifier {
        Some(S::StatsForAllMethods(all)) if all.value => Methods::All,
        None | Some(S::StatsForAllMethods(_)) => Methods::These(BTreeSet::new()),
        Some(S::IndividualMethodStatsAllowlist(core::GrpcMethodList { services })) => {
            let each = services
                .iter()
                .flat_map(|core::grpc_method_list::Service { name, method_names }| {
                    method_names.iter().map(|method| (name.clone(), method.clone()))
                });
            Methods::These(each.collect())
        }
    };
    Ok(Box::new(Factory(Arc::new(Settings {
        methods,
        replaces_dots: *replace_dots_in_grpc_service_name,
        times: *enable_upstream_stats,
        notes: *emit_filter_state,
    }))))
}

impl FilterFactory for Factory {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Filter {
            settings: Arc::clone(&self.0),
            prefix: None,
            sent: Frames::default(),
            received: Frames::default(),
            is_answered_by_grpc: false,
            asked: None,
        }))
    }

    fn wants(&self, head: &RequestHead) -> bool {
        is_grpc(head)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

// === impl Settings ===

impl Settings {
    /// None: it is no method's path.
    fn prefix(&self, path: &[u8]) -> Option<String> {
        let path = path.split(|b| *b == b'?').next().unwrap_or_default();
        let path = std::str::from_utf8(path).ok()?.strip_prefix('/')?;
        let (service, method) = path.split_once('/')?;
        if service.is_empty() || method.is_empty() || method.contains('/') {
            return None;
        }
        let own = match &self.methods {
            Methods::All => true,
            Methods::These(these) => these.iter().any(|(s, m)| s == service && m == method),
        };
        Some(match (own, self.replaces_dots) {
            (false, _) => "grpc.".to_owned(),
            (true, false) => format!("grpc.{service}.{method}."),
            (true, true) => format!("grpc.{}.{method}.", service.replace('.', "_")),
        })
    }
}

// === impl Filter ===

impl Filter {
    fn count(&self, cx: &Context<'_>, name: &str, amount: u64) {
        if let Some(prefix) = &self.prefix {
            cx.tally.of_cluster(&format!("{prefix}{name}"), amount);
        }
    }

    fn ask(&mut self, cx: &Context<'_>, end: bool) {
        if end && self.settings.times {
            self.asked = Some((cx.clock)());
        }
    }

    /// The status is there.
    fn end(&mut self, cx: &Context<'_>, headers: &Headers) {
        let Some(status) = headers.get_str("grpc-status") else {
            return;
        };
        let outcome = if status == "0" { "success" } else { "failure" };
        for name in [status, outcome, "total"] {
            self.count(cx, name, 1);
        }
        self.time(cx);
    }

    fn time(&mut self, cx: &Context<'_>) {
        if let (Some(asked), Some(prefix)) = (self.asked.take(), &self.prefix) {
            let time = (cx.clock)().saturating_duration_since(asked).as_millis();
            let millis = u64::try_from(time).unwrap_or(u64::MAX);
            cx.tally
                .time_of_cluster(&format!("{prefix}upstream_rq_time"), millis);
        }
    }

    fn note(&self, cx: &Context<'_>) {
        if !self.settings.notes {
            return;
        }
        let (requests, responses) = (self.sent.count, self.received.count);
        let object = Object {
            value: format!("{requests},{responses}"),
            read_only: false,
            hashable: false,
            shown: Shown::Messages,
            shared: Shared::No,
        };
        let key: Rc<str> = STATE.into();
        cx.notes.set_state(&key, object);
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, end: bool) -> Step {
        if cx.cluster.is_some() {
            self.prefix = self.settings.prefix(&head.path);
        }
        self.ask(cx, end);
        Step::Continue
    }

    fn on_request_data(&mut self, cx: &mut Context<'_>, data: &mut Bytes, end: bool) -> Step {
        let new = self.sent.see(data);
        if new > 0 {
            self.note(cx);
            self.count(cx, "request_message_count", new);
        }
        self.ask(cx, end);
        Step::Continue
    }

    fn on_request_trailers(&mut self, cx: &mut Context<'_>, _trailers: &mut Headers) -> Step {
        self.ask(cx, true);
        Step::Continue
    }

    fn on_response_headers(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead, _end: bool) -> Step {
        let content_type = head.headers.get("content-type").unwrap_or_default();
        self.is_answered_by_grpc = content_type.starts_with(b"application/grpc");
        self.end(cx, &head.headers);
        Step::Continue
    }

    fn on_response_data(&mut self, cx: &mut Context<'_>, data: &mut Bytes, _end: bool) -> Step {
        if self.is_answered_by_grpc {
            let new = self.received.see(data);
            if new > 0 {
                self.note(cx);
                self.count(cx, "response_message_count", new);
            }
        }
        Step::Continue
    }

    fn on_response_trailers(&mut self, cx: &mut Context<'_>, trailers: &mut Headers) -> Step {
        self.end(cx, trailers);
        Step::Continue
    }
}

// === impl Frames ===

impl Frames {
    /// How many messages have begun with these bytes: their headers are whole.
    fn see(&mut self, data: &[u8]) -> u64 {
        let before = self.count;
        let mut rest = data;
        while !rest.is_empty() {
            if self.left > 0 {
                let here = rest.len().min(self.left as usize);
                // Not more than what was left.
                self.left -= here as u32;
                rest = &rest[here..];
                continue;
            }
            let (byte, after) = (rest[0], &rest[1..]);
            rest = after;
            // The flags first.
            self.length = if self.header == 0 {
                0
            } else {
                self.length << 8 | u32::from(byte)
            };
            self.header += 1;
            if self.header == 5 {
                self.header = 0;
                self.left = self.length;
                self.count += 1;
            }
        }
        self.count - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let message = |length: u8| {
            let mut bytes = vec![0, 0, 0, 0, length];
            bytes.extend(vec![7; length.into()]);
            bytes
        };
        let all = [message(3), message(0), message(200)].concat();
        assert_eq!(Frames::default().see(&all), 3);
        let mut frames = Frames::default();
        let seen: u64 = all.chunks(2).map(|chunk| frames.see(chunk)).sum();
        assert_eq!(seen, 3);
        assert_eq!(frames.see(&[1, 0, 0]), 0);
    }

    #[test]
    fn a_method_is_named_by_its_path() {
        let settings = |methods, replaces_dots| Settings {
            methods,
            replaces_dots,
            times: false,
            notes: false,
        };
        let all = settings(Methods::All, true);
        assert_eq!(all.prefix(b"/a.b.C/Get?x").as_deref(), Some("grpc.a_b_C.Get."));
        assert_eq!(all.prefix(b"/a/b/c"), None);
        assert_eq!(all.prefix(b"/a"), None);
        let these = [("a.C".to_owned(), "Get".to_owned())];
        let these = settings(Methods::These(these.into()), false);
        assert_eq!(these.prefix(b"/a.C/Get").as_deref(), Some("grpc.a.C.Get."));
        assert_eq!(these.prefix(b"/a.C/Put").as_deref(), Some("grpc."));
    }
}
