//! Flow control (RFC 9113 §5.2, §6.9).

use super::*;

fn data(side: &mut Side, key: Key, length: usize) -> usize {
    let mut bytes = Bytes::from(vec![0; length]);
    side.data(key, &mut bytes, false, usize::MAX).unwrap();
    length - bytes.len()
}

fn received(saw: &[Saw]) -> usize {
    let bodies = saw.iter().map(|s| match s {
        Saw::Data(_, data, _) => data.len(),
        _ => 0,
    });
    bodies.sum()
}

#[test]
fn a_reader_that_takes_nothing_stops_its_sender() {
    let mut pair = Pair::new(options(), options());
    let (key, at) = pair.request(false);
    assert_eq!(data(&mut pair.client, key, 100_000), 65_535);
    assert_eq!(pair.client.capacity(key), 0);
    assert_eq!(received(&pair.at_server()), 65_535);
    pair.server.release(at, 65_535);
    let saw = pair.at_client();
    assert!(saw.contains(&Saw::Writable(Some(key))) && saw.contains(&Saw::Writable(None)));
    assert_eq!(pair.client.capacity(key), 65_535);
}

#[test]
fn one_stream_s_window_is_not_another_s_but_all_share_the_connection_s() {
    let wide = Options {
        connection_window: 100_000,
        ..options()
    };
    let mut pair = Pair::new(options(), wide);
    let (first, first_at) = pair.request(false);
    let (second, _) = pair.request(false);
    assert_eq!(data(&mut pair.client, first, 70_000), 65_535);
    assert_eq!(data(&mut pair.client, second, 70_000), 100_000 - 65_535);
    pair.at_server();
    // A stream that is gone gives the connection's window back, and only that.
    pair.server.close(first_at);
    pair.server.give_back(65_535);
    pair.at_client();
    assert_eq!(pair.client.capacity(second), 65_535 - (100_000 - 65_535));
}

#[test]
fn windows_are_given_back_by_halves() {
    let mut pair = Pair::new(options(), options());
    let (key, at) = pair.request(false);
    data(&mut pair.client, key, 40_000);
    pair.at_server();
    for _ in 0..32 {
        pair.server.release(at, 1000);
        assert_eq!(pair.server.unwritten(), 0);
    }
    pair.server.release(at, 1000);
    assert_eq!(pair.server.unwritten(), 2 * (frame::HEADER + 4));
}

#[test]
fn a_smaller_window_holds_from_its_acknowledgement_on() {
    let narrow = Options {
        stream_window: 10,
        ..options()
    };
    let mut client = Side::client(options());
    let mut server = Side::server(narrow);
    let key = client.open(false, 0, |fields| request(fields, "/")).unwrap();
    data(&mut client, key, 1000);
    // Sent before the settings were known.
    assert_eq!(received(&feed(&mut server, &written(&mut client)).unwrap()), 1000);
    feed(&mut client, &written(&mut server)).unwrap();
    feed(&mut server, &written(&mut client)).unwrap();
    assert_eq!(client.capacity(key), 0);
    let second = client.open(false, 0, |fields| request(fields, "/")).unwrap();
    assert_eq!(client.capacity(second), 10);
}

#[test]
fn more_than_a_window_is_an_error() {
    let mut pair = Pair::new(options(), options());
    let (key, _) = pair.request(false);
    let (other, _) = pair.request(false);
    pair.client.streams.get(key).unwrap().send_window = 1 << 20;
    pair.client.send_window = 1 << 20;
    data(&mut pair.client, key, 65_535);
    pair.at_server();
    pair.server.give_back(65_535);
    pair.at_client();
    // The connection has room again, the stream has not.
    data(&mut pair.client, key, 1);
    let saw = pair.at_server();
    assert!(matches!(saw[..], [Saw::Reset(_, Reset::Fault(_))]), "{saw:?}");
    pair.client.streams.get(other).unwrap().send_window = 1 << 20;
    pair.client.send_window = 1 << 20;
    data(&mut pair.client, other, 65_536);
    let error = feed(&mut pair.server, &written(&mut pair.client)).unwrap_err();
    assert_eq!(error.code, ErrorCode::FLOW_CONTROL_ERROR);
}

#[test]
fn padding_counts_and_comes_back() {
    let mut pair = Pair::new(options(), options());
    let (key, _) = pair.request(false);
    let head = frame::Head {
        length: 100,
        kind: kind::DATA,
        flags: frame::flag::PADDED,
        stream: key.id,
    };
    let mut payload = vec![0; 100];
    payload[0] = 98;
    payload[1] = b'x';
    let saw = feed(&mut pair.server, &[&head.bytes()[..], &payload].concat()).unwrap();
    assert!(matches!(&saw[..], [Saw::Data(_, data, false)] if data == b"x"));
    assert_eq!(pair.server.receive_window, 65_535 - 100);
    assert_eq!(pair.server.unannounced, 99);
}
