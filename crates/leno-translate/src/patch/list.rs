//! Lists whose items have an order.

use leno_model::EnvoyPatch;
use leno_model::envoy_filter::Operation;
use prost::Message;

use super::object;

/// Applies what is no merge. `named`: whether an item is the one that the patch names; None: it names none, and means both
/// ends of the list.
pub(super) fn edit<T: Message + Default>(
    list: &mut Vec<T>,
    patch: &EnvoyPatch,
    named: Option<&dyn Fn(&T) -> bool>,
) {
    let at = named.and_then(|named| list.iter().position(named));
    let place = match (patch.operation, named) {
        (Operation::Add, _) | (Operation::InsertAfter, None) => Some(list.len()),
        (Operation::InsertFirst, _) | (Operation::InsertBefore, None) => Some(0),
        (Operation::InsertBefore, Some(_)) => at,
        (Operation::InsertAfter, Some(_)) => at.map(|at| at + 1),
        (Operation::Replace, Some(_)) => {
            let there = at.and_then(|at| list.get_mut(at));
            if let (Some(there), Some(new)) = (there, object(patch)) {
                *there = new;
            }
            None
        }
        (Operation::Remove, Some(named)) => {
            list.retain(|item| !named(item));
            None
        }
        (Operation::Replace | Operation::Remove, None)
        | (Operation::Merge | Operation::MergeAndReplaceList, _) => None,
    };
    if let (Some(place), Some(new)) = (place, object(patch)) {
        list.insert(place, new);
    }
}
