//! Why a token was not taken, for the server's side: the client is told no more than Envoy tells it.

use crate::compile::access_log::FormatValues;
use crate::compile::metadata::{Fields, Value};
use crate::decide::notes::Notes;
use crate::decide::rbac::place;
use crate::jwt::{Failure, Token};

use super::provider::Provider;

/// Where notes have what is leno's own.
const NAMESPACE: &str = "leno";
/// Of a text that a token says, which anybody may have written.
const SHOWN: usize = 64;
/// Of a list that a token says.
const MOST: usize = 4;

/// A token, or its absence, that ended a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// What the client is told.
    pub said: &'static str,
    /// What the token says, and what is wanted.
    pub because: Option<String>,
    /// By which rule.
    pub provider: Option<String>,
    /// Where that is written, as far as the control plane tells.
    pub place: Option<String>,
}

/// What has gone wrong with one token.
#[derive(Clone, Debug)]
pub(super) struct Blame {
    pub(super) failure: Failure,
    pub(super) provider: Option<String>,
    pub(super) because: Option<String>,
}

impl Refusal {
    /// `blames`: all that has gone wrong; the last that came to this failure is told.
    pub(super) fn new(failure: Failure, blames: &[Blame], values: &dyn FormatValues) -> Self {
        let blame = blames.iter().rev().find(|blame| blame.failure == failure);
        let provider = blame.and_then(|blame| blame.provider.clone());
        Self {
            status: if failure == Failure::AudienceNotAllowed {
                403
            } else {
                401
            },
            said: failure.text(),
            because: blame.and_then(|blame| blame.because.clone()),
            place: provider.as_deref().and_then(|name| place(name, values)),
            provider,
        }
    }

    /// For people: what is wrong in a line, then what there is to say of it.
    pub fn lines(&self) -> (&'static str, Vec<String>) {
        let more = [&self.because, &self.provider, &self.place];
        (self.said, more.into_iter().flatten().cloned().collect())
    }

    /// For logs: what `%DYNAMIC_METADATA(leno:denied)%` says.
    pub(super) fn note(&self, notes: &Notes) {
        let mut fields: Fields = [("denied".to_owned(), Value::Text(self.to_string()))].into();
        let parts = [
            ("denied_policy", &self.provider),
            ("denied_place", &self.place),
            ("missed", &self.because),
        ];
        for (name, part) in parts {
            fields.extend(
                part.as_ref()
                    .map(|part| (name.to_owned(), Value::Text(part.clone()))),
            );
        }
        notes.set_metadata(NAMESPACE, fields);
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.said)?;
        if let Some(because) = &self.because {
            write!(f, ": {because}")?;
        }
        if let Some(provider) = &self.provider {
            write!(f, "; by {provider}")?;
        }
        match &self.place {
            Some(place) => write!(f, " {place}"),
            None => Ok(()),
        }
    }
}

/// What a token says of that in which it failed, and what is wanted. `now` in seconds.
pub(super) fn because(
    failure: Failure,
    token: &Token<'_>,
    provider: Option<&Provider>,
    audiences: &[String],
    now: u64,
) -> Option<String> {
    Some(match failure {
        Failure::UnknownIssuer => {
            let own = shown(&token.issuer);
            match provider.map(|provider| &provider.issuer) {
                Some(wanted) => format!("its issuer is {own}, not {wanted}"),
                None => format!("its issuer is {own}"),
            }
        }
        Failure::AudienceNotAllowed => {
            let own: Vec<String> = token.audiences.iter().take(MOST).map(|one| shown(one)).collect();
            let own = match own.is_empty() {
                true => "it has no audience".to_owned(),
                false => format!("its audience is {}", own.join(", ")),
            };
            format!("{own}, not {}", audiences.join(" or "))
        }
        Failure::Expired => format!("its exp is {}, and now is {now}", token.expires?),
        Failure::NotYetValid => format!("its nbf is {}, and now is {now}", token.not_before?),
        Failure::NoKeyMatches => {
            let algorithm = token.header.get("alg").and_then(|algorithm| algorithm.as_str());
            let algorithm = algorithm.unwrap_or_default();
            match &token.kid {
                Some(kid) => format!("its key is {}, for {algorithm}", shown(kid)),
                None => format!("it names no key, for {algorithm}"),
            }
        }
        _ => return None,
    })
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    match short.len() == text.len() {
        true => format!("{short:?}"),
        false => format!("{short:?}…"),
    }
}
