//! Queries as clients send them, decided and answered.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use leno_dns::{Answer, NameTable, Transport, server_failure};
use leno_proto::istio::networking::nds::v1 as nds;
use proptest::prelude::*;

const REVIEWS: &str = "reviews.default.svc.cluster.local";

fn table() -> NameTable {
    let info = |ips: &[&str], shortname: &str, namespace: &str| nds::name_table::NameInfo {
        ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        shortname: shortname.into(),
        namespace: namespace.into(),
        ..Default::default()
    };
    let many: Vec<String> = (0..100).map(|n| format!("10.0.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let hosts = [
        (
            REVIEWS,
            info(&["240.240.0.7", "fd00:6c65:6e6f::7"], "reviews", "default"),
        ),
        ("Ratings.Prod.svc.cluster.local.", info(&["240.240.0.8"], "", "")),
        ("many.default.svc.cluster.local", info(&many, "many", "default")),
        (
            "api.example.com",
            info(&["240.240.0.9", "not an address"], "", ""),
        ),
        ("*.wild.example", info(&["240.240.0.10"], "", "")),
    ];
    NameTable::in_namespace(
        &nds::NameTable {
            table: hosts
                .into_iter()
                .map(|(host, info)| (host.to_owned(), info))
                .collect(),
            name_info: None,
        },
        "default",
    )
}

fn query(name: &str, query_type: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(
        Name::from_ascii(format!("{name}.")).unwrap(),
        query_type,
    ));
    message
}

fn decide(query: &Message, transport: Transport) -> Answer {
    table().answer(&query.to_vec().unwrap(), transport)
}

fn ours(query: &Message) -> Message {
    match decide(query, Transport::Udp) {
        Answer::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let ip = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    };
    message
        .answers
        .iter()
        .filter_map(|record| ip(&record.data))
        .collect()
}

#[test]
fn a_service_has_all_its_names() {
    for name in [
        "reviews",
        "reviews.default",
        "reviews.default.svc",
        REVIEWS,
        "REVIEWS.Default.SVC.cluster.local",
    ] {
        let answer = ours(&query(name, RecordType::A));
        assert_eq!(
            addresses(&answer),
            ["240.240.0.7".parse::<IpAddr>().unwrap()],
            "{name}"
        );
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.iter().all(|record| record.ttl == 30));
    }
    for name in [
        "ratings.prod",
        "ratings.prod.svc",
        "ratings.prod.svc.cluster.local",
    ] {
        assert_eq!(addresses(&ours(&query(name, RecordType::A))).len(), 1, "{name}");
    }
    // Another namespace's service is not to be had by its bare name.
    assert_eq!(
        decide(&query("ratings", RecordType::A), Transport::Udp),
        Answer::Forward
    );
}

#[test]
fn the_header_and_the_question_come_back_as_they_were() {
    let asked = query("ReViEwS.default.svc.cluster.local", RecordType::A);
    let answer = ours(&asked);
    assert_eq!(
        (answer.metadata.id, answer.metadata.message_type),
        (4711, MessageType::Response)
    );
    assert!(answer.metadata.recursion_desired && answer.metadata.recursion_available);
    // Clients that mix the case of their questions compare it.
    assert_eq!(
        answer.queries[0].name().to_ascii(),
        "ReViEwS.default.svc.cluster.local."
    );
    assert_eq!(answer.edns, None);
}

#[test]
fn each_type_gets_its_own_addresses_and_any_gets_all() {
    let of = |query_type| addresses(&ours(&query(REVIEWS, query_type)));
    assert_eq!(
        of(RecordType::AAAA),
        ["fd00:6c65:6e6f::7".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(of(RecordType::ANY).len(), 2);
}

#[test]
fn other_types_of_our_names_are_empty_and_not_forwarded() {
    for (name, query_type) in [
        (REVIEWS, RecordType::MX),
        (REVIEWS, RecordType::HTTPS),
        ("ratings.prod.svc.cluster.local", RecordType::AAAA),
        ("api.example.com", RecordType::AAAA),
        ("default.svc.cluster.local", RecordType::A),
        ("cluster.local", RecordType::SOA),
    ] {
        let answer = ours(&query(name, query_type));
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NoError,
            "{name} {query_type}"
        );
        assert!(answer.answers.is_empty());
        assert!(
            answer
                .authorities
                .iter()
                .any(|record| record.record_type() == RecordType::SOA)
        );
    }
}

#[test]
fn what_the_search_list_makes_of_other_names_is_denied_at_once() {
    for name in [
        "example.com.default.svc.cluster.local",
        "example.com.svc.cluster.local",
        "example.com.cluster.local",
        "reviews.default.svc.cluster.local.default.svc.cluster.local",
    ] {
        let answer = ours(&query(name, RecordType::A));
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
        assert_eq!(answer.authorities[0].name.to_ascii(), "cluster.local.");
    }
}

#[test]
fn others_names_are_forwarded() {
    for name in [
        "example.com",
        "www.api.example.com",
        "mycluster.local",
        "wild.example",
        "com",
    ] {
        assert_eq!(
            decide(&query(name, RecordType::A), Transport::Udp),
            Answer::Forward,
            "{name}"
        );
    }
    let no_zone = table().with_zones([]);
    let absent = query("kube-dns.kube-system.svc.cluster.local", RecordType::A)
        .to_vec()
        .unwrap();
    assert_eq!(no_zone.answer(&absent, Transport::Udp), Answer::Forward);
}

#[test]
fn a_wildcard_covers_what_is_below_it() {
    for name in ["a.wild.example", "a.b.wild.example"] {
        assert_eq!(addresses(&ours(&query(name, RecordType::A))).len(), 1, "{name}");
    }
}

#[test]
fn before_the_table_comes_nothing_is_denied() {
    let bytes = query(REVIEWS, RecordType::A).to_vec().unwrap();
    let Answer::Reply(answer) = NameTable::default().answer(&bytes, Transport::Udp) else {
        panic!()
    };
    assert_eq!(
        Message::from_vec(&answer).unwrap().metadata.response_code,
        ResponseCode::ServFail
    );
}

#[test]
fn a_long_answer_over_udp_is_cut_and_says_so() {
    let mut asked = query("many.default.svc.cluster.local", RecordType::A);
    let short = ours(&asked);
    assert!(short.metadata.truncation && !short.answers.is_empty());
    assert!(short.to_vec().unwrap().len() <= 512);

    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_version(0);
    asked.set_edns(edns);
    let long = ours(&asked);
    assert!(!long.metadata.truncation);
    assert_eq!(long.answers.len(), 100);
    assert_eq!(
        long.edns.map(|edns| (edns.version(), edns.max_payload())),
        Some((0, 1232))
    );

    let Answer::Reply(tcp) = decide(&query("many", RecordType::A), Transport::Tcp) else {
        panic!()
    };
    assert_eq!(Message::from_vec(&tcp).unwrap().answers.len(), 100);
}

#[test]
fn another_version_of_edns_is_refused() {
    let mut asked = query(REVIEWS, RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    asked.set_edns(edns);
    let answer = ours(&asked);
    assert!(answer.answers.is_empty());
    assert_eq!(answer.edns.map(|edns| edns.rcode_high()), Some(1));
}

#[test]
fn addresses_are_spread_by_the_clients_id() {
    let first = |id| {
        let mut asked = query("many", RecordType::A);
        asked.metadata.id = id;
        addresses(&ours(&asked))[0]
    };
    assert_ne!(first(1), first(2));
}

#[test]
fn what_is_malformed_gets_formerr_and_what_is_no_query_gets_nothing() {
    let mut two = query(REVIEWS, RecordType::A);
    two.add_query(Query::query(Name::root(), RecordType::A));
    assert_eq!(ours(&two).metadata.response_code, ResponseCode::FormErr);

    let bytes = query(REVIEWS, RecordType::A).to_vec().unwrap();
    let Answer::Reply(cut) = table().answer(&bytes[..20], Transport::Udp) else {
        panic!()
    };
    assert_eq!(
        Message::from_vec(&cut).unwrap().metadata.response_code,
        ResponseCode::FormErr
    );

    assert_eq!(table().answer(&bytes[..11], Transport::Udp), Answer::Drop);
    let mut response = query(REVIEWS, RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(decide(&response, Transport::Udp), Answer::Drop);
}

#[test]
fn an_unanswered_query_fails_with_its_own_id_and_question() {
    let bytes = query("example.com", RecordType::A).to_vec().unwrap();
    let failure = Message::from_vec(&server_failure(&bytes).unwrap()).unwrap();
    assert_eq!(
        (failure.metadata.id, failure.metadata.response_code),
        (4711, ResponseCode::ServFail)
    );
    assert_eq!(failure.queries.len(), 1);
    assert_eq!(server_failure(&[0; 5]), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = table().answer(&bytes, Transport::Udp);
        let _ = server_failure(&bytes);
    }

    /// Nearly queries for our names: every answer is one to this query, and fits.
    #[test]
    fn damaged_queries_get_sound_answers(at in 0usize..80, value: u8, cut in 0usize..80, tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut asked = query("many.default.svc.cluster.local", RecordType::A);
        asked.set_edns(Edns::new());
        let mut bytes = asked.to_vec().unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 2));
        bytes.extend(tail);
        if let Answer::Reply(reply) = table().answer(&bytes, Transport::Udp) {
            let message = Message::from_vec(&reply).unwrap();
            prop_assert_eq!(message.metadata.message_type, MessageType::Response);
            prop_assert_eq!(&reply[..2], &bytes[..2]);
        }
    }
}
