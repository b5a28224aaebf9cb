//! What an authorizer may change of a request: `envoy.config.common.mutation_rules.v3.HeaderMutationRules`.

use regex::bytes::Regex;

use crate::compile::Rejection;
use crate::compile::at::{At, is_true};
use crate::compile::matcher::regex;
use crate::compile::pb::mutation_rules as pb;

#[derive(Debug)]
pub(super) struct Mutable {
    rules: Option<Rules>,
    /// Queries too are looked at: what they are set to must be encoded.
    pub(super) validates: bool,
}

#[derive(Debug)]
struct Rules {
    routing: bool,
    envoys: bool,
    not_system: bool,
    nothing: bool,
    allowed: Option<Regex>,
    disallowed: Option<Regex>,
    is_error: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Yes,
    /// It is left as it is.
    No,
    /// The whole answer is none.
    Never,
}

/// What messages are divided by, and what connections are about: nobody's to change from outside.
const FRAMING: [&[u8]; 8] = [
    b"connection",
    b"content-length",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

impl Mutable {
    pub(super) fn compile(
        at: &At<'_>,
        message: Option<&pb::HeaderMutationRules>,
        validates: bool,
    ) -> Result<Self, Rejection> {
        let Some(message) = message else {
            return Ok(Self {
                rules: None,
                validates,
            });
        };
        let pb::HeaderMutationRules {
            allow_all_routing,
            allow_envoy,
            disallow_system,
            disallow_all,
            allow_expression,
            disallow_expression,
            disallow_is_error,
        } = message;
        Ok(Self {
            rules: Some(Rules {
                routing: is_true(allow_all_routing),
                envoys: is_true(allow_envoy),
                not_system: is_true(disallow_system),
                nothing: is_true(disallow_all),
                allowed: match allow_expression {
                    None => None,
                    Some(expression) => Some(regex(&at.field("allow_expression"), expression)?),
                },
                disallowed: match disallow_expression {
                    None => None,
                    Some(expression) => Some(regex(&at.field("disallow_expression"), expression)?),
                },
                is_error: is_true(disallow_is_error),
            }),
            validates,
        })
    }

    /// Whether a header may have this value. `name`: in lower case.
    pub(super) fn set(&self, name: &[u8], value: &[u8]) -> Permit {
        match is_name(name) && is_value(name, value) {
            true => self.permit(name),
            // Envoy sends it all the same, unless `validate_mutations` is set; to leno it is never a header.
            false => Permit::Never,
        }
    }

    pub(super) fn remove(&self, name: &[u8]) -> Permit {
        let is_head = name.starts_with(b":") || name == b"host";
        if self.rules.is_none() && (is_head || !is_name(name)) {
            return Permit::No;
        }
        match is_head {
            true => self.refusal(),
            false => self.permit(name),
        }
    }

    fn permit(&self, name: &[u8]) -> Permit {
        if is_framing(name) {
            return Permit::No;
        }
        match self.rules.as_ref().is_none_or(|rules| rules.allow(name)) {
            true => Permit::Yes,
            false => self.refusal(),
        }
    }

    fn refusal(&self) -> Permit {
        match self.rules.as_ref().is_some_and(|rules| rules.is_error) {
            true => Permit::Never,
            false => Permit::No,
        }
    }
}

impl Rules {
    fn allow(&self, name: &[u8]) -> bool {
        let matches = |expression: &Option<Regex>| {
            expression
                .as_ref()
                .is_some_and(|expression| expression.is_match(name))
        };
        if matches(&self.disallowed) {
            return false;
        }
        if matches(&self.allowed) {
            return true;
        }
        let routes = matches!(name, b"host" | b":authority" | b":scheme" | b":method");
        let kept = [
            self.nothing,
            self.not_system && name.starts_with(b":"),
            !self.routing && routes,
            !self.envoys && name.starts_with(b"x-envoy-"),
        ];
        !kept.contains(&true)
    }
}

pub(super) fn is_framing(name: &[u8]) -> bool {
    FRAMING.contains(&name)
}

/// A token (RFC 9110), or one of a request head's fields.
fn is_name(name: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    match name {
        b":authority" | b":method" | b":path" | b":scheme" => true,
        name => !name.is_empty() && name.iter().all(is_token),
    }
}

fn is_value(name: &[u8], value: &[u8]) -> bool {
    let visible = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    match name {
        b":path" => value.first() == Some(&b'/') && value.iter().all(visible),
        b":authority" | b"host" | b":scheme" => value.iter().all(visible),
        b":method" => is_name(value) && !value.starts_with(b":"),
        _ => value
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)),
    }
}

/// Of an answer of the proxy's own: whether a header is one.
pub(super) fn is_header(name: &[u8], value: &[u8]) -> bool {
    is_name(name) && !name.starts_with(b":") && is_value(name, value)
}
