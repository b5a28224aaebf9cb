//! The page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use super::{Fields, Treatment};
use heck::{ToSnakeCase, ToUpperCamelCase};

const HEAD: &str = "\
# Envoy's configuration, field by field

What leno's proxy does with each field of Envoy's v3 configuration (as of Envoy 1.40). Written by
`cargo xtask compatibility` from the code that takes the messages apart; CI holds the two together.

- **supported**: read, and it means what Envoy's documentation says.
- **no effect**: read and let be, because it changes neither routing nor security; the reason is given. The proxy
  warns where it is set, unless the field only names or describes.
- **rejected**: the configuration is refused, with the field's path.

A message that is not here is rejected where it would stand. Extensions are under the names of their configuration
messages.

";

/// Where Envoy's configuration begins, then the order of the chapters.
const CHAPTERS: &[(&str, &str)] = &[
    ("Bootstrap", "envoy.config.bootstrap."),
    ("Listeners", "envoy.config.listener."),
    ("Routes", "envoy.config.route."),
    ("Clusters", "envoy.config.cluster."),
    ("Endpoints", "envoy.config.endpoint."),
    ("Common messages", "envoy.config.core."),
    ("Access log", "envoy.config.accesslog."),
    ("RBAC", "envoy.config.rbac."),
    ("Tracing", "envoy.config.trace."),
    ("Other configuration", "envoy.config."),
    ("Types", "envoy.type."),
    ("Matching", "xds.type."),
    ("HTTP filters", "envoy.extensions.filters.http."),
    ("Network filters", "envoy.extensions.filters.network."),
    ("Listener filters", "envoy.extensions.filters.listener."),
    (
        "Load balancing policies",
        "envoy.extensions.load_balancing_policies.",
    ),
    ("Transport sockets", "envoy.extensions.transport_sockets."),
    ("Access loggers", "envoy.extensions.access_loggers."),
    ("Other extensions", "envoy.extensions."),
];

pub fn text(pool: &DescriptorPool, messages: &BTreeMap<String, Fields>) -> String {
    let mut text = HEAD.to_owned();
    let mut told = BTreeSet::new();
    for (title, prefix) in CHAPTERS {
        let chapter: Vec<_> = messages
            .iter()
            .filter(|(name, _)| name.starts_with(prefix) && told.insert(name.as_str()))
            .collect();
        if chapter.is_empty() {
            continue;
        }
        let _ = writeln!(text, "## {title}\n");
        for (name, fields) in chapter {
            if let Some(message) = pool.get_message_by_name(name) {
                table(&mut text, &message, fields);
            }
        }
    }
    extensions(&mut text, pool, messages);
    text
}

fn table(text: &mut String, message: &MessageDescriptor, fields: &Fields) {
    let _ = writeln!(text, "### `{}`\n", message.full_name());
    if message.fields().len() == 0 {
        let _ = writeln!(text, "It has no fields: supported.\n");
        return;
    }
    let _ = writeln!(text, "| field | |\n|---|---|");
    for field in message.fields() {
        let treatment = match field.containing_oneof() {
            Some(oneof) => fields
                .get(oneof.name())
                .or_else(|| fields.get(&oneof.name().to_snake_case())),
            None => fields.get(field.name()),
        };
        let _ = writeln!(text, "| `{}` | {} |", field.name(), shown(&field, treatment));
    }
    text.push('\n');
}

fn shown(field: &FieldDescriptor, treatment: Option<&Treatment>) -> String {
    let in_oneof = field
        .containing_oneof()
        .is_some_and(|oneof| oneof.fields().len() > 1);
    match treatment {
        Some(Treatment::ReadBut(refused))
            if in_oneof && refused.contains(&field.name().to_upper_camel_case()) =>
        {
            "rejected".into()
        }
        Some(Treatment::ReadBut(refused)) => match values(field, refused) {
            values if values.is_empty() => "supported".into(),
            values => format!("supported; rejected: {}", values.join(", ")),
        },
        Some(Treatment::Read | Treatment::Dropped) => "supported".into(),
        Some(Treatment::NoEffect(reason)) => format!("no effect: {reason}"),
        Some(Treatment::Refused) => "rejected".into(),
        None => "supported as a whole".into(),
    }
}

/// The values of an enum that are refused.
fn values(field: &FieldDescriptor, refused: &[String]) -> Vec<String> {
    let Kind::Enum(kind) = field.kind() else {
        return Vec::new();
    };
    let prefix = kind.name().to_upper_camel_case();
    let known = kind.values().filter(|value| {
        let camel = value.name().to_upper_camel_case();
        let short = camel.strip_prefix(&prefix).unwrap_or(&camel);
        refused
            .iter()
            .any(|refused| refused == short || *refused == camel)
    });
    known.map(|value| format!("`{}`", value.name())).collect()
}

/// Configuration messages of extensions that nothing takes apart.
fn extensions(text: &mut String, pool: &DescriptorPool, messages: &BTreeMap<String, Fields>) {
    let known: BTreeSet<&str> = messages
        .keys()
        .filter_map(|name| name.rsplit_once('.'))
        .map(|(package, _)| package)
        .collect();
    let missing: BTreeSet<String> = pool
        .all_messages()
        .map(|message| message.package_name().to_owned())
        .filter(|package| package.starts_with("envoy.extensions.") && !known.contains(package.as_str()))
        .collect();
    let _ = writeln!(
        text,
        "## Extensions that leno does not have\n\nEach is rejected by name where it would stand.\n"
    );
    for package in missing {
        let _ = writeln!(text, "- `{package}`");
    }
}
