use super::*;

#[derive(Debug, Default, PartialEq)]
struct Fields(Vec<(Vec<u8>, Vec<u8>)>);

impl Section for Fields {
    fn pseudo(&mut self, which: Pseudo, value: &[u8]) {
        self.0.push((format!("{which:?}").into_bytes(), value.to_vec()));
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_vec(), value.to_vec()));
    }
}

fn reader(fields: &[(&str, &str)]) -> Reader<Fields> {
    let mut reader = Reader::new(1000, 20);
    for (name, value) in fields {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        reader.field(Kind::of(name, value), name, value);
    }
    reader
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a.b:80"),
    (":path", "/a?b=c"),
];

fn request(more: &[(&str, &str)]) -> Result<Read<Fields>, StreamFault> {
    reader(&[&GET, more].concat()).request(true)
}

#[test]
fn a_request_has_what_it_needs_and_nothing_of_http1() {
    assert!(request(&[]).is_ok());
    for more in [
        ("connection", "close"),
        ("proxy-connection", "close"),
        ("keep-alive", "1"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("Upper", "a"),
        ("a b", "a"),
        ("a:", "a"),
        ("", "a"),
        ("a", "b\r\nc: d"),
        ("a", "b\0"),
        ("a", "b\u{7f}"),
        (":method", "GET"),
        (":status", "200"),
        (":unknown", "a"),
        ("content-length", "+1"),
        ("content-length", ""),
        ("content-length", "1, 1"),
        ("content-length", "99999999999999999999"),
    ] {
        assert!(request(&[more]).is_err(), "{more:?}");
    }
    assert!(request(&[("te", "trailers"), ("a", "b\tc \u{e4}")]).is_ok());
}

#[test]
fn pseudo_headers_come_first_and_are_complete() {
    for missing in [0, 1, 3] {
        let mut fields = GET.to_vec();
        fields.remove(missing);
        assert!(
            reader(&fields).request(true).is_err(),
            "without {:?}",
            GET[missing]
        );
    }
    let mut late = GET.to_vec();
    late.insert(3, ("a", "b"));
    assert!(reader(&late).request(true).is_err());
    for (place, value) in [
        (0, ""),
        (0, "G T"),
        (1, ""),
        (1, "1"),
        (2, ""),
        (2, "user@host"),
        (2, "a/b"),
        (3, ""),
        (3, "a"),
        (3, "/a b"),
        (3, "/a#b"),
        (3, "*"),
    ] {
        let mut fields = GET;
        fields[place].1 = value;
        assert!(reader(&fields).request(true).is_err(), "{:?}", fields[place]);
    }
}

#[test]
fn connect_has_an_authority_only_unless_it_is_extended() {
    let connect = [(":method", "CONNECT"), (":authority", "a:1")];
    assert!(reader(&connect).request(true).is_ok());
    let with = |more: &[(&'static str, &'static str)]| reader(&[&connect, more].concat()).request(true);
    assert!(with(&[(":scheme", "http"), (":path", "/")]).is_err());
    let extended = [(":scheme", "http"), (":path", "/"), (":protocol", "websocket")];
    assert!(with(&extended).is_ok());
    assert!(request(&[(":protocol", "websocket")]).is_err());
    let all = [&connect[..], &extended].concat();
    assert!(reader(&all).request(false).is_err());
}

#[test]
fn a_response_has_a_status_of_three_digits() {
    assert_eq!(reader(&[(":status", "204")]).response().unwrap().status, 204);
    for status in ["", "20", "2000", "abc", "-20", "099", "101"] {
        assert!(reader(&[(":status", status)]).response().is_err(), "{status}");
    }
    assert!(reader(&[("a", "b")]).response().is_err());
    assert!(reader(&[(":status", "200"), (":path", "/")]).response().is_err());
}

#[test]
fn trailers_have_no_pseudo_headers() {
    assert!(reader(&[("grpc-status", "0")]).trailers().is_ok());
    assert!(reader(&[(":status", "200")]).trailers().is_err());
}

#[test]
fn a_length_that_is_repeated_is_one_length() {
    let read = request(&[("content-length", "5"), ("content-length", "5")]).unwrap();
    assert_eq!(read.length, Some(5));
    let lengths = read.head.0.iter().filter(|(n, _)| n == b"content-length");
    assert_eq!(lengths.count(), 1);
    assert!(request(&[("content-length", "5"), ("content-length", "6")]).is_err());
}

#[test]
fn white_space_around_a_value_is_not_part_of_it() {
    let read = request(&[("a", " b\t")]).unwrap();
    assert_eq!(read.head.0.last().unwrap().1, b"b");
}

#[test]
fn what_is_over_a_limit_is_not_kept() {
    let mut bytes: Reader<Fields> = Reader::new(10, 100);
    let mut fields: Reader<Fields> = Reader::new(1000, 3);
    for _ in 0..100 {
        bytes.field(Kind::Plain, b"name", b"value");
        fields.field(Kind::Plain, b"name", b"value");
    }
    let read = bytes.request(true).unwrap();
    assert!(read.too_large && read.head.0.len() == 1);
    let read = fields.request(true).unwrap();
    assert!(read.too_large && read.head.0.len() == 3);
}

/// What is joined or dropped afterwards has been counted before: a small block may name a large field many times over.
#[test]
fn pieces_of_a_cookie_and_further_hosts_count_as_fields_and_as_bytes() {
    let value = [b'v'; 100];
    for name in [&b"cookie"[..], b"host"] {
        let mut fields: Reader<Fields> = Reader::new(1_000_000, 3);
        let mut bytes: Reader<Fields> = Reader::new(1000, 1_000_000);
        for _ in 0..100 {
            fields.field(Kind::of(name, &value), name, &value);
            bytes.field(Kind::of(name, &value), name, &value);
        }
        let read = fields.request(true).unwrap();
        assert!(read.too_large && read.head.0.len() == 3);
        let read = bytes.request(true).unwrap();
        assert!(read.too_large && read.head.0.len() < 10);
    }
}
