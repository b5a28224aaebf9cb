use super::*;
use crate::message::Decimal;

/// `a: 1`, `b: 2`, `a: 3` as received.
fn received() -> Headers {
    let wire = Bytes::from_static(b"a: 1\r\nb: 2\r\na: 3\r\n");
    Headers::from_wire(wire, [(0..1, 3..4), (6..7, 9..10), (12..13, 15..16)])
}

fn text(headers: &Headers) -> String {
    let mut out = String::new();
    for (name, value) in headers.iter() {
        out += &format!(
            "{}={} ",
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value)
        );
    }
    out
}

#[test]
fn order_and_repetition_are_kept() {
    let mut headers = received();
    headers.append("b", "4");
    headers.append("c", Decimal::from(5_u64));
    assert_eq!(text(&headers), "a=1 b=2 a=3 b=4 c=5 ");
    assert_eq!(headers.get("b"), Some(&b"2"[..]));
    assert_eq!(headers.get_all("b").collect::<Vec<_>>(), [&b"2"[..], &b"4"[..]]);
    assert_eq!((headers.len(), headers.size()), (5, 10));
}

#[test]
fn what_stands_as_it_is_written_comes_in_runs() {
    let wire = Bytes::from_static(b"a: 1\r\nb: 2\r\nc:3\r\nd: 4\r\ne: 5\n");
    let at = |name: usize, value: usize| (name..name + 1, value..value + 1);
    let fields = [at(0, 3), at(6, 9), at(12, 14), at(17, 20), at(23, 26)];
    let mut headers = Headers::from_wire(wire, fields);
    let lines: Vec<_> = headers.lines(b"none").collect();
    let odd = |name, value| Lines::Field(name, value);
    assert_eq!(
        lines,
        [
            Lines::Received(b"a: 1\r\nb: 2\r\n"),
            odd(b"c", b"3"),
            Lines::Received(b"d: 4\r\n"),
            odd(b"e", b"5"),
        ]
    );
    let first = headers.lines(b"a").next();
    assert_eq!(first, Some(odd(b"a", b"1")));
    headers.set("b", "edited");
    headers.append("f", "6");
    let lines: Vec<_> = headers.lines(b"none").collect();
    assert_eq!(lines[..2], [Lines::Received(b"a: 1\r\n"), odd(b"b", b"edited")]);
    assert_eq!(lines.last(), Some(&odd(b"f", b"6")));
}

#[test]
fn a_name_that_is_as_long_as_another_is_not_taken_for_it() {
    let headers = received();
    assert!(!headers.contains("x") && !headers.contains("ab"));
    assert!(!headers.contains(&"x".repeat(65)));
}

#[test]
fn names_are_the_same_only_if_every_byte_is() {
    for length in 0..40 {
        let name = vec![b'x'; length];
        assert!(same(&name, &name.clone()));
        for at in 0..length {
            let mut other = name.clone();
            other[at] = b'y';
            assert!(!same(&name, &other), "{at} of {length}");
        }
    }
}

#[test]
fn set_replaces_every_value_where_the_first_was() {
    let mut headers = received();
    headers.set("a", "new");
    headers.set("d", "7");
    assert_eq!(text(&headers), "a=new b=2 d=7 ");
}

#[test]
fn removed_values_are_gone_and_the_last_is_told() {
    let mut headers = received();
    assert_eq!(headers.remove("a").as_deref(), Some(&b"3"[..]));
    assert_eq!(headers.remove("a"), None);
    headers.append("x", "y");
    assert_eq!(headers.remove("x").as_deref(), Some(&b"y"[..]));
    assert_eq!(text(&headers), "b=2 ");
    let mut headers = received();
    headers.remove_all(&Names::new(["b", "nothing"]));
    assert_eq!(text(&headers), "a=1 a=3 ");
}

#[test]
fn a_clone_does_not_see_what_is_edited_later() {
    let mut headers = received();
    headers.append("c", "1");
    let kept = headers.clone();
    headers.set("b", "edited");
    headers.remove("a");
    assert_eq!(text(&kept), "a=1 b=2 a=3 c=1 ");
    assert_eq!(text(&headers), "b=edited c=1 ");
    assert_ne!(kept, headers);
}

#[test]
fn shared_fields_are_the_same_as_borrowed_ones() {
    let mut headers = received();
    headers.set("b", "added");
    let shared: Vec<_> = headers.iter_shared().collect();
    let borrowed: Vec<_> = headers.iter().collect();
    assert_eq!(shared.len(), borrowed.len());
    for ((n, v), (name, value)) in shared.iter().zip(borrowed) {
        assert_eq!((n.as_ref(), v.as_ref()), (name, value));
    }
}

#[test]
fn more_than_there_is_room_for_is_kept_as_well() {
    let mut headers = received();
    let long = "x".repeat(ADDED_BYTES / 2);
    for name in ["c", "d", "e"] {
        headers.append(name, &long);
    }
    headers.set("a", "1");
    let other = headers.clone();
    assert_eq!(other.len(), 5);
    for name in ["c", "d", "e"] {
        assert_eq!(other.get_str(name), Some(long.as_str()));
    }
    assert_eq!(other.get("a"), Some(&b"1"[..]));
}

#[test]
fn a_range_outside_of_what_was_received_is_empty() {
    #[expect(clippy::reversed_empty_ranges, reason = "a codec's mistake")]
    let wrong = [(0..1, 90..91), (2..3, 9..4), (2..3, usize::MAX - 1..usize::MAX)];
    let headers = Headers::from_wire(Bytes::from_static(b"abc"), wrong);
    assert_eq!(text(&headers), "a= c= c= ");
}
