//! `xds.type.matcher.v3.Matcher`: conditions in a tree, with actions for leaves.
//!
//! What an action is, and what may be looked at, is its user's to say ([`Grammar`]): the same tree decides of filter
//! chains, routes and permissions.

use std::collections::HashMap;

use ipnet::IpNet;
use leno_cel::Program;
use leno_proto::FromAny;
use leno_proto::more::xds::r#type::matcher::v3::ip_matcher::IpRangeMatcher;
use leno_proto::more::xds::r#type::matcher::v3::{CelMatcher, IpMatcher};

use super::input::{Input, input};
use super::metadata::{self, ValueMatcher};
use super::{Pattern, StringMatcher};
use crate::compile::at::{At, refuse, silent};
use crate::compile::pb::matching::{ip, metadata as metadata_pb};
use crate::compile::pb::xds_matcher::matcher::{self as parts, matcher_list, matcher_tree};
use crate::compile::pb::{protobuf, xds_core, xds_matcher as pb};
use crate::compile::{Rejection, address, expression};

#[derive(Clone, Debug, PartialEq)]
pub struct Tree<A> {
    pub branch: Branch<A>,
    /// Where nothing of the branch holds.
    pub otherwise: Option<Box<OnMatch<A>>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Branch<A> {
    /// Only what is done otherwise.
    Nothing,
    /// The first that holds.
    List(Vec<(Predicate, OnMatch<A>)>),
    Exact {
        input: Input,
        of: HashMap<String, OnMatch<A>>,
    },
    /// The longest first.
    Prefix {
        input: Input,
        of: Vec<(String, OnMatch<A>)>,
    },
    /// By addresses.
    Ranges { input: Input, of: Vec<InRanges<A>> },
}

#[derive(Clone, Debug, PartialEq)]
pub struct InRanges<A> {
    pub ranges: Vec<IpNet>,
    /// It is left out where a longer range holds, whatever came of that.
    pub exclusive: bool,
    pub then: OnMatch<A>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum OnMatch<A> {
    Tree(Tree<A>),
    Action(A),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    Input { input: Input, test: Test },
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Not(Box<Predicate>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Value(StringMatcher),
    Ranges(Vec<IpNet>),
    Metadata { value: ValueMatcher, invert: bool },
    Expression(Program),
}

/// What a tree may say where it stands.
pub(crate) struct Grammar<'g, A> {
    /// Whether this may be looked at.
    pub(crate) allows: fn(&Input) -> bool,
    /// Where it stands, for rejections.
    pub(crate) place: &'static str,
    pub(crate) action: &'g dyn Fn(&At<'_>, &protobuf::Any) -> Result<A, Rejection>,
}

pub(crate) fn tree<A>(
    at: &At<'_>,
    message: &pb::Matcher,
    grammar: &Grammar<'_, A>,
) -> Result<Tree<A>, Rejection> {
    use parts::MatcherType;
    let pb::Matcher {
        on_no_match,
        matcher_type,
    } = message;
    let branch = match matcher_type {
        None => Branch::Nothing,
        Some(MatcherType::MatcherList(list)) => self::list(&at.field("matcher_list"), list, grammar)?,
        Some(MatcherType::MatcherTree(map)) => self::map(&at.field("matcher_tree"), map, grammar)?,
    };
    Ok(Tree {
        branch,
        otherwise: match on_no_match {
            None => None,
            Some(otherwise) => Some(Box::new(on_match(&at.field("on_no_match"), otherwise, grammar)?)),
        },
    })
}

fn on_match<A>(
    at: &At<'_>,
    message: &parts::OnMatch,
    grammar: &Grammar<'_, A>,
) -> Result<OnMatch<A>, Rejection> {
    use parts::on_match::OnMatch as O;
    let parts::OnMatch {
        keep_matching,
        on_match,
    } = message;
    // Nor has Envoy it: RBAC refuses it, a listener's matcher crashes.
    refuse!(at; keep_matching);
    Ok(match at.required("on_match", on_match)? {
        O::Matcher(matcher) => OnMatch::Tree(tree(&at.field("matcher"), matcher, grammar)?),
        O::Action(action) => {
            let at = at.field("action");
            let any = extension(&at, action)?;
            OnMatch::Action((grammar.action)(&at.field("typed_config"), any)?)
        }
    })
}

fn list<A>(
    at: &At<'_>,
    message: &parts::MatcherList,
    grammar: &Grammar<'_, A>,
) -> Result<Branch<A>, Rejection> {
    let parts::MatcherList { matchers } = message;
    if matchers.is_empty() {
        return Err(at.field("matchers").reject("required"));
    }
    let one = |at: &At<'_>, message: &matcher_list::FieldMatcher| {
        let matcher_list::FieldMatcher {
            predicate: condition,
            on_match: then,
        } = message;
        Ok((
            predicate(
                &at.field("predicate"),
                at.required("predicate", condition)?,
                grammar,
            )?,
            on_match(&at.field("on_match"), at.required("on_match", then)?, grammar)?,
        ))
    };
    Ok(Branch::List(at.each("matchers", matchers, one)?))
}

fn predicate<A>(
    at: &At<'_>,
    message: &matcher_list::Predicate,
    grammar: &Grammar<'_, A>,
) -> Result<Predicate, Rejection> {
    use matcher_list::predicate::{MatchType, PredicateList};
    let matcher_list::Predicate { match_type } = message;
    let several = |at: &At<'_>, PredicateList { predicate: all }: &PredicateList| {
        // As in Envoy: of one alone it says nothing.
        if all.len() < 2 {
            return Err(at.field("predicate").reject("two or more are needed"));
        }
        at.each("predicate", all, |at, one| predicate(at, one, grammar))
    };
    Ok(match at.required("match_type", match_type)? {
        MatchType::SinglePredicate(one) => single(&at.field("single_predicate"), one, grammar)?,
        MatchType::OrMatcher(any) => Predicate::Or(several(&at.field("or_matcher"), any)?),
        MatchType::AndMatcher(all) => Predicate::And(several(&at.field("and_matcher"), all)?),
        MatchType::NotMatcher(inner) => {
            Predicate::Not(Box::new(predicate(&at.field("not_matcher"), inner, grammar)?))
        }
    })
}

fn single<A>(
    at: &At<'_>,
    message: &matcher_list::predicate::SinglePredicate,
    grammar: &Grammar<'_, A>,
) -> Result<Predicate, Rejection> {
    use matcher_list::predicate::single_predicate::Matcher;
    let matcher_list::predicate::SinglePredicate { input: of, matcher } = message;
    let input = self::allowed(at, of, grammar)?;
    let test = match at.required("matcher", matcher)? {
        Matcher::ValueMatch(value) => Test::Value(string(&at.field("value_match"), value)?),
        Matcher::CustomMatch(custom) => self::custom(&at.field("custom_match"), custom)?,
    };
    if (input == Input::Attributes) != matches!(test, Test::Expression(_)) {
        return Err(at
            .field("matcher")
            .reject("expressions are of HttpAttributesCelMatchInput, and nothing else is"));
    }
    Ok(Predicate::Input { input, test })
}

fn allowed<A>(
    at: &At<'_>,
    of: &Option<xds_core::TypedExtensionConfig>,
    grammar: &Grammar<'_, A>,
) -> Result<Input, Rejection> {
    let at_input = at.field("input");
    let any = extension(&at_input, at.required("input", of)?)?;
    let at = at_input.field("typed_config");
    let input = input(&at, any)?;
    match (grammar.allows)(&input) {
        true => Ok(input),
        false => Err(at.reject(format!(
            "{:?} is nothing that {} knows",
            any.type_url, grammar.place
        ))),
    }
}

fn custom(at: &At<'_>, message: &xds_core::TypedExtensionConfig) -> Result<Test, Rejection> {
    let any = extension(at, message)?;
    let at = at.field("typed_config");
    if any.is::<CelMatcher>() {
        let CelMatcher {
            expr_match,
            description,
        } = &at.unpack::<CelMatcher>(any)?;
        silent!("it is for people"; description);
        let expression = at.required("expr_match", expr_match)?;
        return expression::of(&at.field("expr_match"), expression).map(Test::Expression);
    }
    if any.is::<metadata_pb::Metadata>() {
        let metadata_pb::Metadata { value, invert } = &at.unpack::<metadata_pb::Metadata>(any)?;
        return Ok(Test::Metadata {
            value: metadata::value(&at.field("value"), at.required("value", value)?)?,
            invert: *invert,
        });
    }
    let ip::Ip {
        cidr_ranges,
        stat_prefix,
    } = &at.unpack::<ip::Ip>(any)?;
    silent!("leno has its own statistics"; stat_prefix);
    if cidr_ranges.is_empty() {
        return Err(at.field("cidr_ranges").reject("required"));
    }
    Ok(Test::Ranges(at.each(
        "cidr_ranges",
        cidr_ranges,
        address::cidr,
    )?))
}

fn map<A>(
    at: &At<'_>,
    message: &parts::MatcherTree,
    grammar: &Grammar<'_, A>,
) -> Result<Branch<A>, Rejection> {
    use matcher_tree::{MatchMap, TreeType};
    let parts::MatcherTree { input: of, tree_type } = message;
    let input = self::allowed(at, of, grammar)?;
    let entries = |at: &At<'_>, MatchMap { map }: &MatchMap| {
        if map.is_empty() {
            return Err(at.field("map").reject("required"));
        }
        let one =
            |(key, then): (&String, _)| Ok((key.clone(), on_match(&at.entry("map", key), then, grammar)?));
        map.iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    Ok(match at.required("tree_type", tree_type)? {
        TreeType::ExactMatchMap(map) => Branch::Exact {
            input,
            of: entries(&at.field("exact_match_map"), map)?.into_iter().collect(),
        },
        TreeType::PrefixMatchMap(map) => {
            let mut of = entries(&at.field("prefix_match_map"), map)?;
            of.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
            Branch::Prefix { input, of }
        }
        TreeType::CustomMatch(custom) => {
            let at = at.field("custom_match");
            let any = extension(&at, custom)?;
            let at = at.field("typed_config");
            let IpMatcher { range_matchers } = at.unpack::<IpMatcher>(any)?;
            Branch::Ranges {
                input,
                of: at.each("range_matchers", &range_matchers, |at, one| {
                    in_ranges(at, one, grammar)
                })?,
            }
        }
    })
}

fn in_ranges<A>(
    at: &At<'_>,
    message: &IpRangeMatcher,
    grammar: &Grammar<'_, A>,
) -> Result<InRanges<A>, Rejection> {
    let IpRangeMatcher {
        ranges,
        on_match: then,
        exclusive,
    } = message;
    Ok(InRanges {
        ranges: at.some("ranges", ranges, address::xds_cidr)?,
        exclusive: *exclusive,
        // Without one Envoy crashes.
        then: on_match(&at.field("on_match"), at.required("on_match", then)?, grammar)?,
    })
}

/// The extension's message; its name is for people.
fn extension<'m>(
    at: &At<'_>,
    message: &'m xds_core::TypedExtensionConfig,
) -> Result<&'m protobuf::Any, Rejection> {
    let xds_core::TypedExtensionConfig { name, typed_config } = message;
    at.not_empty("name", name)?;
    at.required("typed_config", typed_config)
}

/// xDS's own string matcher says the same as Envoy's.
fn string(at: &At<'_>, message: &pb::StringMatcher) -> Result<StringMatcher, Rejection> {
    use pb::string_matcher::MatchPattern as P;
    let pb::StringMatcher {
        ignore_case,
        match_pattern,
    } = message;
    let pattern = match at.required("match_pattern", match_pattern)? {
        P::Exact(text) => Pattern::Exact(text.clone()),
        P::Prefix(text) => Pattern::Prefix(super::some_text(at, "prefix", text)?),
        P::Suffix(text) => Pattern::Suffix(super::some_text(at, "suffix", text)?),
        P::Contains(text) => Pattern::Contains(super::some_text(at, "contains", text)?),
        P::SafeRegex(message) => {
            let pb::RegexMatcher { regex, engine_type } = message;
            silent!("the engine is always RE2's syntax"; engine_type);
            Pattern::Regex(super::whole(&at.field("safe_regex"), regex)?)
        }
        P::Custom(_) => return Err(at.field("custom").reject("not supported")),
    };
    Ok(StringMatcher {
        ignore_case: *ignore_case && !matches!(pattern, Pattern::Regex(_)),
        pattern,
    })
}
