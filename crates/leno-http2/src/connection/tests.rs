//! Two connections that talk to each other, and one that is talked to by somebody with bad intentions.

mod hostile;
mod windows;

use bytes::Bytes;

use super::*;
use crate::section::Pseudo;
use crate::settings::Limits;
use std::io::IoSlice;

/// A head as text.
#[derive(Debug, Default, PartialEq)]
struct Text(Vec<(String, String)>);

impl Section for Text {
    fn pseudo(&mut self, which: Pseudo, value: &[u8]) {
        self.0
            .push((format!("{which:?}"), String::from_utf8_lossy(value).into()));
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(name), text(value)));
    }
}

impl Text {
    fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        fields.find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

type Side = Connection<Text, ()>;

/// An event that outlives its input.
#[derive(Debug, PartialEq)]
enum Saw {
    Head(Key, Text, bool),
    TooLarge(Key),
    Data(Key, Vec<u8>, bool),
    Trailers(Key, Text),
    Reset(Key, Reset),
    Writable(Option<Key>),
    GoAway(ErrorCode),
}

fn options() -> Options {
    Options {
        max_concurrent_streams: 100,
        stream_window: 65_535,
        connection_window: 65_535,
        max_header_bytes: 60 * 1024,
        max_headers: 100,
        extended_connect: false,
        limits: Limits::default(),
    }
}

/// Everything that waits to be written.
fn written(side: &mut Side) -> Vec<u8> {
    let mut all = Vec::new();
    while side.unwritten() > 0 {
        let output = side.output();
        let mut slices = [IoSlice::new(&[]); 8];
        let count = output.slices(&mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
        all.extend_from_slice(&bytes);
        output.advance(bytes.len());
    }
    all
}

fn feed(side: &mut Side, mut input: &[u8]) -> Result<Vec<Saw>, ConnectionError> {
    let mut saw = Vec::new();
    while let Some(event) = side.receive(&mut input, 0)? {
        saw.push(match event {
            Event::Head { key, head, end } => Saw::Head(key, head, end),
            Event::TooLarge { key } => Saw::TooLarge(key),
            Event::Data { key, data, end } => Saw::Data(key, data.to_vec(), end),
            Event::Trailers { key, head } => Saw::Trailers(key, head),
            Event::Reset { key, why } => Saw::Reset(key, why),
            Event::Writable(key) => Saw::Writable(key),
            Event::GoAway { code } => Saw::GoAway(code),
        });
    }
    assert!(input.is_empty(), "{} bytes are left", input.len());
    Ok(saw)
}

/// A client and a server that know each other's settings.
struct Pair {
    client: Side,
    server: Side,
}

impl Pair {
    fn new(client: Options, server: Options) -> Self {
        let mut pair = Self {
            client: Side::client(client),
            server: Side::server(server),
        };
        pair.settle();
        pair
    }

    /// What the client has to say arrives.
    fn at_server(&mut self) -> Vec<Saw> {
        let bytes = written(&mut self.client);
        feed(&mut self.server, &bytes).unwrap()
    }

    fn at_client(&mut self) -> Vec<Saw> {
        let bytes = written(&mut self.server);
        feed(&mut self.client, &bytes).unwrap()
    }

    /// Both say all they have to say.
    fn settle(&mut self) -> (Vec<Saw>, Vec<Saw>) {
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        while self.client.unwritten() + self.server.unwritten() > 0 {
            at_server.extend(self.at_server());
            at_client.extend(self.at_client());
        }
        (at_server, at_client)
    }

    fn get(&mut self, path: &str, end: bool) -> Key {
        self.client.open(end, 0, |fields| request(fields, path)).unwrap()
    }

    /// A request, and the server's key of it.
    fn request(&mut self, end: bool) -> (Key, Key) {
        let key = self.get("/", end);
        let saw = self.at_server();
        match saw.last() {
            Some(Saw::Head(at_server, ..)) => (key, *at_server),
            other => panic!("no request but {other:?}"),
        }
    }
}

fn request(fields: &mut Fields<'_>, path: &str) {
    fields.pseudo(":method", b"GET");
    fields.pseudo(":scheme", b"http");
    fields.pseudo(":authority", b"a.b");
    fields.pseudo(":path", path.as_bytes());
}

fn ok(fields: &mut Fields<'_>) {
    fields.pseudo(":status", b"200");
}

#[test]
fn a_request_and_its_answer_with_bodies_and_trailers() {
    let mut pair = Pair::new(options(), options());
    let key = pair.get("/a?b", false);
    pair.client
        .data(key, &mut Bytes::from("question"), false, usize::MAX)
        .unwrap();
    pair.client
        .trailers(key, |fields| fields.field(b"x-sum", b"1"))
        .unwrap();
    let saw = pair.at_server();
    let [
        Saw::Head(at, head, false),
        Saw::Data(_, data, false),
        Saw::Trailers(_, trailers),
    ] = &saw[..]
    else {
        panic!("{saw:?}")
    };
    assert_eq!(head.get("Path"), Some("/a?b"));
    assert_eq!(data, b"question");
    assert_eq!(trailers.get("x-sum"), Some("1"));
    pair.server
        .interim(*at, |fields| fields.pseudo(":status", b"103"))
        .unwrap();
    pair.server.respond(*at, false, ok).unwrap();
    pair.server
        .data(*at, &mut Bytes::from("answer"), true, usize::MAX)
        .unwrap();
    pair.server.release(*at, 8);
    let saw = pair.at_client();
    // The interim response says nothing to who did not ask for it.
    assert!(matches!(&saw[0], Saw::Head(k, head, false) if *k == key && head.get("Status") == Some("200")));
    assert_eq!(saw[1], Saw::Data(key, b"answer".to_vec(), true));
    assert_eq!((pair.client.active(), pair.server.active()), (0, 0));
    pair.client.close(key);
    pair.server.close(*at);
    assert!(pair.client.is_empty() && pair.server.is_empty());
}

#[test]
fn bytes_may_come_in_any_pieces() {
    let mut pair = Pair::new(options(), options());
    let key = pair.get("/", false);
    let mut body = Bytes::from(vec![7; 40_000]);
    assert_eq!(pair.client.data(key, &mut body, true, usize::MAX), Ok(true));
    let bytes = written(&mut pair.client);
    let mut buffer = Vec::new();
    let mut received = 0;
    for byte in bytes {
        buffer.push(byte);
        let mut input = &buffer[..];
        while let Some(event) = pair.server.receive(&mut input, 0).unwrap() {
            if let Event::Data { data, .. } = event {
                received += data.len();
            }
        }
        let left = input.len();
        buffer.drain(..buffer.len() - left);
    }
    assert_eq!((received, buffer.len()), (40_000, 0));
}

#[test]
fn a_head_of_many_frames_is_one_head() {
    let mut pair = Pair::new(options(), options());
    let value = "v".repeat(50_000);
    let opened = pair.client.open(true, 0, |fields| {
        request(fields, "/");
        fields.field(b"x-long", value.as_bytes());
    });
    opened.unwrap();
    let saw = pair.at_server();
    assert!(matches!(&saw[..], [Saw::Head(_, head, true)] if head.get("x-long") == Some(&value)));
}

#[test]
fn a_head_over_the_limit_can_be_answered() {
    let mut pair = Pair::new(options(), options());
    let key = pair
        .client
        .open(true, 0, |fields| {
            request(fields, "/");
            for n in 0..200 {
                fields.field(format!("x-{n}").as_bytes(), b"v");
            }
        })
        .unwrap();
    let saw = pair.at_server();
    let [Saw::TooLarge(at)] = saw[..] else {
        panic!("{saw:?}")
    };
    pair.server
        .respond(at, true, |fields| fields.pseudo(":status", b"431"))
        .unwrap();
    pair.server.close(at);
    let saw = pair.at_client();
    assert!(matches!(&saw[..], [Saw::Head(k, head, true)] if *k == key && head.get("Status") == Some("431")));
    // The tables still agree.
    let (_, at) = pair.request(true);
    assert_eq!(at.id, 3);
}

#[test]
fn what_cannot_be_sent_leaves_the_connection_as_it_was() {
    let mut pair = Pair::new(options(), options());
    for (name, value) in [("x\n", "a"), ("x", "a\r\nb: c"), ("X-Upper", "a"), ("", "a")] {
        let opened = pair.client.open(true, 0, |fields| {
            request(fields, "/");
            fields.field(b"x-kept", b"1");
            fields.field(b"x-kept", b"1");
            fields.field(name.as_bytes(), value.as_bytes());
        });
        assert_eq!(opened, Err(SendError::Field));
    }
    assert_eq!(pair.client.active(), 0);
    let (key, at) = pair.request(true);
    assert_eq!((key.id, at.id), (1, 1));
}

#[test]
fn streams_over_the_limit_wait_at_the_client_and_are_refused_by_the_server() {
    let mut pair = Pair::new(
        options(),
        Options {
            max_concurrent_streams: 2,
            ..options()
        },
    );
    let first = pair.get("/", true);
    pair.get("/", true);
    assert!(!pair.client.has_room());
    let third = pair.client.open(true, 0, |fields| request(fields, "/"));
    assert_eq!(third, Err(SendError::Refused(Refused)));
    pair.client.peer.max_concurrent_streams = 100;
    let third = pair.get("/", true);
    pair.at_server();
    let saw = pair.at_client();
    let refused = Reset::ByPeer(ErrorCode::REFUSED_STREAM);
    assert_eq!(saw, [Saw::Reset(third, refused)]);
    pair.client.close(first);
    assert!(matches!(
        pair.at_server()[..],
        [Saw::Reset(_, Reset::ByPeer(ErrorCode::CANCEL))]
    ));
}

#[test]
fn a_drain_lets_what_is_on_its_way_arrive_and_refuses_what_comes_later() {
    let mut pair = Pair::new(options(), options());
    let (first, at_server) = pair.request(true);
    // Sent before the client has heard of the drain.
    let second = pair.get("/second", true);
    pair.server.shut_down();
    let saw = pair.at_server();
    let [Saw::Head(second_at_server, ..)] = saw[..] else {
        panic!("{saw:?}")
    };
    let saw = pair.at_client();
    assert_eq!(saw, [Saw::GoAway(ErrorCode::NO_ERROR)]);
    assert!(!pair.client.takes_streams());
    pair.settle();
    for at in [at_server, second_at_server] {
        pair.server.respond(at, true, ok).unwrap();
        pair.server.close(at);
    }
    assert!(pair.server.is_over());
    let saw = pair.at_client();
    assert_eq!(saw.iter().filter(|s| matches!(s, Saw::Head(..))).count(), 2);
    pair.client.close(first);
    pair.client.close(second);
    assert!(pair.client.is_over());
}

#[test]
fn streams_above_a_goaway_were_not_looked_at() {
    let mut pair = Pair::new(options(), options());
    let (_, at_server) = pair.request(true);
    let lost = pair.get("/", true);
    pair.server.phase = Phase::Closing { last: at_server.id };
    pair.server.go_away(at_server.id, ErrorCode::NO_ERROR, "");
    assert_eq!(pair.at_server(), []);
    let saw = pair.at_client();
    assert_eq!(
        saw,
        [
            Saw::GoAway(ErrorCode::NO_ERROR),
            Saw::Reset(lost, Reset::Unprocessed)
        ]
    );
}

#[test]
fn the_answer_to_head_has_a_length_but_no_body() {
    let mut pair = Pair::new(options(), options());
    let opened = pair.client.open(true, 0, |fields| {
        fields.pseudo(":method", b"HEAD");
        fields.pseudo(":scheme", b"http");
        fields.pseudo(":authority", b"a.b");
        fields.pseudo(":path", b"/");
    });
    let key = opened.unwrap();
    let saw = pair.at_server();
    let [Saw::Head(at, ..)] = saw[..] else {
        panic!("{saw:?}")
    };
    let length = |fields: &mut Fields<'_>| {
        ok(fields);
        fields.field(b"content-length", b"5");
    };
    pair.server.respond(at, true, length).unwrap();
    assert!(matches!(&pair.at_client()[..], [Saw::Head(k, _, true)] if *k == key));
}

#[test]
fn an_answer_before_the_end_of_the_request_ends_it_without_an_error() {
    let mut pair = Pair::new(options(), options());
    let (key, at) = pair.request(false);
    pair.server.respond(at, true, ok).unwrap();
    pair.server.close(at);
    let saw = pair.at_client();
    let reset = Reset::ByPeer(ErrorCode::NO_ERROR);
    assert!(matches!(saw[..], [Saw::Head(..), Saw::Reset(k, r)] if k == key && r == reset));
    // What the client had sent meanwhile is nobody's error, and its window comes back.
    let mut server = pair.server;
    let frame = frame::Head {
        length: 5,
        kind: kind::DATA,
        flags: 0,
        stream: key.id,
    };
    assert_eq!(
        feed(&mut server, &[&frame.bytes()[..], b"hello"].concat()),
        Ok(vec![])
    );
    assert_eq!(server.unannounced, 5);
}
