//! Any request head over a table that uses every kind of match and edit.
#![no_main]

use std::sync::LazyLock;

use leno_engine::decide::timeout::Heard;
use leno_engine::compile::{NoFiles, Warnings};
use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::route::{RouteTable, compile};
use leno_engine::decide::route::{Decision, RouteContext};
use leno_engine::message::{Headers, ResponseHead, Version};
use leno_fuzz::head;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use libfuzzer_sys::fuzz_target;

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let text = include_str!("route_decision.yaml");
    let message: RouteConfiguration = leno_proto_text::Schema::load()
        .from_text(text)
        .expect("the table reads");
    compile(&message, &NoFiles, &mut Warnings::default()).expect("the table compiles")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, bytes)) = bytes.split_first() else {
        return;
    };
    let mut head = head::from_bytes(bytes);
    let context = RouteContext::new(u64::from(*seed) * 4_099, seed & 1 == 1);
    let decision = TABLE.route(&head, &context);
    let Decision::Forward(forwarding) = &decision else {
        return;
    };
    let before = head.clone();
    forwarding.timeouts(&head, Heard::Yes);
    forwarding.hash(&head, None, context.random);
    forwarding.edit_request(&mut head, &NoValues, true);
    let mut response = ResponseHead {
        version: Version::Http11,
        status: 200,
        headers: Headers::default(),
    };
    forwarding.edit_response(&before, &mut response, &NoValues);
    assert_eq!(
        TABLE.route(&before, &context),
        decision,
        "the same request, the same answer"
    );
});
