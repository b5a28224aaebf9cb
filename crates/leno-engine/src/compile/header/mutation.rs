//! `envoy.config.common.mutation_rules.v3.HeaderMutation`: edits one after the other, each of which sees those before it.

use super::{HeaderOp, header_name, header_op};
use crate::compile::Rejection;
use crate::compile::access_log::Brought;
use crate::compile::at::At;
use crate::compile::matcher::{self, StringMatcher};
use crate::compile::pb::mutation_rules as pb;

#[derive(Clone, Debug, PartialEq)]
pub enum Mutation {
    Add(HeaderOp),
    Remove(String),
    /// All whose names are so.
    RemoveMatching(StringMatcher),
}

pub(crate) fn mutation(at: &At<'_>, message: &pb::HeaderMutation) -> Result<Mutation, Rejection> {
    use pb::header_mutation::{Action, RemoveOnMatch};
    let pb::HeaderMutation { action } = message;
    Ok(match at.required("action", action)? {
        Action::Remove(name) => Mutation::Remove(header_name(&at.field("remove"), name)?),
        Action::Append(op) => Mutation::Add(header_op(&at.field("append"), op, Brought::default())?),
        Action::RemoveOnMatch(RemoveOnMatch { key_matcher }) => {
            let at = at.field("remove_on_match");
            let name = at.required("key_matcher", key_matcher)?;
            Mutation::RemoveMatching(matcher::string(&at.field("key_matcher"), name)?)
        }
    })
}
