//! The inspector on hellos that rustls really sends.

use leno_tls::{ClientTls, MAX_CLIENT_HELLO, Peek, ServerCheck, Versions, peek};
use proptest::prelude::*;
use rustls::ClientConnection;

use crate::pki::{End, TestCa, mesh_client};

fn hello(groups: Vec<String>, sni: Option<&str>, alpn: &[&str]) -> Vec<u8> {
    let mut end = End::in_mesh(&TestCa::new("mesh"), "a");
    let client = end.client(ClientTls {
        server: ServerCheck::Unverified,
        sni: sni.map(str::to_owned),
        alpn: alpn.iter().map(|p| (*p).to_owned()).collect(),
        versions: Versions::TLS12_AND_13,
        groups,
        ..mesh_client("b")
    });
    let name = client.server_name(None, [127, 0, 0, 1].into());
    let mut connection = ClientConnection::new(client.config().clone(), name).unwrap();
    let mut wire = Vec::new();
    connection.write_tls(&mut wire).unwrap();
    wire
}

fn expected(sni: Option<&str>, alpn: &[&str]) -> Peek {
    let alpn = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Peek::Tls {
        sni: sni.map(str::to_owned),
        alpn,
    }
}

/// The same hello cut into records of `size` bytes.
fn fragmented(wire: &[u8], size: usize) -> Vec<u8> {
    let records = wire[5..].chunks(size);
    records
        .flat_map(|chunk| {
            let length = u16::try_from(chunk.len()).unwrap().to_be_bytes();
            [&[22, 3, 1], &length[..], chunk].concat()
        })
        .collect()
}

#[test]
fn a_hybrid_hello_is_larger_than_a_segment_and_read_once_it_is_whole() {
    let alpn = ["istio-h2", "istio"];
    let wire = hello(vec![], Some("reviews.default"), &alpn);
    assert!(
        wire.len() > 1448,
        "{} bytes: this test wants more than one segment",
        wire.len()
    );
    for end in 0..wire.len() {
        assert_eq!(peek(&wire[..end]), Peek::NeedMore, "after {end} bytes");
    }
    assert_eq!(peek(&wire), expected(Some("reviews.default"), &alpn));
    let with_more = [&wire[..], b"early data"].concat();
    assert_eq!(peek(&with_more), expected(Some("reviews.default"), &alpn));
}

#[test]
fn a_hello_in_many_records_is_joined() {
    let wire = hello(vec!["X25519".into()], Some("A.Example"), &["h2"]);
    for size in [1, 3, 100] {
        let cut = fragmented(&wire, size);
        assert_eq!(
            peek(&cut),
            expected(Some("a.example"), &["h2"]),
            "records of {size}"
        );
        assert_eq!(peek(&cut[..cut.len() - 1]), Peek::NeedMore);
    }
}

#[test]
fn a_hello_without_names_is_tls_all_the_same() {
    assert_eq!(peek(&hello(vec![], None, &[])), expected(None, &[]));
}

#[test]
fn what_is_not_tls_is_known_at_its_first_wrong_byte() {
    assert_eq!(peek(b""), Peek::NeedMore);
    for prefix in [
        &b"G"[..],
        b"\x16\x02",
        b"\x16\x03\x09",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        // Another handshake message, and a hello that claims to be a megabyte.
        b"\x16\x03\x01\x02\x00\x02",
        b"\x16\x03\x01\x02\x00\x01\x10\x00\x00",
    ] {
        assert_eq!(peek(prefix), Peek::NotTls, "{prefix:?}");
    }
}

#[test]
fn a_hello_that_never_ends_is_given_up() {
    let endless: Vec<u8> = std::iter::repeat_n([22, 3, 1, 0, 1, 1], MAX_CLIENT_HELLO)
        .flatten()
        .collect();
    assert_eq!(peek(&endless), Peek::NotTls);
}

proptest! {
    #[test]
    fn any_bytes_are_looked_at_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = peek(&bytes);
    }

    #[test]
    fn a_damaged_hello_never_panics_and_never_asks_for_more(
        at in 0usize..1000, value in any::<u8>(),
    ) {
        let mut wire = hello(vec!["X25519".into()], Some("a.example"), &["h2", "http/1.1"]);
        let at = at % wire.len();
        // A damaged length may ask for more; a damaged body may not.
        prop_assume!(at >= 9);
        wire[at] = value;
        prop_assert_ne!(peek(&wire), Peek::NeedMore);
    }
}
