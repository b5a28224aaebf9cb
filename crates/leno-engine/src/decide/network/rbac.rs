//! `envoy.filters.network.rbac`: rules that see a connection and no request.

use std::time::{Duration, Instant};

use leno_proto::google::protobuf::Any;

use super::{Admission, Kind, NetworkFilter};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, silent};
use crate::compile::pb::network::rbac as pb;
use crate::compile::rbac::{self, Rules, Subject};
use crate::decide::rbac::{Caller, details};

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.network.rbac.v3.RBAC",
    parse,
};

#[derive(Debug)]
struct Filter {
    rules: Option<Rules>,
    delay: Option<Duration>,
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
    silent!("leno has its own statistics"; stat_prefix, shadow_rules_stat_prefix);
    no_effect!(at, "what they would do is told of requests only"; shadow_rules, shadow_matcher);
    no_effect!(at, "a connection is asked for once: nothing that rules see of it changes"; enforcement_type);
    let rules = rbac::rules(
        at,
        Subject::Connections,
        ("rules", rules.as_ref()),
        ("matcher", matcher.as_ref()),
    )?;
    Ok(Box::new(Filter {
        rules,
        delay: at.timeout("delay_deny", delay_deny, None)?,
    }))
}

impl NetworkFilter for Filter {
    fn admit(&self, caller: &Caller<'_>, _now: Instant) -> Admission {
        let verdict = self.rules.as_ref().map(|rules| rules.decide(caller));
        match verdict {
            Some(verdict) if !verdict.allowed => Admission::Refused {
                details: details(verdict.policy),
                delay: self.delay,
            },
            _ => Admission::Admitted,
        }
    }
}
