//! `envoy.filters.http.rbac`: requests that no policy allows, or that one denies, are answered 403.

use std::sync::Arc;

use bytes::Bytes;
use leno_proto::FromAny;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::metadata::Value;
use crate::compile::pb::{protobuf, rbac_filter as pb};
use crate::compile::rbac::{self, Rules, Subject};
use crate::decide::notes::Notes;
use crate::decide::rbac::{Asked, Caller, Denial, Verdict, asked_by, details};
use crate::decide::tally::Tally;
use crate::message::{Headers, LocalReply, RequestHead};

pub(super) const KIND: Kind = Kind {
    messages: &[
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    ],
    parse,
};

const DENIED: Bytes = Bytes::from_static(b"RBAC: access denied");

/// The filter's, or a route's.
#[derive(Debug)]
struct Factory {
    /// None: a route's that turns them off.
    rules: Option<Arc<Both>>,
    names: Arc<Names>,
}

/// Of counters, below the manager's.
#[derive(Debug)]
struct Names {
    enforced: Of,
    shadow: Of,
    /// Of each policy too.
    by_policy: bool,
}

#[derive(Debug)]
struct Of {
    allowed: String,
    denied: String,
    /// Before a policy's name, and what of `allowed` and `denied` stands behind it.
    policy: String,
    kind: &'static str,
}

#[derive(Debug)]
struct Both {
    enforced: Option<Rules>,
    /// What is only told of.
    shadow: Option<Shadow>,
    /// Before the names of what the rules that are enforced note.
    prefix: String,
}

#[derive(Debug)]
struct Shadow {
    rules: Rules,
    prefix: String,
}

#[derive(Debug)]
struct Filter(Arc<Both>, Arc<Names>);

fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    if any.is::<pb::RbacPerRoute>() {
        let pb::RbacPerRoute { rbac } = &at.unpack::<pb::RbacPerRoute>(any)?;
        let rules = match rbac {
            None => None,
            Some(own) => Some(Arc::new(rules(&at.field("rbac"), own)?)),
        };
        // It is counted by the names of the list's filter.
        let names = Arc::new(Names::of(&rbac.clone().unwrap_or_default()));
        return Ok(Box::new(Factory { rules, names }));
    }
    let message = at.unpack(any)?;
    Ok(Box::new(Factory {
        rules: Some(Arc::new(rules(at, &message)?)),
        names: Arc::new(Names::of(&message)),
    }))
}

fn rules(at: &At<'_>, message: &pb::Rbac) -> Result<Both, Rejection> {
    let pb::Rbac {
        rules,
        rules_stat_prefix,
        matcher,
        shadow_rules,
        shadow_matcher,
        shadow_rules_stat_prefix,
        // With the names.
        track_per_rule_stats: _,
    } = message;
    let shadow = rbac::rules(
        at,
        Subject::Requests,
        ("shadow_rules", shadow_rules.as_ref()),
        ("shadow_matcher", shadow_matcher.as_ref()),
    )?;
    Ok(Both {
        enforced: rbac::rules(
            at,
            Subject::Requests,
            ("rules", rules.as_ref()),
            ("matcher", matcher.as_ref()),
        )?,
        shadow: shadow.map(|rules| Shadow {
            rules,
            prefix: shadow_rules_stat_prefix.clone(),
        }),
        prefix: rules_stat_prefix.clone(),
    })
}

// === impl Names ===

impl Names {
    fn of(message: &pb::Rbac) -> Self {
        let of = |prefix: &str, kind| {
            let dot = if prefix.is_empty() { "" } else { "." };
            let prefix = format!("rbac.{prefix}{dot}");
            Of {
                allowed: format!("{prefix}{kind}allowed"),
                denied: format!("{prefix}{kind}denied"),
                policy: format!("{prefix}policy."),
                kind,
            }
        };
        Self {
            enforced: of(&message.rules_stat_prefix, ""),
            shadow: of(&message.shadow_rules_stat_prefix, "shadow_"),
            by_policy: message.track_per_rule_stats,
        }
    }

    fn count(&self, of: &Of, verdict: &Verdict<'_>, tally: &dyn Tally) {
        tally.of_manager(if verdict.allowed { &of.allowed } else { &of.denied });
        if let Some(policy) = verdict.policy.filter(|_| self.by_policy) {
            let what = if verdict.allowed { "allowed" } else { "denied" };
            tally.of_manager(&format!("{}{policy}.{}{what}", of.policy, of.kind));
        }
    }
}

impl Names {
    /// The policy that denied, or the one that was nearest to allow, by itself: where the control plane says where
    /// policies are written, and nobody has asked for each of them anyway.
    fn count_denial(&self, denial: &Denial, tally: &dyn Tally) {
        let Of { policy: below, .. } = &self.enforced;
        if let (Some(policy), Some(_), false) = (&denial.policy, &denial.place, self.by_policy) {
            tally.of_manager(&format!("{below}{policy}.denied"));
        }
        if let (Some(nearest), Some(_)) = (&denial.nearest, &denial.nearest_place) {
            tally.of_manager(&format!("{below}{nearest}.missed"));
        }
    }
}

impl Factory {
    /// A route's own rules replace the filter's; a route without any turns them off.
    fn of(&self, per_route: Option<&FilterConfig>) -> Option<Arc<Both>> {
        let route = per_route.and_then(|config| config.factory.as_any().downcast_ref::<Self>());
        route.unwrap_or(self).rules.clone()
    }
}

/// What a caller would be told; None: the filter is another, or lets it pass.
pub(super) fn denies(
    factory: &dyn FilterFactory,
    per_route: Option<&FilterConfig>,
    caller: &Caller<'_>,
) -> Option<Denial> {
    let factory: &Factory = factory.as_any().downcast_ref()?;
    let both = factory.of(per_route)?;
    let rules = both.enforced.as_ref()?;
    let verdict = rules.decide(caller);
    (!verdict.allowed).then(|| Denial::new(rules, &verdict, caller))
}

/// What its rules only note, for the authorizer's filter behind it.
pub(super) fn asks(
    factory: &dyn FilterFactory,
    per_route: Option<&FilterConfig>,
    caller: &Caller<'_>,
) -> Option<Asked> {
    let factory: &Factory = factory.as_any().downcast_ref()?;
    let both = factory.of(per_route)?;
    let shadow = both.shadow.as_ref()?;
    asked_by(shadow.rules.decide(caller).policy?, caller.values)
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        let rules = self.of(per_route)?;
        (rules.enforced.is_some() || rules.shadow.is_some())
            .then(|| Box::new(Filter(rules, Arc::clone(&self.names))) as Box<dyn HttpFilter>)
    }

    fn counts(&self) -> Vec<String> {
        let Names { enforced, shadow, .. } = &*self.names;
        let each = [enforced, shadow].into_iter();
        each.flat_map(|of| [of.allowed.clone(), of.denied.clone()])
            .collect()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let Both {
            enforced,
            shadow,
            prefix,
        } = &*self.0;
        let names = &*self.1;
        let caller = Caller {
            request: Some(head),
            ignores_parameters: cx.ignores_parameters,
            remote: cx.remote,
            peer: cx.caller,
            notes: Some(cx.notes),
            values: cx.values,
        };
        if let Some(shadow) = shadow {
            let verdict = shadow.rules.decide(&caller);
            names.count(&names.shadow, &verdict, cx.tally);
            note(cx.notes, &format!("{}shadow", shadow.prefix), &verdict);
        }
        let Some(rules) = enforced else {
            return Step::Continue;
        };
        let verdict = rules.decide(&caller);
        names.count(&names.enforced, &verdict, cx.tally);
        note(cx.notes, &format!("{prefix}enforced"), &verdict);
        if let Some(log) = verdict.log {
            let hint = ("access_log_hint".to_owned(), Value::Bool(log));
            cx.notes.set_metadata("envoy.common", [hint].into());
        }
        if verdict.allowed {
            return Step::Continue;
        }
        let denial = Denial::new(rules, &verdict, &caller);
        names.count_denial(&denial, cx.tally);
        denial.note(cx.notes);
        Step::Reply(LocalReply {
            status: 403,
            headers: Headers::default(),
            body: DENIED,
            details: details(verdict.policy).into(),
            flags: Default::default(),
            grpc_status: None,
        })
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}

/// Notes what rules came to, for logs.
fn note(notes: &Notes, prefix: &str, verdict: &Verdict<'_>) {
    let result = if verdict.allowed { "allowed" } else { "denied" };
    let result = (format!("{prefix}_engine_result"), Value::Text(result.to_owned()));
    let policy = verdict.policy.map(|policy| {
        (
            format!("{prefix}_effective_policy_id"),
            Value::Text(policy.to_owned()),
        )
    });
    let fields = [result].into_iter().chain(policy).collect();
    notes.set_metadata("envoy.filters.http.rbac", fields);
}
