//! YAML and JSON to protobuf and back, by reflection.
//!
//! For what people write and read: bootstraps, config dumps, `-o json`. The mapping is protobuf's own JSON
//! mapping (<https://protobuf.dev/programming-guides/json/>) as Envoy uses it: both spellings of a field's name,
//! durations as `1.5s`, `Any` by `@type`. Unlike a lenient parser's, every mistake is an [`Error`] with the
//! field's path, the line and the column, for a mistyped field that is silently ignored is a policy that is not
//! in force.
//!
//! A [`Schema`] holds every message's descriptor, some twenty MiB: load it in short-lived processes only, never
//! in the data plane.

mod dump;
mod error;
mod node;
mod patch;
mod read;
mod redact;
mod scalar;
mod schema;
mod well_known;
mod write;

pub use dump::{Dumped, Selection};
pub use error::{Error, Position, Problem};
pub use patch::{Lists, Patch};
pub use schema::{Schema, parse_bootstrap, to_json};
