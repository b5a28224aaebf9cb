//! What an authorizer's answer means, by its parts.

use super::answer::{Answer, Edit, How, Outcome};
use super::mutable::{Mutable, Permit};
use super::query;
use crate::compile::access_log::NoValues;
use crate::compile::at::compiling;
use crate::compile::metadata::Value;
use crate::compile::pb::auth::check_response::HttpResponse;
use crate::compile::pb::{auth, core, mutation_rules as pb, protobuf, types};
use crate::compile::{NoFiles, Warnings};
use crate::decide::rbac::asked_by;
use crate::message::{Headers, RequestHead, Version};
use bytes::Bytes;
use leno_proto::google::protobuf::BoolValue;
use leno_proto::google::rpc::Status;
use prost::Message as _;

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

/// As OPA's Envoy plugin answers: its decision's id among the metadata, edits and removals of an allowed request.
#[test]
fn an_answer_of_opas_plugin_is_read_whole() {
    let header = |key: &str, value: &str| core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: key.into(),
            value: value.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let id = protobuf::Value {
        kind: Some(protobuf::value::Kind::StringValue("42".into())),
    };
    let metadata = protobuf::Struct {
        fields: [("decision_id".to_owned(), id)].into(),
    };
    let allowed = auth::CheckResponse {
        status: Some(Status::default()),
        dynamic_metadata: Some(metadata.clone()),
        http_response: Some(HttpResponse::OkResponse(auth::OkHttpResponse {
            headers: vec![header("X-User", "me")],
            headers_to_remove: vec!["x-token".into()],
            response_headers_to_add: vec![header("x-decided", "yes")],
            ..Default::default()
        })),
    };
    let answer = Answer::read(&allowed.encode_to_vec());
    assert!(matches!(answer.outcome, Outcome::Allowed), "{answer:?}");
    assert_eq!(answer.request[0].name, b"x-user");
    assert_eq!(
        (answer.request[0].how, answer.response[0].how),
        (How::Set, How::Add)
    );
    assert_eq!(answer.remove, ["x-token"]);
    assert_eq!(answer.metadata["decision_id"], Value::Text("42".into()));

    let denied = auth::CheckResponse {
        status: Some(Status {
            code: 7,
            ..Default::default()
        }),
        dynamic_metadata: Some(metadata),
        http_response: Some(HttpResponse::DeniedResponse(auth::DeniedHttpResponse {
            status: Some(types::HttpStatus { code: 401 }),
            headers: vec![header("x-why", "rule 3")],
            body: "no".into(),
        })),
    };
    let answer = Answer::read(&denied.encode_to_vec());
    let Outcome::Denied(reply) = answer.outcome else {
        panic!("{answer:?}");
    };
    assert_eq!((reply.status, reply.body.as_ref()), (Some(401), &b"no"[..]));
    assert_eq!(reply.headers[0].value, b"rule 3");
}

#[test]
fn what_is_no_answer_fails_and_allows_nothing() {
    let answer = Answer::read(b"\xff\xff");
    assert!(matches!(answer.outcome, Outcome::Failed { .. }), "{answer:?}");
    // A status that is none of HTTP's is not passed on.
    let denied = auth::CheckResponse {
        status: Some(Status {
            code: 7,
            ..Default::default()
        }),
        http_response: Some(HttpResponse::DeniedResponse(auth::DeniedHttpResponse {
            status: Some(types::HttpStatus { code: 100 }),
            ..Default::default()
        })),
        ..Default::default()
    };
    let Outcome::Denied(reply) = Answer::read(&denied.encode_to_vec()).outcome else {
        panic!("not denied");
    };
    assert_eq!(reply.status, None);
}

/// Every denial of Istio's form tells its provider and policy.
#[test]
fn the_name_of_a_rule_tells_who_is_asked() {
    let asked = asked_by("istio-ext-authz-my-opa-ns[foo]-policy[p]-rule[0]", &NoValues).unwrap();
    assert_eq!(
        (asked.provider.as_str(), asked.policy.as_str()),
        ("my-opa", "ns[foo]-policy[p]-rule[0]")
    );
    assert_eq!(asked_by("ns[foo]-policy[p]-rule[0]", &NoValues), None);
}
