//! `envoy.filters.network.rbac`: rules that see a connection and no request.

use std::time::{Duration, Instant};

use leno_proto::google::protobuf::Any;

use super::{Admission, Kind, NetworkFilter};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::metadata::{Fields, Value};
use crate::compile::pb::network::rbac as pb;
use crate::compile::rbac::{self, Rules, Subject};
use crate::decide::notes::Notes;
use crate::decide::rbac::{Asked, Caller, Denial, Verdict, asked_by, details};
use crate::decide::tally::Tally;
use crate::flags::Flags;

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.network.rbac.v3.RBAC",
    parse,
};

#[derive(Debug)]
struct Filter {
    rules: Option<Rules>,
    /// What is only counted.
    shadow: Option<Rules>,
    /// Before the names of what is noted of the latter.
    shadow_prefix: String,
    names: Names,
    delay: Option<Duration>,
}

/// Of counters.
#[derive(Debug)]
struct Names {
    allowed: String,
    denied: String,
    shadow_allowed: String,
    shadow_denied: String,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn NetworkFilter>, Rejection> {
    let pb::Rbac {
        rules,
        matcher,
        shadow_rules,
        shadow_matcher,
        shadow_rules_stat_prefix,
        stat_prefix,
        enforcement_type,
        delay_deny,
    } = &at.unpack::<pb::Rbac>(any)?;
    no_effect!(at, "a connection is asked for once: nothing that rules see of it changes"; enforcement_type);
    let rules = rbac::rules(
        at,
        Subject::Connections,
        ("rules", rules.as_ref()),
        ("matcher", matcher.as_ref()),
    )?;
    let shadow = rbac::rules(
        at,
        Subject::Connections,
        ("shadow_rules", shadow_rules.as_ref()),
        ("shadow_matcher", shadow_matcher.as_ref()),
    )?;
    let dot = if shadow_rules_stat_prefix.is_empty() {
        ""
    } else {
        "."
    };
    let of_shadow = format!("{stat_prefix}.rbac.{shadow_rules_stat_prefix}{dot}shadow_");
    Ok(Box::new(Filter {
        rules,
        shadow,
        shadow_prefix: format!("{shadow_rules_stat_prefix}shadow"),
        names: Names {
            allowed: format!("{stat_prefix}.rbac.allowed"),
            denied: format!("{stat_prefix}.rbac.denied"),
            shadow_allowed: format!("{of_shadow}allowed"),
            shadow_denied: format!("{of_shadow}denied"),
        },
        delay: at.timeout("delay_deny", delay_deny, None)?,
    }))
}

impl NetworkFilter for Filter {
    fn admit(&self, caller: &Caller<'_>, _now: Instant, tally: &dyn Tally) -> Admission {
        if let Some(shadow) = &self.shadow {
            let verdict = shadow.decide(caller);
            if let Some(notes) = caller.notes {
                note(notes, &self.shadow_prefix, &verdict);
            }
            let allowed = verdict.allowed;
            let Names {
                shadow_allowed,
                shadow_denied,
                ..
            } = &self.names;
            tally.alone(if allowed { shadow_allowed } else { shadow_denied });
        }
        let verdict = self.rules.as_ref().map(|rules| rules.decide(caller));
        if let Some(verdict) = &verdict {
            let Names { allowed, denied, .. } = &self.names;
            tally.alone(if verdict.allowed { allowed } else { denied });
        }
        if let (Some(log), Some(notes)) = (verdict.as_ref().and_then(|verdict| verdict.log), caller.notes) {
            let hint = ("access_log_hint".to_owned(), Value::Bool(log));
            notes.set_metadata("envoy.common", [hint].into());
        }
        match verdict {
            Some(verdict) if !verdict.allowed => Admission::Refused {
                details: details(verdict.policy),
                flags: Flags::default(),
                denial: self
                    .rules
                    .as_ref()
                    .map(|rules| Box::new(Denial::new(rules, &verdict, caller))),
                delay: self.delay,
            },
            _ => Admission::Admitted,
        }
    }

    fn denies(&self, caller: &Caller<'_>) -> Option<Denial> {
        let rules = self.rules.as_ref()?;
        let verdict = rules.decide(caller);
        (!verdict.allowed).then(|| Denial::new(rules, &verdict, caller))
    }

    fn asks(&self, caller: &Caller<'_>) -> Option<Asked> {
        asked_by(self.shadow.as_ref()?.decide(caller).policy?, caller.values)
    }

    fn notes(&self) -> bool {
        self.shadow.is_some() || self.rules.as_ref().is_some_and(Rules::logs)
    }

    fn counts(&self) -> Vec<String> {
        let Names {
            allowed,
            denied,
            shadow_allowed,
            shadow_denied,
        } = &self.names;
        [allowed, denied, shadow_allowed, shadow_denied]
            .map(String::clone)
            .into()
    }
}

/// Notes what rules came to, for the filters after this one and for logs.
fn note(notes: &Notes, prefix: &str, verdict: &Verdict<'_>) {
    let result = if verdict.allowed { "allowed" } else { "denied" };
    let mut fields: Fields = [(format!("{prefix}_engine_result"), Value::Text(result.to_owned()))].into();
    if let Some(policy) = verdict.policy {
        let name = format!("{prefix}_effective_policy_id");
        fields.insert(name, Value::Text(policy.to_owned()));
    }
    notes.set_metadata("envoy.filters.network.rbac", fields);
}
