//! The index finds what trying all policies would find, with little work; and what is told of a denial.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use super::*;
use crate::compile::access_log::NoValues;
use crate::compile::matcher::{HeaderMatcher, HeaderTest, Pattern, StringMatcher};
use crate::message::{Headers, Version};

fn text(pattern: Pattern) -> StringMatcher {
    StringMatcher {
        pattern,
        ignore_case: false,
    }
}

fn exact(value: &str) -> StringMatcher {
    text(Pattern::Exact(value.to_owned()))
}

fn identity(name: &str) -> Principal {
    Principal::Authenticated(Some(exact(name)))
}

fn of_namespace(namespace: &str) -> Principal {
    let regex = regex::bytes::Regex::new(&format!("^(?:.*/ns/{namespace}/.*)$")).unwrap();
    Principal::Authenticated(Some(text(Pattern::Regex(regex))))
}

fn policy(permission: Permission, principal: Principal) -> Policy {
    Policy {
        permissions: vec![Permission::And(vec![permission])],
        principals: vec![Principal::And(vec![principal])],
        condition: None,
    }
}

fn rules(action: Action, policies: Vec<Policy>) -> Rbac {
    let policies: Vec<(String, Policy)> = policies
        .into_iter()
        .enumerate()
        .map(|(i, policy)| (format!("rule-{i:04}"), policy))
        .collect();
    Rbac {
        action,
        index: Index::new(&policies),
        policies,
    }
}

/// A thousand services: one is named by identity, path or namespace, in turn.
fn thousand() -> Rbac {
    let each = (0..1000).map(|i| match i % 3 {
        0 => policy(Permission::Any, identity(&format!("spiffe://td/ns/a/sa/{i}"))),
        1 => policy(Permission::Path(exact(&format!("/{i}"))), Principal::Any),
        _ => policy(Permission::Any, of_namespace(&format!("ns-{i}"))),
    });
    rules(Action::Allow, each.collect())
}

struct Asking {
    head: RequestHead,
    uris: Vec<String>,
}

impl Asking {
    fn new(path: &'static str, uri: &str) -> Self {
        Self {
            head: RequestHead {
                method: "GET".into(),
                path: path.into(),
                authority: "a".into(),
                scheme: "http".into(),
                headers: Headers::default(),
                version: Version::Http11,
                upgrade: None,
            },
            uris: vec![uri.to_owned()],
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            request: Some(&self.head),
            ignores_parameters: false,
            remote: ([192, 0, 2, 1], 1).into(),
            peer: Peer {
                source: ([192, 0, 2, 1], 1000).into(),
                address: [192, 0, 2, 1].into(),
                destination: ([192, 0, 2, 2], 80).into(),
                server_name: None,
                tls: true,
                uris: &self.uris,
                names: &[],
                subject: "",
            },
            notes: None,
            values: &NoValues,
        }
    }
}

#[test]
fn of_a_thousand_rules_a_request_tries_the_few_that_name_it() {
    let rules = thousand();
    for (path, uri, found) in [
        ("/somewhere", "spiffe://td/ns/a/sa/300", Some("rule-0300")),
        ("/301?a=b", "spiffe://td/ns/b/sa/x", Some("rule-0301")),
        ("/somewhere", "spiffe://td/ns/ns-302/sa/x", Some("rule-0302")),
        ("/somewhere", "spiffe://td/ns/nowhere/sa/x", None),
    ] {
        let asking = Asking::new(path, uri);
        let caller = asking.caller();
        let tried = rules.candidates(&caller).count();
        assert!(tried <= 3, "{tried} of 1000 tried for {path} by {uri}");
        let verdict = rules.decide(&caller);
        assert_eq!(
            (verdict.allowed, verdict.policy),
            (found.is_some(), found),
            "{path} {uri}"
        );
    }
}

#[test]
fn the_first_by_name_is_found_whichever_way_it_is_indexed() {
    let mut policies: Vec<Policy> = (0..20)
        .map(|i| policy(Permission::Path(exact(&format!("/{i}"))), Principal::Any))
        .collect();
    policies.push(policy(Permission::Any, identity("spiffe://td/ns/a/sa/b")));
    policies.push(policy(Permission::Path(exact("/7")), Principal::Any));
    policies.insert(5, policy(Permission::Any, of_namespace("a")));
    let indexed = rules(Action::Deny, policies.clone());
    let plain = Rbac {
        index: None,
        ..indexed.clone()
    };
    assert!(indexed.index.is_some());
    for path in ["/1", "/7", "/19", "/none"] {
        for uri in ["spiffe://td/ns/a/sa/b", "spiffe://td/ns/c/sa/b", ""] {
            let asking = Asking::new(path, uri);
            assert_eq!(
                indexed.decide(&asking.caller()),
                plain.decide(&asking.caller()),
                "{path} {uri}"
            );
        }
    }
}

#[test]
fn a_rule_of_many_names_is_one_look() {
    let names: Vec<Principal> = (0..1000).map(|i| identity(&format!("spiffe://td/{i}"))).collect();
    let many = crate::compile::rbac::principals_or(names);
    let Principal::AuthenticatedAs(names) = &many else {
        panic!("{many:?}");
    };
    assert_eq!(names.len(), 1000);
    let asking = Asking::new("/", "spiffe://td/999");
    assert!(many.matches(&asking.caller()));
    let asking = Asking::new("/", "spiffe://td/1000");
    assert!(!many.matches(&asking.caller()));
}

#[test]
fn the_nearest_is_the_rule_that_misses_least_and_says_what() {
    let method = |value: &str| {
        Permission::Header(HeaderMatcher {
            name: ":method".into(),
            test: HeaderTest::Value(exact(value)),
            invert: false,
            missing_as_empty: false,
        })
    };
    let rules = rules(
        Action::Allow,
        vec![
            policy(
                Permission::And(vec![method("POST"), Permission::Path(exact("/a"))]),
                identity("spiffe://td/x"),
            ),
            policy(
                Permission::And(vec![
                    method("GET"),
                    Permission::Or(vec![Permission::Path(exact("/b")), Permission::Path(exact("/c"))]),
                ]),
                of_namespace("a"),
            ),
            policy(Permission::Not(Box::new(Permission::Any)), Principal::Any),
        ],
    );
    let asking = Asking::new("/secret", "spiffe://td/ns/a/sa/b");
    let rules = Rules::Policies(rules);
    let nearest = rules.nearest(&asking.caller()).unwrap();
    assert_eq!(nearest.policy, "rule-0001");
    assert_eq!(nearest.missed, ["path is \"/secret\", not /b or /c"]);
    let verdict = rules.decide(&asking.caller());
    let denial = Denial::new(&rules, &verdict, &asking.caller());
    assert_eq!(
        denial.to_string(),
        "no policy allows it; nearest is rule-0001: path is \"/secret\", not /b or /c"
    );
}

#[test]
fn a_denial_by_a_policy_names_it_and_nothing_else() {
    let rules = Rules::Policies(rules(
        Action::Deny,
        vec![policy(Permission::Any, of_namespace("a"))],
    ));
    let asking = Asking::new("/", "spiffe://td/ns/a/sa/b");
    let verdict = rules.decide(&asking.caller());
    let denial = Denial::new(&rules, &verdict, &asking.caller());
    assert_eq!(denial.to_string(), "denied by rule-0000");
    assert_eq!(denial.nearest, None);
}
