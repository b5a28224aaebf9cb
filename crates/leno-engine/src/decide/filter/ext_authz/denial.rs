//! What an authorizer has decided, for logs: `%DYNAMIC_METADATA(leno:denied)%`, with the policy that asked it.

use super::authorizer::Authorizer;
use super::config::Rules;
use crate::compile::metadata::{Fields, Value};
use crate::decide::filter::Context;
use crate::decide::rbac::asked_by;

const NAMESPACE: &str = "leno";

pub(super) fn denied(cx: &Context<'_>, rules: &Rules, authorizer: &Authorizer) {
    note(cx, rules, authorizer, "denied by", None);
}

pub(super) fn failed(cx: &Context<'_>, rules: &Rules, authorizer: &Authorizer, why: &str) {
    note(cx, rules, authorizer, "denied without an answer of", Some(why));
}

/// It went on although nobody has said that it may.
pub(super) fn allowed_by_failure(cx: &Context<'_>, why: &str) {
    let fields = [("authorizer_failed".to_owned(), Value::Text(why.to_owned()))];
    cx.notes.set_metadata(NAMESPACE, fields.into());
}

fn note(cx: &Context<'_>, rules: &Rules, authorizer: &Authorizer, what: &str, why: Option<&str>) {
    let read = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    let noted = rules.enabled.noted_at();
    let policy = noted.and_then(|(namespace, path)| cx.notes.metadata(namespace, path, read).flatten());
    let asked = policy.as_deref().and_then(|policy| asked_by(policy, cx.values));
    let who = match &asked {
        Some(asked) => format!("the authorizer {}", asked.provider),
        None => format!("the authorizer at {}", authorizer.place()),
    };
    let mut text = format!("{what} {who}");
    if let Some(why) = why {
        text += &format!(": {why}");
    }
    let mut fields = Fields::new();
    if let Some(asked) = asked {
        text += &format!("; asked by {}", asked.policy);
        if let Some(place) = asked.place {
            text += &format!(" {place}");
            fields.insert("denied_place".to_owned(), Value::Text(place));
        }
        fields.insert("denied_policy".to_owned(), Value::Text(asked.policy));
        fields.insert("authorizer".to_owned(), Value::Text(asked.provider));
    }
    fields.insert("denied".to_owned(), Value::Text(text));
    cx.notes.set_metadata(NAMESPACE, fields);
}
