//! Expressions from their texts to what they come to.

use std::borrow::Cow;

use leno_cel::{Environment, Error, Options, Program, Table, Value};
use proptest::prelude::*;

#[derive(Debug)]
struct Headers;

impl Table for Headers {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        (name == "x-name").then(|| Value::text("value"))
    }

    fn len(&self) -> usize {
        1
    }
}

struct Request;

impl Environment for Request {
    fn field(&self, variable: &str, field: &str) -> Option<Value<'_>> {
        match (variable, field) {
            ("request", "path") => Some(Value::text("/a?b")),
            ("request", "size") => Some(Value::Int(5)),
            ("request", "headers") => Some(Value::Table(&Headers)),
            ("request", "time") => Some(Value::Timestamp(1_693_078_740_000_000_000)),
            ("connection", "id") => Some(Value::Uint(7)),
            ("filter_state", "key") => Some(Value::Bytes(Cow::Borrowed(b"bytes"))),
            _ => None,
        }
    }

    fn has(&self, variable: &str) -> bool {
        matches!(variable, "request" | "connection" | "filter_state")
    }
}

const ALL: Options = Options {
    string_conversion: true,
    string_concat: true,
    string_functions: true,
};

fn printed(text: &str) -> String {
    let program = Program::parse(text, ALL).unwrap_or_else(|why| panic!("{text}: {why}"));
    match program.evaluate(&Request) {
        Ok(value) => {
            let mut out = Vec::new();
            value.print(&mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn expressions_come_to_what_they_should() {
    for (text, wanted) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 3 - 2", "5"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0x1F", "31"),
        ("1.5e3", "1500"),
        (".5 + 1.0", "1.5"),
        ("1u + 2u", "3"),
        ("1 == 1u && 1u == 1.0 && 1 != 1.5 && 2 > 1.5 && 1u < 2", "true"),
        ("'a' == 1", "false"),
        ("9223372036854775807 == 9223372036854775807.0", "false"),
        ("!!true", "true"),
        ("true ? 'a' : 'b'", "a"),
        ("false ? 'a' : true ? 'b' : 'c'", "b"),
        ("request.path", "/a?b"),
        ("request['path']", "/a?b"),
        (
            "request.path.startsWith('/a') && request.path.contains('?')",
            "true",
        ),
        ("startsWith(request.path, '/b')", "false"),
        ("request.path.matches('^/[a-z]')", "true"),
        ("request.headers['x-name']", "value"),
        (
            "'x-name' in request.headers && !('x-none' in request.headers)",
            "true",
        ),
        (
            "has(request.path) && !has(request.nothing) && has(request.headers.x)",
            "false",
        ),
        ("size(request.headers)", "1"),
        ("size('äöü') + [1, 2].size()", "5"),
        ("connection.id == 7", "true"),
        ("filter_state.key == b'bytes'", "true"),
        ("2 in [1, 2, 3]", "true"),
        ("[1, 2, 3][1]", "2"),
        ("{'a': 1, 'b': 2}['b']", "2"),
        ("{'a': 1} == {'a': 1.0}", "true"),
        ("'a' in {'a': 1}", "true"),
        ("[1]", "CelList value"),
        ("{}", "CelMap value"),
        ("null", "NULL"),
        ("r'\\d' + \"\\u00e4\" + '''it's'''", "\\däit's"),
        ("b'\\xff' == b'\\377'", "true"),
        ("// first\n1 // last", "1"),
        ("duration('1h30m') + duration('500ms')", "1h30m0.5s"),
        ("duration('1500us')", "1.5ms"),
        ("duration('90s').getMinutes()", "1"),
        ("request.time", "2023-08-26T19:39:00+00:00"),
        ("request.time - duration('39m')", "2023-08-26T19:00:00+00:00"),
        ("request.time.getHours('-07:00')", "12"),
        ("request.time.getDayOfWeek()", "6"),
        ("timestamp('2023-08-26T12:39:00-07:00') == request.time", "true"),
        ("int('12') + int(1.9) + int(3u)", "16"),
        ("string(12) + string(true)", "12true"),
        ("'AbC'.lowerAscii() + 'x'.upperAscii()", "abcX"),
        ("'a-b-c'.replace('-', '+', 1)", "a+b-c"),
        ("'a,b,c'.split(',')[2] + ['x', 'y'].join('-')", "cx-y"),
        ("'hello'.substring(1, 3) + 'hello'.charAt(4)", "elo"),
        ("'hello'.indexOf('l') + 'hello'.lastIndexOf('l')", "5"),
        ("' a '.trim()", "a"),
        // What is wrong on one side does not matter where the other decides.
        ("request.nothing == 'a' || true", "true"),
        ("false && request.nothing == 'a'", "false"),
        ("request.nothing == 'a' && false", "false"),
        ("request.nothing == 'a' && true", "no such field, key or index"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "out of range"),
        ("-(-9223372036854775808)", "out of range"),
        ("'a' < 1", "not for values of these types"),
        ("'a' ? 1 : 2", "not for values of these types"),
        ("nobody", "no such variable"),
        ("nobody.name", "no such variable"),
        ("[1][2]", "no such field, key or index"),
        ("duration('1 h')", "not a text of that form"),
    ] {
        assert_eq!(printed(text), wanted, "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for text in [
        "",
        "1 +",
        "(1",
        "a.",
        "'a",
        "'\\q'",
        "1 2",
        "a ? b",
        "[1, 2",
        "{'a' 1}",
        "99999999999999999999",
        "for",
        "#",
        "has(a)",
        "[1].all(x, x > 0)",
        "[1].map(x, x)",
        "Message{a: 1}",
        "nothing(1)",
        "1.contains()",
        "'a'.contains('a', 'b')",
        "'a'.matches('(')",
        "'a'.matches(request.path)",
    ] {
        assert!(Program::parse(text, ALL).is_err(), "{text}");
    }
    for text in ["string(1)", "'a'.lowerAscii()"] {
        assert!(Program::parse(text, Options::default()).is_err(), "{text}");
    }
    let concatenated = Program::parse("'a' + 'b'", Options::default()).unwrap();
    assert_eq!(concatenated.evaluate(&Request).unwrap_err(), Error::Types);
}

#[test]
fn nothing_is_too_deep_and_nothing_too_long() {
    let nested = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(Program::parse(&nested, ALL).is_err());
    let chained = format!("1{}", " + 1".repeat(5_000));
    assert!(Program::parse(&chained, ALL).is_err());
    let either = format!("false{} || true", " || false".repeat(2_000));
    assert_eq!(printed(&either), "true");
    let negated = format!("{}true", "!".repeat(9_999));
    assert_eq!(printed(&negated), "false");
    let long = format!("'0'{}", ".replace('0', '0000')".repeat(10));
    assert_eq!(printed(&long), "too large");
}

#[test]
fn what_is_named_is_known() {
    let program = Program::parse("1 > 2 || request.path == 'a'", ALL).unwrap();
    assert!(program.names("request", "path"));
    assert!(!program.names("request", "size"));
    assert!(Program::parse("request", ALL).unwrap().names("request", "size"));
}

proptest! {
    #[test]
    fn no_text_breaks_it(text in "[a-z0-9 .,:?!<>=&|+*/%'\"()\\[\\]{}-]{0,40}") {
        if let Ok(program) = Program::parse(&text, ALL) {
            let _ = program.evaluate(&Request);
        }
    }
}
