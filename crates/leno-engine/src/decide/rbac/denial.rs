//! A denial in words: which policy, where it is written, and what the caller was nearest to.

use super::{Caller, Nearest, Verdict};
use crate::compile::access_log::{FormatValues, MetadataKind};
use crate::compile::metadata::{Fields, Value};
use crate::compile::rbac::Rules;
use crate::decide::notes::Notes;

/// Where notes and a listener's metadata have what is leno's own.
const NAMESPACE: &str = "leno";
/// There: where policies are written, by their names.
const PLACES: &str = "policies";

/// Why something was denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    /// The policy that denies; None: no policy allows.
    pub policy: Option<String>,
    /// Where it is written, as far as the control plane tells.
    pub place: Option<String>,
    /// The policy that would have allowed it with the fewest changes.
    pub nearest: Option<String>,
    pub nearest_place: Option<String>,
    /// What that one misses.
    pub missed: Vec<String>,
}

impl Denial {
    pub fn new(rules: &Rules, verdict: &Verdict<'_>, caller: &Caller<'_>) -> Self {
        let place = |policy: &str| place(policy, caller.values);
        let policy = verdict.policy.map(str::to_owned);
        let nearest = match policy {
            Some(_) => None,
            None => rules.nearest(caller),
        };
        let (nearest, missed) = match nearest {
            Some(Nearest { policy, missed }) => (Some(policy.to_owned()), missed),
            None => (None, Vec::new()),
        };
        Self {
            place: policy.as_deref().and_then(place),
            nearest_place: nearest.as_deref().and_then(place),
            policy,
            nearest,
            missed,
        }
    }

    /// For people: what is wrong in a line, then what there is to say of it.
    pub fn lines(&self) -> (&'static str, Vec<String>) {
        let (said, named, place) = match &self.policy {
            Some(policy) => ("a policy denies it", Some(policy.clone()), &self.place),
            None => {
                let nearest = self
                    .nearest
                    .as_ref()
                    .map(|nearest| format!("nearest is {nearest}"));
                ("no policy allows it", nearest, &self.nearest_place)
            }
        };
        let place = place.clone();
        (
            said,
            named
                .into_iter()
                .chain(place)
                .chain(self.missed.clone())
                .collect(),
        )
    }

    /// For logs: what `%DYNAMIC_METADATA(leno:denied)%` says.
    pub fn note(&self, notes: &Notes) {
        let mut fields: Fields = [("denied".to_owned(), Value::Text(self.to_string()))].into();
        let parts = [
            ("denied_policy", &self.policy),
            ("denied_place", &self.place),
            ("nearest_policy", &self.nearest),
            ("nearest_place", &self.nearest_place),
        ];
        for (name, part) in parts {
            fields.extend(
                part.as_ref()
                    .map(|part| (name.to_owned(), Value::Text(part.clone()))),
            );
        }
        if !self.missed.is_empty() {
            fields.insert("missed".to_owned(), Value::Text(self.missed.join("; ")));
        }
        notes.set_metadata(NAMESPACE, fields);
    }
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = |f: &mut std::fmt::Formatter<'_>, policy: &str, place: &Option<String>| match place {
            Some(place) => write!(f, "{policy} {place}"),
            None => f.write_str(policy),
        };
        if let Some(policy) = &self.policy {
            f.write_str("denied by ")?;
            return named(f, policy, &self.place);
        }
        f.write_str("no policy allows it")?;
        if let Some(nearest) = &self.nearest {
            f.write_str("; nearest is ")?;
            named(f, nearest, &self.nearest_place)?;
            write!(f, ": {}", self.missed.join("; "))?;
        }
        Ok(())
    }
}

/// What has been noted of a denial, under a control plane that says where policies are written.
pub fn told(notes: &Notes) -> Option<String> {
    let read = |value: &Value| {
        let Value::Fields(fields) = value else {
            return None;
        };
        let placed = fields.contains_key("denied_place") || fields.contains_key("nearest_place");
        match fields.get("denied") {
            Some(Value::Text(text)) if placed => Some(text.clone()),
            _ => None,
        }
    };
    notes.metadata(NAMESPACE, &[], read).flatten()
}

/// A policy that has an authorizer asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub provider: String,
    /// The policy's rule.
    pub policy: String,
    pub place: Option<String>,
}

/// What istiod's name of such a rule says: `istio-ext-authz-PROVIDER-ns[…]-policy[…]-rule[…]`.
pub fn asked_by(rule: &str, values: &dyn FormatValues) -> Option<Asked> {
    let named = rule.strip_prefix("istio-ext-authz-")?;
    let (provider, _) = named.split_once("-ns[")?;
    let policy = named.get(provider.len() + 1..)?.to_owned();
    Some(Asked {
        provider: provider.to_owned(),
        place: place(&policy, values),
        policy,
    })
}

/// Where a policy is written. Names of policies whose authorizer is not there have more around them.
pub(in crate::decide) fn place(policy: &str, values: &dyn FormatValues) -> Option<String> {
    let mut found = None;
    values.metadata(MetadataKind::Listener, NAMESPACE, &mut |value| {
        let Value::Fields(fields) = value else {
            return;
        };
        let Some(Value::Fields(places)) = fields.get(PLACES) else {
            return;
        };
        let from = policy.find("ns[").unwrap_or(0);
        let until = policy.find("-deny-due-to").unwrap_or(policy.len());
        if let Some(Value::Text(place)) = policy.get(from..until).and_then(|name| places.get(name)) {
            found = Some(place.clone());
        }
    });
    found
}
