//! What an authorizer's answer means, by its parts.

use super::answer::{Edit, How};
use super::mutable::{Mutable, Permit};
use super::query;
use crate::compile::at::compiling;
use crate::compile::pb::mutation_rules as pb;
use crate::compile::{NoFiles, Warnings};
use crate::message::{Headers, RequestHead, Version};
use bytes::Bytes;
use leno_proto::google::protobuf::BoolValue;

fn mutable(rules: Option<pb::HeaderMutationRules>) -> Mutable {
    let compiled = compiling(&NoFiles, &mut Warnings::default(), |at| {
        Mutable::compile(at, rules.as_ref(), false)
    });
    compiled.unwrap()
}

#[test]
fn without_rules_all_but_the_framing_may_be_set_and_no_part_of_the_head_be_removed() {
    let mutable = mutable(None);
    assert_eq!(mutable.set(b"x-user", b"me"), Permit::Yes);
    assert_eq!(mutable.set(b":path", b"/other"), Permit::Yes);
    assert_eq!(mutable.set(b"content-length", b"3"), Permit::No);
    assert_eq!(mutable.set(b"x-user", b"a\r\nx-admin: 1"), Permit::Never);
    assert_eq!(mutable.set(b"x user", b"a"), Permit::Never);
    assert_eq!(mutable.set(b":path", b"no path"), Permit::Never);
    assert_eq!(mutable.remove(b"x-user"), Permit::Yes);
    assert_eq!(mutable.remove(b"host"), Permit::No);
    assert_eq!(mutable.remove(b":path"), Permit::No);
}

#[test]
fn rules_keep_routing_and_envoys_own_headers_and_may_make_it_an_error() {
    let by_default = mutable(Some(pb::HeaderMutationRules::default()));
    assert_eq!(by_default.set(b"x-user", b"me"), Permit::Yes);
    assert_eq!(by_default.set(b":authority", b"b"), Permit::No);
    assert_eq!(by_default.set(b"x-envoy-retry-on", b"5xx"), Permit::No);
    let strict = mutable(Some(pb::HeaderMutationRules {
        disallow_all: Some(BoolValue { value: true }),
        disallow_is_error: Some(BoolValue { value: true }),
        ..Default::default()
    }));
    assert_eq!(strict.set(b"x-user", b"me"), Permit::Never);
    assert_eq!(strict.remove(b"x-user"), Permit::Never);
}

#[test]
fn edits_of_headers_do_as_their_action_says() {
    let mut headers = Headers::default();
    headers.append("a", "1");
    let edit = |name: &str, value: &str, how| Edit {
        name: name.into(),
        value: value.into(),
        how,
    };
    for edit in [
        edit("a", "2", How::AddIfAbsent),
        edit("b", "1", How::AddIfAbsent),
        edit("c", "1", How::OverwriteIfExists),
        edit("d", "1", How::Lengthen),
        edit("a", "2", How::Lengthen),
        edit("b", "2", How::Add),
        edit("e", "1", How::Set),
    ] {
        edit.apply(&mut headers);
    }
    let told: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
        .collect();
    assert_eq!(told, ["a=1,2", "b=1", "b=2", "e=1"]);
}

#[test]
fn a_query_is_written_anew_in_the_order_of_its_names() {
    let path = |path: &'static str, set: &[(&str, &str)], remove: &[&str]| {
        let mut head = RequestHead {
            version: Version::Http11,
            method: Bytes::from_static(b"GET"),
            scheme: Bytes::from_static(b"http"),
            authority: Bytes::from_static(b"a"),
            path: Bytes::from_static(path.as_bytes()),
            headers: Headers::default(),
            upgrade: None,
        };
        let set: Vec<(String, String)> = set.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        let remove: Vec<String> = remove.iter().map(|name| (*name).to_owned()).collect();
        query::change(&mut head, &set, &remove);
        String::from_utf8(head.path.to_vec()).unwrap()
    };
    assert_eq!(path("/x?b=1&a=2&b=3", &[("c", "4")], &[]), "/x?a=2&b=1&b=3&c=4");
    assert_eq!(path("/x?b=1&b=3", &[("b", "4")], &[]), "/x?b=4");
    assert_eq!(path("/x?b=1", &[], &["b"]), "/x");
    assert_eq!(path("/x", &[("a", "1")], &[]), "/x?a=1");
    assert_eq!(path("/x?b", &[], &[]), "/x?b");
}
