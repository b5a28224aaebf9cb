//! What a tree of matchers comes to.

use std::borrow::Cow;
use std::net::IpAddr;

use leno_cel::Program;
use smallvec::SmallVec;

use crate::compile::matcher::input::Input;
use crate::compile::matcher::tree::{Branch, InRanges, OnMatch, Predicate, Test, Tree};
use crate::decide::notes::Notes;

/// There is nothing yet that could be looked at, or never will be: of a certificate without TLS. As in Envoy that is
/// not the same as nothing to be seen: neither what asks for it holds nor its opposite, and the whole tree says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided;

/// What is looked at.
pub trait Facts {
    /// None: there is no such thing; nothing that asks for it holds.
    fn get(&self, input: &Input) -> Result<Option<Cow<'_, [u8]>>, Undecided>;

    /// The same of an address, which need not become a text first.
    fn address(&self, input: &Input) -> Result<Option<IpAddr>, Undecided> {
        let text = self.get(input)?;
        Ok(text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()))
    }

    /// Whether an expression is true of it.
    fn holds(&self, _program: &Program) -> bool {
        false
    }

    /// What filters have noted; None: nothing can have been.
    fn notes(&self) -> Option<&Notes> {
        None
    }
}

impl<A> Tree<A> {
    /// None: nothing is said of it.
    pub fn decide<'t>(&'t self, facts: &impl Facts) -> Option<&'t A> {
        self.find(facts).ok().flatten()
    }

    fn find<'t>(&'t self, facts: &impl Facts) -> Result<Option<&'t A>, Undecided> {
        let found = match &self.branch {
            Branch::Nothing => None,
            Branch::List(list) => first(list, facts)?,
            Branch::Exact { input, of } => {
                let value = facts.get(input)?;
                let key = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
                match key.and_then(|key| of.get(key)) {
                    Some(then) => then.find(facts)?,
                    None => None,
                }
            }
            Branch::Prefix { input, of } => match facts.get(input)? {
                Some(value) => longest(of, &value, facts)?,
                None => None,
            },
            Branch::Ranges { input, of } => match facts.address(input)? {
                Some(address) => narrowest(of, address.to_canonical(), facts)?,
                None => None,
            },
        };
        match (found, &self.otherwise) {
            (None, Some(otherwise)) => otherwise.find(facts),
            (found, _) => Ok(found),
        }
    }
}

/// The first that holds; what holds and comes to nothing is passed by.
fn first<'t, A>(list: &'t [(Predicate, OnMatch<A>)], facts: &impl Facts) -> Result<Option<&'t A>, Undecided> {
    for (predicate, then) in list {
        if predicate.holds(facts)?
            && let Some(action) = then.find(facts)?
        {
            return Ok(Some(action));
        }
    }
    Ok(None)
}

fn longest<'t, A>(
    of: &'t [(String, OnMatch<A>)],
    value: &[u8],
    facts: &impl Facts,
) -> Result<Option<&'t A>, Undecided> {
    for (_, then) in of
        .iter()
        .filter(|(prefix, _)| value.starts_with(prefix.as_bytes()))
    {
        if let Some(action) = then.find(facts)? {
            return Ok(Some(action));
        }
    }
    Ok(None)
}

/// The longest range first, then in their order.
fn narrowest<'t, A>(
    of: &'t [InRanges<A>],
    address: IpAddr,
    facts: &impl Facts,
) -> Result<Option<&'t A>, Undecided> {
    let held = |one: &InRanges<A>| {
        let holding = one.ranges.iter().filter(|range| range.contains(&address));
        holding.map(|range| range.prefix_len()).max()
    };
    let mut holding: SmallVec<[_; 4]> = of.iter().filter_map(|one| Some((held(one)?, one))).collect();
    holding.sort_by(|(a, _), (b, _)| b.cmp(a));
    for (at, (_, one)) in holding.iter().enumerate() {
        if at > 0 && one.exclusive {
            continue;
        }
        if let Some(action) = one.then.find(facts)? {
            return Ok(Some(action));
        }
    }
    Ok(None)
}

impl<A> OnMatch<A> {
    fn find<'t>(&'t self, facts: &impl Facts) -> Result<Option<&'t A>, Undecided> {
        match self {
            Self::Tree(tree) => tree.find(facts),
            Self::Action(action) => Ok(Some(action)),
        }
    }
}

impl Predicate {
    fn holds(&self, facts: &impl Facts) -> Result<bool, Undecided> {
        match self {
            Self::Input { input, test } => test.holds(input, facts),
            Self::Not(inner) => Ok(!inner.holds(facts)?),
            Self::And(all) => {
                for one in all {
                    if !one.holds(facts)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            // One that holds decides, whatever cannot be said of the others.
            Self::Or(any) => {
                let mut so_far = Ok(false);
                for one in any {
                    match one.holds(facts) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(Undecided) => so_far = Err(Undecided),
                    }
                }
                so_far
            }
        }
    }
}

impl Test {
    fn holds(&self, input: &Input, facts: &impl Facts) -> Result<bool, Undecided> {
        Ok(match self {
            Self::Value(matcher) => facts.get(input)?.is_some_and(|value| matcher.matches(&value)),
            Self::Metadata { value, invert } => {
                let Input::DynamicMetadata { namespace, path } = input else {
                    return Ok(false);
                };
                let found = facts
                    .notes()
                    .and_then(|notes| notes.metadata(namespace, path, |there| value.matches(there)));
                found.unwrap_or(false) != *invert
            }
            Self::Expression(program) => facts.holds(program),
            Self::Ranges(ranges) => facts.address(input)?.is_some_and(|address| {
                let address = address.to_canonical();
                ranges.iter().any(|range| range.contains(&address))
            }),
        })
    }
}
