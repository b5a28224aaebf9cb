//! `envoy.filters.http.stateful_session`: a client's requests go where its first has been answered.
//!
//! The address of the endpoint comes and goes with the messages themselves, in a cookie or a header; the proxy keeps
//! nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leno_proto::FromAny;
use prost::Message;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, silent};
use crate::compile::pb::{
    core, protobuf, session as pb, session_cookie, session_envelope, session_header, types_http,
};
use crate::decide::wish::Wish;
use crate::message::{Headers, RequestHead, ResponseHead, base64};

pub(super) const KIND: Kind = Kind {
    messages: &[
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
    ],
    parse,
};

/// None: no sessions.
#[derive(Debug)]
struct Factory(Option<Arc<Session>>);

#[derive(Debug)]
struct Session {
    carrier: Carrier,
    strict: bool,
    status_if_missing: u16,
}

/// What carries the endpoint's address.
#[derive(Debug)]
enum Carrier {
    Cookie(Cookie),
    Header(String),
    /// The server's own session header, with the address around its value.
    Envelope(String),
}

#[derive(Debug)]
struct Cookie {
    name: String,
    path: String,
    ttl: Duration,
    /// `; name=value` each.
    attributes: String,
}

/// What is in a cookie: Envoy's own message.
#[derive(Clone, PartialEq, Eq, Message)]
struct Kept {
    #[prost(string, tag = "1")]
    address: String,
    /// Seconds since 1970; 0: never.
    #[prost(int64, tag = "2")]
    expires: i64,
}

/// One request's.
#[derive(Debug)]
struct Filter {
    session: Arc<Session>,
    /// It is not the cookie's path.
    outside: bool,
    asked: Option<String>,
}

fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    use pb::stateful_session_per_route::Override;
    if any.is::<pb::StatefulSession>() {
        return Ok(Box::new(Factory(session(at, &at.unpack(any)?)?)));
    }
    let pb::StatefulSessionPerRoute { r#override } = at.unpack(any)?;
    Ok(Box::new(Factory(match at.required("override", &r#override)? {
        Override::Disabled(true) => None,
        Override::Disabled(false) => return Err(at.field("disabled").reject("only true means something")),
        Override::StatefulSession(own) => session(&at.field("stateful_session"), own)?,
    })))
}

fn session(at: &At<'_>, message: &pb::StatefulSession) -> Result<Option<Arc<Session>>, Rejection> {
    let pb::StatefulSession {
        session_state,
        strict,
        stat_prefix,
        status_on_strict_destination_not_found,
    } = message;
    no_effect!(at, "leno has its own statistics"; stat_prefix);
    let status = at.field("status_on_strict_destination_not_found");
    let status_if_missing = match *status_on_strict_destination_not_found {
        0 => 503,
        code if !*strict || (200..600).contains(&code) => code as u16,
        code => return Err(status.reject(format!("not a status: {code}"))),
    };
    let Some(core::TypedExtensionConfig { name, typed_config }) = session_state else {
        return Ok(None);
    };
    silent!("names are for people"; name);
    let at = at.field("session_state");
    let any = at.required("typed_config", typed_config)?;
    Ok(Some(Arc::new(Session {
        carrier: carrier(&at.field("typed_config"), any)?,
        strict: *strict,
        status_if_missing,
    })))
}

fn carrier(at: &At<'_>, any: &protobuf::Any) -> Result<Carrier, Rejection> {
    if any.is::<session_cookie::CookieBasedSessionState>() {
        let session_cookie::CookieBasedSessionState { cookie } = at.unpack(any)?;
        let cookie = self::cookie(&at.field("cookie"), at.required("cookie", &cookie)?)?;
        return Ok(Carrier::Cookie(cookie));
    }
    if any.is::<session_header::HeaderBasedSessionState>() {
        let session_header::HeaderBasedSessionState { name } = at.unpack(any)?;
        return Ok(Carrier::Header(at.field("name").header_name(&name)?));
    }
    if any.is::<session_envelope::EnvelopeSessionState>() {
        let session_envelope::EnvelopeSessionState { header } = at.unpack(any)?;
        let session_envelope::envelope_session_state::Header { name } = at.required("header", &header)?;
        return Ok(Carrier::Envelope(
            at.field("header").field("name").header_name(name)?,
        ));
    }
    Err(at.unknown_extension(any))
}

fn cookie(at: &At<'_>, message: &types_http::Cookie) -> Result<Cookie, Rejection> {
    let types_http::Cookie {
        name,
        ttl,
        path,
        attributes,
    } = message;
    let odd = |c: char| c.is_control() || c == ';';
    if path.contains(odd) {
        return Err(at.field("path").reject("not a path"));
    }
    let attributes = at.each("attributes", attributes, |at, attribute| {
        let types_http::CookieAttribute { name, value } = attribute;
        at.not_empty("name", name)?;
        if name.contains(odd) || value.contains(odd) {
            return Err(at.reject("not an attribute of a cookie"));
        }
        Ok(match value.as_str() {
            "" => format!("; {name}"),
            value => format!("; {name}={value}"),
        })
    })?;
    Ok(Cookie {
        name: at.field("name").header_name(name).map(|_| name.clone())?,
        path: path.clone(),
        ttl: at.duration("ttl", ttl)?.unwrap_or_default(),
        attributes: attributes.concat(),
    })
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        let of_route = per_route.and_then(|route| route.factory.as_any().downcast_ref::<Self>());
        let session = of_route.unwrap_or(self).0.as_ref()?;
        Some(Box::new(Filter {
            session: Arc::clone(session),
            outside: false,
            asked: None,
        }))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let session = &self.session;
        self.asked = match &session.carrier {
            Carrier::Cookie(cookie) if !cookie.is_for(&head.path) => {
                self.outside = true;
                None
            }
            Carrier::Cookie(cookie) => head.cookie(&cookie.name).and_then(|value| kept(value, cx.time)),
            Carrier::Header(name) => head.headers.get(name).and_then(text),
            Carrier::Envelope(name) => opened(name, &mut head.headers),
        };
        if let Some(address) = &self.asked {
            *cx.wish = Some(Wish {
                address: address.clone(),
                strict: session.strict,
                status_if_missing: session.status_if_missing,
            });
        }
        Step::Continue
    }

    fn on_response_headers(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead, _end: bool) -> Step {
        let Some(endpoint) = cx.endpoint.filter(|_| !self.outside) else {
            return Step::Continue;
        };
        let address = endpoint.to_string();
        let stays = self.asked.as_ref() == Some(&address);
        match &self.session.carrier {
            Carrier::Envelope(name) => close(name, &address, &mut head.headers),
            _ if stays => {}
            Carrier::Header(name) => head.headers.set(name, base64::encode(address.as_bytes())),
            Carrier::Cookie(cookie) => head.headers.append("set-cookie", cookie.set(address, cx.time)),
        }
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}

// === impl Cookie ===

impl Cookie {
    /// RFC 6265 §5.1.4
    fn is_for(&self, path: &[u8]) -> bool {
        let own = self.path.as_bytes();
        let Some(rest) = path.strip_prefix(own) else {
            return false;
        };
        own.is_empty() || own.ends_with(b"/") || matches!(rest.first(), None | Some(b'/' | b'?' | b'#'))
    }

    /// A whole `set-cookie` value.
    fn set(&self, address: String, time: fn() -> SystemTime) -> String {
        let ttl = self.ttl.as_secs();
        let kept = Kept {
            address,
            expires: match ttl {
                0 => 0,
                ttl => seconds(time).saturating_add_unsigned(ttl),
            },
        };
        let value = base64::encode(&kept.encode_to_vec());
        let mut text = format!("{}=\"{}\"", self.name, String::from_utf8_lossy(&value));
        if ttl > 0 {
            text.push_str(&format!("; Max-Age={ttl}"));
        }
        if !self.path.is_empty() {
            text.push_str(&format!("; Path={}", self.path));
        }
        text.push_str(&self.attributes);
        text.push_str("; HttpOnly");
        text
    }
}

/// The address in a cookie that has not expired. Older Envoys have put the address alone there.
fn kept(value: &[u8], time: fn() -> SystemTime) -> Option<String> {
    let bytes = base64::decode(value)?;
    let address = match Kept::decode(bytes.as_slice()) {
        Ok(kept) if kept.expires == 0 || seconds(time) <= kept.expires => kept.address,
        Ok(_) => return None,
        Err(_) => String::from_utf8(bytes).ok()?,
    };
    Some(address).filter(|address| !address.is_empty())
}

/// A text in base64 that is not empty.
fn text(value: &[u8]) -> Option<String> {
    let text = String::from_utf8(base64::decode(value)?).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

/// The address in an envelope. Its upstream gets what it had put into it.
fn opened(name: &str, headers: &mut Headers) -> Option<String> {
    let value = headers.get(name)?.to_vec();
    let mut parts = value.split(|b| *b == b';').filter(|part| !part.is_empty());
    let address = parts.next()?;
    let inner = parts.find_map(|part| part.strip_prefix(b"UV:"))?;
    let inner = base64::decode(inner).filter(|inner| !inner.is_empty())?;
    headers.set(name, inner);
    text(address)
}

/// Puts the server's session into an envelope with its address.
fn close(name: &str, address: &str, headers: &mut Headers) {
    let mut values = headers.get_all(name);
    let (Some(inner), None) = (values.next(), values.next()) else {
        return;
    };
    let inner = base64::encode(inner);
    drop(values);
    let address = base64::encode(address.as_bytes());
    headers.set(name, [address.as_slice(), b";UV:", &inner].concat());
}

/// Since 1970.
fn seconds(time: fn() -> SystemTime) -> i64 {
    let since = time().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
