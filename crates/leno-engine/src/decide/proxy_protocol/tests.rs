use proptest::prelude::*;

use super::*;
use crate::compile::proxy_protocol::{Introduction, TlvRule};

const ANY: ProxyProtocol = ProxyProtocol {
    optional: false,
    v1: true,
    v2: true,
    passed: TlvTypes::All,
    rules: Vec::new(),
};

const OPTIONAL: ProxyProtocol = ProxyProtocol {
    optional: true,
    v1: true,
    v2: true,
    passed: TlvTypes::All,
    rules: Vec::new(),
};

fn v4(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    })
}

/// Version 2 with this command, family and body.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, body].concat()
}

/// From 192.0.2.1:258 to 192.0.2.2:80.
const PAIR: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 0, 80];

fn header(bytes: &[u8]) -> Header {
    match ANY.read(bytes) {
        Ok(Beginning::Header(header)) => header,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_says_whose_connection_it_is() {
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 258 80\r\nGET / HTTP/1.1\r\n";
    let read = header(line);
    assert_eq!(read.addresses, v4("192.0.2.1:258", "192.0.2.2:80"));
    assert_eq!(&line[read.length..], b"GET / HTTP/1.1\r\n");
    let read = header(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
    assert_eq!(read.addresses, v4("[2001:db8::1]:1", "[2001:db8::2]:2"));
    assert_eq!(header(b"PROXY UNKNOWN whatever it says\r\n").addresses, None);
}

#[test]
fn a_line_that_is_wrong_is_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 258\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        &format!("PROXY UNKNOWN {}", "x".repeat(V1_MOST)),
    ] {
        assert_eq!(ANY.read(line.as_bytes()), Err(Malformed::Line), "{line:?}");
    }
}

#[test]
fn addresses_are_of_one_host() {
    for line in [
        "PROXY TCP4 0.0.0.0 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 224.0.0.1 1 2\r\n",
        "PROXY TCP4 255.255.255.255 192.0.2.2 1 2\r\n",
        "PROXY TCP6 2001:db8::1 ff02::1 1 2\r\n",
        "PROXY TCP6 :: 2001:db8::1 1 2\r\n",
    ] {
        assert_eq!(ANY.read(line.as_bytes()), Err(Malformed::NotUnicast), "{line:?}");
    }
}

#[test]
fn the_binary_form_says_the_same() {
    let bytes = [&v2(0x21, 0x11, &PAIR)[..], b"rest"].concat();
    let read = header(&bytes);
    assert_eq!(read.addresses, v4("192.0.2.1:258", "192.0.2.2:80"));
    assert_eq!(&bytes[read.length..], b"rest");
    // Made by the proxy itself: addresses, if there are any, mean nothing.
    let read = header(&v2(0x20, 0x11, &PAIR));
    assert_eq!((read.addresses, read.length), (None, V2_HEADER + PAIR.len()));
}

#[test]
fn a_binary_form_that_is_wrong_is_refused() {
    let wrong = |bytes: Vec<u8>| ANY.read(&bytes).unwrap_err();
    assert_eq!(wrong(v2(0x11, 0x11, &PAIR)), Malformed::Unknown, "version 1");
    assert_eq!(wrong(v2(0x22, 0x11, &PAIR)), Malformed::Unknown, "command");
    assert_eq!(wrong(v2(0x21, 0x31, &PAIR)), Malformed::Unknown, "unix socket");
    assert_eq!(wrong(v2(0x21, 0x11, &PAIR[1..])), Malformed::Short);
    assert_eq!(wrong(v2(0x21, 0x21, &PAIR)), Malformed::Short);
    for extension in [&[1][..], &[1, 0], &[1, 0, 1], &[1, 0, 1, 7, 2]] {
        let body = [&PAIR, extension].concat();
        assert_eq!(
            wrong(v2(0x21, 0x11, &body)),
            Malformed::Extension,
            "{extension:?}"
        );
    }
}

#[test]
fn extensions_are_kept_as_far_as_they_are_passed_on() {
    let body = [&PAIR, &[1, 0, 0][..], &[0xe0, 0, 2, 7, 8]].concat();
    let bytes = v2(0x21, 0x11, &body);
    let tlv = |kind, value: &[u8]| Tlv {
        kind,
        value: value.to_vec(),
    };
    assert_eq!(header(&bytes).tlvs, [tlv(1, &[]), tlv(0xe0, &[7, 8])]);
    let some = ProxyProtocol {
        passed: TlvTypes::Some(vec![0xe0]),
        ..ANY
    };
    let Ok(Beginning::Header(read)) = some.read(&bytes) else {
        panic!("it is a header");
    };
    assert_eq!(read.tlvs, [tlv(0xe0, &[7, 8])]);
}

/// However it is cut, nothing is decided before all of it is there.
#[test]
fn a_header_in_pieces_is_waited_for() {
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 258 80\r\n".to_vec();
    let binary = v2(0x21, 0x11, &[&PAIR, &[1, 0, 1, 9][..]].concat());
    for whole in [line, binary] {
        for protocol in [ANY, OPTIONAL] {
            for cut in 0..whole.len() {
                assert_eq!(
                    protocol.read(&whole[..cut]),
                    Ok(Beginning::Unfinished),
                    "{cut} of {whole:?}"
                );
            }
        }
    }
}

#[test]
fn clients_may_do_without_only_where_it_is_said() {
    assert_eq!(ANY.read(b"GET / HTTP/1.1\r\n"), Err(Malformed::Absent));
    assert_eq!(OPTIONAL.read(b"GET / HTTP/1.1\r\n"), Ok(Beginning::Plain));
    assert_eq!(OPTIONAL.read(b"P"), Ok(Beginning::Unfinished));
    assert_eq!(OPTIONAL.read(b"PUT"), Ok(Beginning::Plain));
}

/// Envoy's `disallowed_versions`: an error where a header must come, no header at all where it may.
#[test]
fn a_version_may_be_disallowed() {
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 258 80\r\n";
    let binary = v2(0x21, 0x11, &PAIR);
    let only = |v1, v2, optional| ProxyProtocol {
        optional,
        v1,
        v2,
        ..ANY
    };
    assert_eq!(only(false, true, false).read(line), Err(Malformed::Disallowed(1)));
    assert_eq!(
        only(true, false, false).read(&binary),
        Err(Malformed::Disallowed(2))
    );
    assert_eq!(only(false, true, true).read(line), Ok(Beginning::Plain));
    assert_eq!(only(true, false, true).read(&binary), Ok(Beginning::Plain));
}

fn told(introduction: &Introduction, client: Option<&Client>) -> Vec<u8> {
    let own = v4("127.0.0.1:1", "127.0.0.1:2").unwrap();
    introduction.write(client, own).unwrap()
}

#[test]
fn without_a_client_the_proxy_speaks_for_itself() {
    assert_eq!(
        told(&Introduction::V1, None),
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"
    );
    let v2 = Introduction::V2 {
        passed: TlvTypes::All,
        added: Vec::new(),
    };
    assert_eq!(header(&told(&v2, None)).addresses, None);
}

#[test]
fn addresses_of_two_families_are_both_of_version_6() {
    let client = Client {
        addresses: v4("192.0.2.1:258", "[2001:db8::2]:80").unwrap(),
        tlvs: Vec::new(),
    };
    assert_eq!(
        told(&Introduction::V1, Some(&client)),
        b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 258 80\r\n"
    );
}

#[test]
fn more_extensions_than_a_header_holds_are_too_many() {
    let tlv = |kind| Tlv {
        kind,
        value: vec![0; 0x7fff],
    };
    let client = Client {
        addresses: v4("192.0.2.1:258", "192.0.2.2:80").unwrap(),
        tlvs: vec![tlv(1)],
    };
    let introduction = Introduction::V2 {
        passed: TlvTypes::All,
        added: vec![tlv(2)],
    };
    let own = client.addresses;
    assert_eq!(introduction.write(Some(&client), own), Err(TooLong));
}

proptest! {
    /// What is told is what the other side reads.
    #[test]
    fn what_is_written_is_read(
        source: SocketAddr,
        destination: SocketAddr,
        tlvs in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..5),
        v1: bool,
    ) {
        let tlvs: Vec<Tlv> = tlvs.into_iter().map(|(kind, value)| Tlv { kind, value }).collect();
        let client = Client { addresses: Addresses { source, destination }, tlvs };
        let introduction = match v1 {
            true => Introduction::V1,
            false => Introduction::V2 { passed: TlvTypes::All, added: Vec::new() },
        };
        let written = told(&introduction, Some(&client));
        match ANY.read(&written) {
            Err(Malformed::NotUnicast) => {}
            Ok(Beginning::Header(read)) => {
                let addresses = read.addresses.unwrap();
                prop_assert_eq!(read.length, written.len());
                prop_assert_eq!(addresses.source.port(), source.port());
                prop_assert_eq!(addresses.source.ip().to_canonical(), source.ip().to_canonical());
                prop_assert_eq!(addresses.destination.ip().to_canonical(), destination.ip().to_canonical());
                prop_assert_eq!(read.tlvs, if v1 { Vec::new() } else { client.tlvs });
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn rules_note_extensions_as_texts_or_in_base64() {
    let rule = |kind, key: &str, base64| TlvRule {
        kind,
        namespace: "n".to_owned(),
        key: key.to_owned(),
        base64,
    };
    let protocol = ProxyProtocol {
        passed: TlvTypes::Some(Vec::new()),
        rules: vec![
            rule(1, "text", false),
            rule(1, "bytes", true),
            rule(2, "other", false),
        ],
        ..ANY
    };
    let notes = Notes::default();
    let tlv = Tlv {
        kind: 1,
        value: b"a\xffb".to_vec(),
    };
    protocol.note(&[tlv], &notes);
    let noted = |key: &str| notes.metadata("n", &[key.to_owned()], |value| value.clone());
    assert_eq!(noted("text"), Some(Value::Text("a!b".to_owned())));
    assert_eq!(noted("bytes"), Some(Value::Text("Yf9i".to_owned())));
    assert_eq!(noted("other"), None);
}
