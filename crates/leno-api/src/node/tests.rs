use super::*;

#[test]
fn values_and_keys_know_their_places() {
    let all = documents("a: 1\nb:\n  - c: x\n");
    let node = all[0].as_ref().unwrap();
    assert_eq!(node.pos_of("b[0].c"), Pos { line: 3, column: 5 });
    assert_eq!(node.pos_of("b[7].c"), Pos { line: 2, column: 1 });
    assert_eq!(node.get("a").unwrap().pos, Pos { line: 1, column: 4 });
}

#[test]
fn a_broken_document_leaves_its_neighbours() {
    let all = documents("a: 1\n---\nb: [1, 2\n---\nc: 3\n---\nd: \"open\n---\ne: 5\n");
    let good: Vec<_> = all.iter().filter_map(|d| d.as_ref().ok()).collect();
    assert!(good.iter().any(|n| n.get("a").is_some()));
    assert!(good.iter().any(|n| n.get("c").is_some()));
    assert!(good.iter().any(|n| n.get("e").is_some()));
    assert_eq!(all.iter().filter(|d| d.is_err()).count(), 2);
}

#[test]
fn plain_scalars_resolve_as_in_the_api_server() {
    let all = documents("[on, 'on', 08x, 1.5, 0x10, -3, 1.2.3, ~, !!str 5, .5, inf, 1e3]");
    let Value::List(items) = &all[0].as_ref().unwrap().value else {
        panic!("a list")
    };
    let values: Vec<_> = items.iter().map(|i| i.value.clone()).collect();
    let text = |t: &str| Value::Text(t.into());
    let want = [
        Value::Bool(true),
        text("on"),
        text("08x"),
        Value::Float(1.5),
        Value::Int(16),
        Value::Int(-3),
        text("1.2.3"),
        Value::Null,
        text("5"),
        Value::Float(0.5),
        text("inf"),
        Value::Float(1000.0),
    ];
    assert_eq!(values, want);
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        text += &format!("a{i}: &a{i} [{list}]\n");
    }
    assert_eq!(documents(&text)[0].as_ref().unwrap_err().code, Code::TooLarge);
}

#[test]
fn depth_is_bounded() {
    let text = "[".repeat(10_000);
    assert!(documents(&text)[0].is_err());
}

#[test]
fn merge_keys_fill_what_is_not_given() {
    let all = documents("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n");
    let used = all[0].as_ref().unwrap().get("use").unwrap().clone();
    assert_eq!(used.get("x").unwrap().value, Value::Int(1));
    assert_eq!(used.get("y").unwrap().value, Value::Int(3));
}

#[test]
fn json_indented_with_tabs_is_read() {
    let all = documents("{\n\t\"a\": {\n\t\t\"b\": [1,\n\t\t2]\n\t}\n}\n");
    assert!(all[0].as_ref().unwrap().get("a").is_some());
}
