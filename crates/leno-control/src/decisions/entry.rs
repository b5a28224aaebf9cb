//! An entry of a proxy's log as lines of the audit log.

use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::data::accesslog::v3 as log;
use log::tls_properties::certificate_properties::subject_alt_name::San;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::audit::Event;

/// Bytes of one text of a line: what a client has sent may be as long as it likes.
const LONGEST: usize = 1024;
/// Before what a policy's rule of CUSTOM is called, as istiod names it.
const ASKED: &str = "istio-ext-authz-";
const BY_POLICY: &str = "rbac_access_denied_matched_policy[";
const BY_TOKEN: &str = "jwt_authn_access_denied";
const BY_AUTHORIZER: &str = "ext_authz_";

/// One line.
#[derive(Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) event: Event,
    /// The peer's identity; where it has none its address.
    pub(super) actor: String,
    pub(super) more: Map<String, Value>,
}

/// What requests and connections have in common.
struct Entry<'e> {
    common: &'e log::AccessLogCommon,
    details: &'e str,
    /// What it was.
    what: Map<String, Value>,
}

pub(super) fn of_request(entry: &log::HttpAccessLogEntry) -> Vec<Decision> {
    let (common, request, response) = (
        entry.common_properties.clone().unwrap_or_default(),
        entry.request.clone().unwrap_or_default(),
        entry.response.clone().unwrap_or_default(),
    );
    let mut what = Map::new();
    let path = match request.original_path.as_str() {
        "" => &request.path,
        original => original,
    };
    put(&mut what, "protocol", "HTTP");
    put(&mut what, "method", method(&request));
    put(&mut what, "authority", &request.authority);
    put(&mut what, "path", path);
    put(&mut what, "requestId", &request.request_id);
    if let Some(code) = &response.response_code {
        what.insert("status".into(), code.value.into());
    }
    Entry {
        common: &common,
        details: &response.response_code_details,
        what,
    }
    .decisions()
}

pub(super) fn of_connection(entry: &log::TcpAccessLogEntry) -> Vec<Decision> {
    let common = entry.common_properties.clone().unwrap_or_default();
    let mut what = Map::new();
    put(&mut what, "protocol", "TCP");
    Entry {
        details: &common.connection_termination_details,
        common: &common,
        what,
    }
    .decisions()
}

fn method(request: &log::HttpRequestProperties) -> &'static str {
    core::RequestMethod::try_from(request.request_method).map_or("", |method| match method {
        core::RequestMethod::MethodUnspecified => "",
        known => known.as_str_name(),
    })
}

// === impl Entry ===

impl Entry<'_> {
    /// What was denied, what was watched, and what would have been denied: an entry may be several.
    fn decisions(&self) -> Vec<Decision> {
        let mut all = Vec::new();
        if let Some(denial) = self.denial() {
            all.push(self.decision(Event::Denied, denial));
        }
        let audited = self.tag("audited");
        if !audited.is_empty() {
            let mut more = Map::new();
            put(&mut more, "policy", audited);
            all.push(self.decision(Event::Audited, more));
        }
        for (action, result, policy) in [
            ("DENY", "dryRunDeny", "dryRunDenyPolicy"),
            ("ALLOW", "dryRunAllow", ""),
        ] {
            if self.tag(result) == "denied" {
                let mut more = Map::new();
                put(&mut more, "action", action);
                put(&mut more, "policy", self.tag(policy));
                more.insert("dryRun".into(), true.into());
                all.push(self.decision(Event::WouldBeDenied, more));
            }
        }
        all
    }

    /// By whom; None: it was not.
    fn denial(&self) -> Option<Map<String, Value>> {
        let asked = self.tag("asked").strip_prefix(ASKED);
        let asked = asked.and_then(|asked| {
            let (provider, _) = asked.split_once("-ns[")?;
            Some((provider, asked.get(provider.len() + 1..)?))
        });
        let mut more = Map::new();
        let by_authorizer = self.details.starts_with(BY_AUTHORIZER) || self.is_flagged();
        let by_policy = self.details.strip_prefix(BY_POLICY);
        if by_authorizer {
            if let Some((provider, policy)) = asked {
                put(&mut more, "authorizer", provider);
                put(&mut more, "policy", policy);
            }
        } else if let Some(policy) = by_policy {
            let policy = policy.strip_suffix(']').unwrap_or(policy);
            put(&mut more, "policy", if policy == "none" { "" } else { policy });
        } else if self.tag("denied").is_empty() && !self.details.starts_with(BY_TOKEN) {
            return None;
        } else {
            put(&mut more, "policy", self.tag("policy"));
        }
        for (name, tag) in [
            ("place", "place"),
            ("nearest", "nearest"),
            ("nearestPlace", "nearestPlace"),
            ("missed", "missed"),
            ("why", "denied"),
        ] {
            put(&mut more, name, self.tag(tag));
        }
        Some(more)
    }

    /// An authorizer has refused it.
    fn is_flagged(&self) -> bool {
        let flags = self.common.response_flags.as_ref();
        flags.is_some_and(|flags| flags.unauthorized_details.is_some())
    }

    fn decision(&self, event: Event, mut more: Map<String, Value>) -> Decision {
        more.extend(self.what.clone());
        put(&mut more, "details", self.details);
        put(&mut more, "at", &self.time().unwrap_or_default());
        let common = self.common;
        let source = address(common.downstream_remote_address.as_ref());
        let destination = address(common.downstream_local_address.as_ref());
        put(&mut more, "source", &source.1);
        put(&mut more, "destination", &destination.1);
        let tls = common.tls_properties.as_ref();
        put(
            &mut more,
            "sni",
            tls.map_or("", |tls| tls.tls_sni_hostname.as_str()),
        );
        let principal = tls
            .and_then(|tls| tls.peer_certificate_properties.as_ref())
            .and_then(|peer| {
                peer.subject_alt_name.iter().find_map(|name| match &name.san {
                    Some(San::Uri(uri)) => Some(uri.as_str()),
                    _ => None,
                })
            });
        Decision {
            event,
            actor: principal.map_or(source.0, bounded),
            more,
        }
    }

    fn time(&self) -> Option<String> {
        let start = self.common.start_time.as_ref()?;
        let time = OffsetDateTime::from_unix_timestamp(start.seconds).ok()?;
        let nanos = u32::try_from(start.nanos).ok()?;
        time.replace_nanosecond(nanos).ok()?.format(&Rfc3339).ok()
    }

    fn tag(&self, name: &str) -> &str {
        self.common.custom_tags.get(name).map_or("", String::as_str)
    }
}

/// What there is nothing of is left out.
fn put(fields: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        fields.insert(name.into(), bounded(text).into());
    }
}

fn bounded(text: &str) -> String {
    match text.len() > LONGEST {
        false => text.to_owned(),
        true => format!("{}…", &text[..text.floor_char_boundary(LONGEST)]),
    }
}

/// The address by itself, and with its port.
fn address(address: Option<&core::Address>) -> (String, String) {
    use core::address::Address;
    use core::socket_address::PortSpecifier;
    match address.and_then(|address| address.address.as_ref()) {
        Some(Address::SocketAddress(socket)) => {
            let alone = bounded(&socket.address);
            let port = match &socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => *port,
                _ => 0,
            };
            let whole = match alone.contains(':') {
                true => format!("[{alone}]:{port}"),
                false => format!("{alone}:{port}"),
            };
            (alone, whole)
        }
        Some(Address::Pipe(pipe)) => (bounded(&pipe.path), bounded(&pipe.path)),
        _ => ("unknown".into(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tags: &[(&str, &str)]) -> log::AccessLogCommon {
        let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        log::AccessLogCommon {
            custom_tags: tags.collect(),
            ..Default::default()
        }
    }

    fn request(tags: &[(&str, &str)], details: &str, path: &str) -> log::HttpAccessLogEntry {
        log::HttpAccessLogEntry {
            common_properties: Some(tagged(tags)),
            request: Some(log::HttpRequestProperties {
                request_method: core::RequestMethod::Get.into(),
                path: path.into(),
                ..Default::default()
            }),
            response: Some(log::HttpResponseProperties {
                response_code_details: details.into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn what_a_client_sends_is_cut_and_stays_one_line() {
        let path = format!("/\n{{\"event\":\"token.created\"}}\u{1b}{}", "é".repeat(5000));
        let entry = request(&[], "rbac_access_denied_matched_policy[none]", &path);
        let [denied] = &of_request(&entry)[..] else {
            panic!("one line")
        };
        let line = Value::from(denied.more.clone()).to_string();
        assert!(line.len() < 2 * LONGEST, "{}", line.len());
        assert!(!line.contains(['\n', '\u{1b}']), "{line}");
        assert!(!line.contains("\"event\""), "{line}");
        assert!(!line.contains("\"policy\""), "no policy has denied it: {line}");
    }

    #[test]
    fn who_denies_is_told_of_each_kind() {
        let policy = |tags: &[(&str, &str)], details: &str| {
            let decisions = of_request(&request(tags, details, "/"));
            let told = |d: &Decision| {
                let policy = d.more.get("policy").and_then(Value::as_str);
                (d.event, policy.unwrap_or_default().to_owned())
            };
            decisions.iter().map(told).collect::<Vec<_>>()
        };
        let denied = |policy: &str| vec![(Event::Denied, policy.to_owned())];
        assert_eq!(
            policy(&[], "rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]"),
            denied("ns[a]-policy[b]-rule[0]")
        );
        let asked = [("asked", "istio-ext-authz-my-opa-ns[a]-policy[ask]-rule[1]")];
        assert_eq!(
            policy(&asked, "ext_authz_denied"),
            denied("ns[a]-policy[ask]-rule[1]")
        );
        // Asked, and let in.
        assert_eq!(policy(&asked, "via_upstream"), []);
        assert_eq!(policy(&[], "jwt_authn_access_denied{Jwt_is_expired}"), denied(""));
        assert_eq!(
            policy(&[("audited", "ns[a]-policy[w]-rule[0]")], "via_upstream"),
            [(Event::Audited, "ns[a]-policy[w]-rule[0]".to_owned())]
        );
        let tried = [("dryRunAllow", "denied"), ("dryRunDeny", "allowed")];
        assert_eq!(
            policy(&tried, "via_upstream"),
            [(Event::WouldBeDenied, String::new())]
        );
    }

    #[test]
    fn a_connection_that_an_authorizer_refused_is_denied() {
        let entry = log::TcpAccessLogEntry {
            common_properties: Some(log::AccessLogCommon {
                response_flags: Some(log::ResponseFlags {
                    unauthorized_details: Some(Default::default()),
                    ..Default::default()
                }),
                ..tagged(&[("asked", "istio-ext-authz-opa-ns[a]-policy[ask]-rule[0]")])
            }),
            ..Default::default()
        };
        let [denied] = &of_connection(&entry)[..] else {
            panic!("one line")
        };
        assert_eq!(denied.more["authorizer"], "opa");
        assert_eq!(denied.actor, "unknown");
    }
}
