//! One request's tokens, checked one by one, and what is made of the good ones.
//!
//! It works on the request as it came and changes a copy: keys may have to be fetched in the middle, and then all begins
//! anew with what has come.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::claims;
use super::places::Carried;
use super::provider::{Provider, Source, audience_name};
use super::refusal::{self, Blame};
use crate::compile::metadata::{Fields, Number, Value};
use crate::jwt::Failure;
use crate::jwt::KeySet;
use crate::jwt::Token;
use crate::jwt::{Found, Remote};
use crate::message::RequestHead;

pub(super) struct Request<'r> {
    /// As it goes on, if all is well.
    pub(super) head: RequestHead,
    pub(super) noted: Fields,
    /// Another route may be the request's now.
    pub(super) reroutes: bool,
    pub(super) now: Instant,
    pub(super) time: SystemTime,
    /// What this request has waited for.
    pub(super) waited: &'r [Arc<Remote>],
    /// What has gone wrong so far.
    pub(super) blames: Vec<Blame>,
}

/// Why a check has come to an end.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Failure),
    /// These keys have to be fetched first.
    Needs(Arc<Remote>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Request<'_> {
    /// Checks a token and does what its provider wants to be done. `audiences`: in place of the provider's.
    pub(super) fn take<'p>(
        &mut self,
        carried: &Carried<'_>,
        provider: impl FnOnce(&str) -> Option<&'p Provider>,
        audiences: Option<&[String]>,
    ) -> Result<(), Stop> {
        let token = Token::parse(&carried.text)?;
        let provider = provider(&token.issuer);
        if !carried.may_be_of(&token.issuer) || provider.is_none() {
            self.say(Failure::UnknownIssuer, &token, provider, &[]);
        }
        let provider = provider
            .filter(|_| carried.may_be_of(&token.issuer))
            .ok_or(Failure::UnknownIssuer)?;
        let audiences = audiences.unwrap_or(&provider.audiences);
        let claims = self.check_claims(&token, provider, audiences);
        let checked = match claims {
            Ok(()) => self.check_signature(&token, provider),
            Err(failure) => Err(failure.into()),
        };
        if let Err(Stop::Failed(failure)) = checked {
            self.say(failure, &token, Some(provider), audiences);
        }
        checked?;
        self.apply(&token, provider);
        if !provider.forward {
            carried.remove(&mut self.head);
        }
        Ok(())
    }

    /// Notes for the server's side why a token is not taken.
    fn say(
        &mut self,
        failure: Failure,
        token: &Token<'_>,
        provider: Option<&Provider>,
        audiences: &[String],
    ) {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let because = refusal::because(failure, token, provider, audiences, since.as_secs());
        self.blame(failure, provider, because);
    }

    /// The first that is said of a failure by a provider is what its token says; later there is only the failure.
    pub(super) fn blame(&mut self, failure: Failure, provider: Option<&Provider>, because: Option<String>) {
        let provider = provider.map(|provider| provider.name.clone());
        let is_known = |blame: &Blame| blame.failure == failure && blame.provider == provider;
        if !self.blames.iter().any(is_known) {
            self.blames.push(Blame {
                failure,
                provider,
                because,
            });
        }
    }

    fn check_claims(
        &self,
        token: &Token<'_>,
        provider: &Provider,
        audiences: &[String],
    ) -> Result<(), Failure> {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        token.check_times(since.as_secs(), provider.skew)?;
        let lives_too_long = match (provider.most_lifetime, token.expires) {
            (None, Some(_)) => false,
            (None, None) => provider.must_expire,
            (Some(_), None) => true,
            (Some(most), Some(end)) => Duration::from_secs(end).saturating_sub(since) >= most,
        };
        let is_subject =
            |subjects: &crate::compile::matcher::StringMatcher| subjects.matches(token.subject.as_bytes());
        if lives_too_long || !provider.subjects.as_ref().is_none_or(is_subject) {
            return Err(Failure::VerificationFails);
        }
        let is_meant = |audience: &String| audiences.contains(&audience_name(audience));
        if !audiences.is_empty() && !token.audiences.iter().any(is_meant) {
            return Err(Failure::AudienceNotAllowed);
        }
        Ok(())
    }

    fn check_signature(&self, token: &Token<'_>, provider: &Provider) -> Result<(), Stop> {
        let remote = match &provider.source {
            Source::Local(keys) => return Ok(keys.verify(token)?),
            Source::Remote(remote) => remote,
        };
        let waited = self.waited.iter().any(|one| Arc::ptr_eq(one, remote));
        let keys: Arc<KeySet> = match remote.find(self.now, waited) {
            Found::Keys(keys) => keys,
            Found::Fetch => return Err(Stop::Needs(Arc::clone(remote))),
            Found::Failed => return Err(Failure::FetchFails.into()),
        };
        match keys.verify(token) {
            // The issuer may have a new one since.
            Err(Failure::NoKeyMatches)
                if token.kid.is_some() && !waited && remote.may_have_changed(self.now) =>
            {
                Err(Stop::Needs(Arc::clone(remote)))
            }
            verified => Ok(verified?),
        }
    }

    fn apply(&mut self, token: &Token<'_>, provider: &Provider) {
        let headers = &mut self.head.headers;
        if let Some(header) = &provider.payload_header {
            let mut value = token.payload.as_bytes().to_vec();
            if header.padded {
                value.resize(value.len().next_multiple_of(4), b'=');
            }
            headers.append(&header.name, value);
        }
        let mut said = false;
        for claim in &provider.claims {
            if let Some(value) = claims::header(&token.claims, &claim.path) {
                headers.append(&claim.name, value);
                said = true;
            }
        }
        self.reroutes |= provider.reroutes && (said || !provider.payload_in_metadata.is_empty());
        if !provider.header_in_metadata.is_empty() {
            let fields = claims::fields(&token.header, &[]);
            self.note(&provider.header_in_metadata, fields);
        }
        if !provider.payload_in_metadata.is_empty() {
            let fields = claims::fields(&token.claims, &provider.divided);
            self.note(&provider.payload_in_metadata, fields);
        }
    }

    pub(super) fn note_failure(&mut self, provider: &Provider, failure: Failure) {
        if provider.failure_in_metadata.is_empty() {
            return;
        }
        let code = Value::Number(Number::from(f64::from(failure.code())));
        let fields = [
            ("code".to_owned(), code),
            ("message".to_owned(), Value::Text(failure.text().to_owned())),
        ];
        self.note(&provider.failure_in_metadata, fields.into());
    }

    fn note(&mut self, name: &str, fields: Fields) {
        self.noted.insert(name.to_owned(), Value::Fields(fields));
    }
}
