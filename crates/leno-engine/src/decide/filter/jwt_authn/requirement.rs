//! What a request has to bring: `JwtRequirement`, compiled and checked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::places::Places;
use super::provider::{Provider, audience_name, provider};
use super::request::{Request, Stop};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::jwt_authn as pb;
use crate::jwt::Failure;
use crate::message::RequestHead;

/// The providers of one filter, by their names.
#[derive(Debug)]
pub(super) struct Providers {
    by_name: BTreeMap<String, Arc<Provider>>,
    everywhere: Places,
}

#[derive(Debug)]
pub(super) enum Requirement {
    Nothing,
    Provider {
        provider: Arc<Provider>,
        places: Places,
        /// In place of the provider's.
        audiences: Option<Vec<String>>,
    },
    Any {
        of: Vec<Requirement>,
        otherwise: Otherwise,
    },
    All(Vec<Requirement>),
    /// Of any provider's tokens.
    Optional(Otherwise),
}

/// What is let through without a good token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Otherwise {
    Nothing,
    Missing,
    MissingOrFailed,
}

/// Requirements within requirements.
const DEEPEST: usize = 32;

// === impl Providers ===

impl Providers {
    pub(super) fn compile(
        at: &At<'_>,
        messages: &HashMap<String, pb::JwtProvider>,
    ) -> Result<Self, Rejection> {
        let ordered: BTreeMap<&String, &pb::JwtProvider> = messages.iter().collect();
        let one = |(name, message): (&String, &pb::JwtProvider)| {
            Ok((
                name.clone(),
                Arc::new(provider(&at.entry("providers", name), name, message)?),
            ))
        };
        let by_name: BTreeMap<_, _> = ordered.into_iter().map(one).collect::<Result<_, Rejection>>()?;
        Ok(Self {
            everywhere: Places::of(by_name.values().map(Arc::as_ref)),
            by_name,
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Provider> {
        self.by_name.values().map(Arc::as_ref)
    }

    /// The first of this issuer, or else the first for everybody's.
    fn of_issuer(&self, issuer: &str) -> Option<&Provider> {
        let of = |issuer: &str| self.all().find(|provider| provider.issuer == issuer);
        of(issuer).or_else(|| of(""))
    }

    fn only(&self) -> Option<&Provider> {
        let mut all = self.all();
        all.next().filter(|_| all.next().is_none())
    }
}

// === impl Requirement ===

impl Requirement {
    pub(super) fn compile(
        at: &At<'_>,
        message: &pb::JwtRequirement,
        providers: &Providers,
    ) -> Result<Self, Rejection> {
        Self::within(at, message, providers, 0)
    }

    fn within(
        at: &At<'_>,
        message: &pb::JwtRequirement,
        providers: &Providers,
        depth: usize,
    ) -> Result<Self, Rejection> {
        use pb::jwt_requirement::RequiresType as R;
        if depth > DEEPEST {
            return Err(at.reject("too many requirements within one another"));
        }
        let named = |at: &At<'_>, name: &str, audiences: &[String]| match providers.by_name.get(name) {
            None => Err(at.reject(format!("no provider {name:?}"))),
            Some(provider) => Ok(Self::Provider {
                provider: Arc::clone(provider),
                places: Places::of([&**provider]),
                audiences: (!audiences.is_empty())
                    .then(|| audiences.iter().map(|name| audience_name(name)).collect()),
            }),
        };
        let list = |at: &At<'_>, messages: &[pb::JwtRequirement]| {
            if messages.len() < 2 {
                return Err(at.field("requirements").reject("at least two"));
            }
            at.each("requirements", messages, |at, one| {
                Self::within(at, one, providers, depth + 1)
            })
        };
        Ok(match &message.requires_type {
            None => Self::Nothing,
            Some(R::ProviderName(name)) => named(&at.field("provider_name"), name, &[])?,
            Some(R::ProviderAndAudiences(pb::ProviderWithAudiences {
                provider_name,
                audiences,
            })) => {
                let at = at.field("provider_and_audiences");
                named(&at.field("provider_name"), provider_name, audiences)?
            }
            Some(R::RequiresAny(pb::JwtRequirementOrList { requirements })) => {
                Self::any(list(&at.field("requires_any"), requirements)?)
            }
            Some(R::RequiresAll(pb::JwtRequirementAndList { requirements })) => {
                Self::All(list(&at.field("requires_all"), requirements)?)
            }
            Some(R::AllowMissingOrFailed(_)) => Self::Optional(Otherwise::MissingOrFailed),
            Some(R::AllowMissing(_)) => Self::Optional(Otherwise::Missing),
            Some(R::ExtractOnlyWithoutValidation(_)) => {
                let at = at.field("extract_only_without_validation");
                return Err(at.reject("not supported: claims that nobody has verified"));
            }
        })
    }

    /// What is optional is so for all together; by itself only where there is nothing else.
    fn any(all: Vec<Self>) -> Self {
        let mut otherwise = Otherwise::Nothing;
        let mut of = Vec::new();
        for one in all {
            match one {
                Self::Optional(kind) => otherwise = otherwise.max(kind),
                one => of.push(one),
            }
        }
        match of.is_empty() {
            true => Self::Optional(otherwise),
            false => Self::Any { of, otherwise },
        }
    }

    pub(super) fn check(&self, request: &mut Request<'_>, providers: &Providers) -> Result<(), Stop> {
        match self {
            Self::Nothing => Ok(()),
            Self::Provider {
                provider,
                places,
                audiences,
            } => {
                let carried = places.carried(&request.head);
                if carried.is_empty() {
                    return Err(fail(request, Some(provider), Failure::Missing));
                }
                // Each has to be good: what is behind may read another than the one that was verified.
                for one in carried.iter().rev() {
                    let audiences = audiences.as_ref().unwrap_or(&provider.audiences);
                    match request.take(one, |_| Some(provider), Some(audiences)) {
                        Err(Stop::Failed(failure)) => return Err(fail(request, Some(provider), failure)),
                        other => other?,
                    }
                }
                Ok(())
            }
            Self::Any { of, otherwise } => {
                let mut failure = Failure::Missing;
                for one in of {
                    match one.check(request, providers) {
                        Ok(()) => return Ok(()),
                        // Whose token it is says more than that it is nobody's of these.
                        Err(Stop::Failed(own)) if !own.is_of_others() || failure == Failure::Missing => {
                            failure = own;
                        }
                        Err(Stop::Failed(_)) => {}
                        Err(stop) => return Err(stop),
                    }
                }
                match otherwise {
                    Otherwise::MissingOrFailed => Ok(()),
                    Otherwise::Missing if failure == Failure::Missing => Ok(()),
                    _ => Err(Stop::Failed(failure)),
                }
            }
            Self::All(all) => all.iter().try_for_each(|one| one.check(request, providers)),
            Self::Optional(otherwise) => check_all(request, providers, *otherwise),
        }
    }

    /// Whether it is known without any key that the request is refused, since it brings nothing.
    pub(super) fn refuses_without_token(&self, head: &RequestHead) -> bool {
        match self {
            Self::Nothing | Self::Optional(_) => false,
            Self::Provider { places, .. } => places.carried(head).is_empty(),
            Self::Any { of, otherwise } => {
                *otherwise == Otherwise::Nothing && of.iter().all(|one| one.refuses_without_token(head))
            }
            Self::All(all) => all.iter().any(|one| one.refuses_without_token(head)),
        }
    }
}

/// Every token of the request, by the provider of its issuer.
fn check_all(request: &mut Request<'_>, providers: &Providers, otherwise: Otherwise) -> Result<(), Stop> {
    let mut failed = None;
    for one in providers.everywhere.carried(&request.head).iter().rev() {
        match request.take(one, |issuer| providers.of_issuer(issuer), None) {
            Err(Stop::Failed(failure)) => {
                fail(request, providers.only(), failure);
                failed = failed.or(Some(failure));
            }
            other => other?,
        }
    }
    match failed {
        Some(failure) if otherwise < Otherwise::MissingOrFailed => Err(Stop::Failed(failure)),
        _ => Ok(()),
    }
}

fn fail(request: &mut Request<'_>, provider: Option<&Provider>, failure: Failure) -> Stop {
    request.blame(failure, provider, None);
    if let Some(provider) = provider {
        request.note_failure(provider, failure);
    }
    Stop::Failed(failure)
}
