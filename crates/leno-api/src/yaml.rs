//! An object as text again: what is in force, as YAML, without what is secret.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::node::{Entry, Node, Value};
use crate::object::Object;

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";
const SECRET: &str = "Secret";
/// What may be seen of a Secret, besides its metadata; of all else the names only.
const OPEN: [&str; 4] = ["apiVersion", "kind", "type", "immutable"];
/// `kubectl apply` keeps the whole object in an annotation.
const ANNOTATIONS: &str = "annotations";

impl Object {
    /// Comments are lost, and the values of a Secret.
    pub fn yaml(&self) -> String {
        let tree = self.written.node();
        let shown = if tree.get("kind").and_then(Node::text) == Some(SECRET) {
            without_secrets(&tree)
        } else {
            tree
        };
        serde_saphyr::to_string(&shown).unwrap_or_default()
    }
}

/// Reading gives an object that has none a `spec`; as it was written it has none.
fn without_secrets(tree: &Node) -> Node {
    let (spec, own): (Vec<&Entry>, Vec<&Entry>) = entries(tree).iter().partition(|e| e.key == "spec");
    let fields = own
        .into_iter()
        .chain(spec.into_iter().flat_map(|e| entries(&e.value)));
    let shown = fields.map(|entry| match entry.key.as_str() {
        key if OPEN.contains(&key) => entry.clone(),
        "metadata" => {
            let kept = entries(&entry.value).iter().filter(|e| e.key != ANNOTATIONS);
            with(entry, map(&entry.value, kept.cloned().collect()))
        }
        _ => with(entry, hidden(&entry.value)),
    });
    map(tree, shown.collect())
}

fn hidden(node: &Node) -> Node {
    match &node.value {
        Value::Map(entries) => {
            let entries = entries.iter().map(|entry| with(entry, hidden(&entry.value)));
            map(node, entries.collect())
        }
        _ => Node {
            pos: node.pos,
            value: Value::Text(HIDDEN.to_owned()),
        },
    }
}

fn entries(node: &Node) -> &[Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

fn map(like: &Node, entries: Vec<Entry>) -> Node {
    Node {
        pos: like.pos,
        value: Value::Map(entries),
    }
}

fn with(entry: &Entry, value: Node) -> Entry {
    Entry {
        value,
        ..entry.clone()
    }
}

/// In the order in which it was written.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(items) => serializer.collect_seq(items),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for entry in entries {
                    map.serialize_entry(&entry.key, &entry.value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::documents;

    fn tree(text: &str) -> Node {
        documents(text).remove(0).unwrap()
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let text = "kind: A\nspec:\n  empty: {}\n  list: [1, -2.5, true, null, 'true', \"a: b\"]\n  more: |\n    two\n    lines\n";
        let written = serde_saphyr::to_string(&tree(text)).unwrap();
        let plain = |node: &Node| format!("{:?}", node).replace(char::is_numeric, "");
        let places = |text: &str| text.split("pos").map(str::to_owned).collect::<Vec<_>>().len();
        let (once, again) = (tree(text), tree(&written));
        assert_eq!(places(&plain(&once)), places(&plain(&again)), "{written}");
        assert_eq!(written, serde_saphyr::to_string(&again).unwrap());
        assert!(written.find("kind").unwrap() < written.find("spec").unwrap());
    }

    #[test]
    fn a_secret_keeps_its_keys_and_nothing_else() {
        let secret = "kind: Secret\nmetadata: {name: a, annotations: {last: c2VjcmV0}}\ntype: Opaque\n\
                      data: {tls.key: c2VjcmV0}\nstringData: {password: secret}\n";
        let shown = serde_saphyr::to_string(&without_secrets(&tree(secret))).unwrap();
        assert!(
            !shown.contains("c2VjcmV0") && !shown.contains(": secret"),
            "{shown}"
        );
        let wrapped =
            tree("kind: Secret\nspec: {type: Opaque, stringData: {password: secret}, more: [secret]}\n");
        let wrapped = serde_saphyr::to_string(&without_secrets(&wrapped)).unwrap();
        assert!(
            !wrapped.contains(": secret") && !wrapped.contains("- secret"),
            "{wrapped}"
        );
        assert!(wrapped.contains("\ntype: Opaque\n"), "{wrapped}");
        for kept in ["name: a", "type: Opaque", "tls.key", "password", HIDDEN] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }
}
