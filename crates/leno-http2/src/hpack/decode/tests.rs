use super::*;

type Fields = Vec<(String, String)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| {
        fields.push((
            String::from_utf8_lossy(name).into_owned(),
            String::from_utf8_lossy(value).into_owned(),
        ));
    })?;
    Ok(fields)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn owned(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()
}

/// RFC 7541 Appendix C.4: requests with Huffman coding on one connection.
#[test]
fn the_rfc_s_requests() {
    let mut decoder = Decoder::default();
    let first = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    let block = hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff");
    assert_eq!(decode(&mut decoder, &block).unwrap(), owned(&first));
    let block = hex("8286 84be 5886 a8eb 1064 9cbf");
    let mut second = first.to_vec();
    second.push(("cache-control", "no-cache"));
    assert_eq!(decode(&mut decoder, &block).unwrap(), owned(&second));
    let block = hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    assert_eq!(decode(&mut decoder, &block).unwrap(), owned(&third));
}

/// RFC 7541 Appendix C.6: responses that evict one another from a table of 256 bytes.
#[test]
fn the_rfc_s_responses() {
    let mut decoder = Decoder::new(256);
    let block = hex(
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    );
    let first = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    assert_eq!(decode(&mut decoder, &block).unwrap(), owned(&first));
    let block = hex("4883 640e ffc1 c0bf");
    let fields = decode(&mut decoder, &block).unwrap();
    assert_eq!(fields[0], (":status".to_owned(), "307".to_owned()));
    assert_eq!(fields[1..], owned(&first)[1..]);
}

#[test]
fn what_cannot_be_meant_is_malformed() {
    for block in [
        // Index 0, and an index beyond the tables.
        "80",
        "be",
        "ff 80 80 01",
        // A string that is longer than the block, and one that is missing.
        "00 05 61",
        "40 01 61",
        "41",
        // A larger table than was allowed, and a size after a field.
        "3f e2 1f",
        "82 20",
        // An index of a name beyond the table.
        "7e 01 61",
    ] {
        assert_eq!(
            decode(&mut Decoder::default(), &hex(block)),
            Err(Malformed),
            "{block}"
        );
    }
}

#[test]
fn a_table_of_size_zero_keeps_nothing() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, &hex("40 01 61 01 62")).unwrap();
    assert_eq!(decode(&mut decoder, &hex("be")).unwrap(), owned(&[("a", "b")]));
    assert_eq!(decode(&mut decoder, &hex("20 be")), Err(Malformed));
}

#[test]
fn the_static_table_s_kinds_are_those_of_its_fields() {
    for (place, (name, value)) in STATIC.iter().enumerate() {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        let of_length = name == b"content-length";
        match Kind::of(name, value) {
            Kind::Invalid(_) => assert!(matches!(static_kind(place), Kind::Invalid(_))),
            _ if of_length => assert!(matches!(static_kind(place), Kind::Invalid(_))),
            kind => assert_eq!(static_kind(place), kind),
        }
    }
}
