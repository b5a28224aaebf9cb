//! The user's words: Istio's and the Gateway API's objects, parsed with their place in the file.
//!
//! [`read`] turns the text of one file into [`Object`]s and [`Diagnostic`]s. It never loses an object because
//! its neighbour is broken, never ignores a field it does not know, and never accepts one it cannot honour:
//! a misspelt field is an error with the nearest name, a feature that leno does not have yet is refused by
//! name. What an object means for the mesh is the model's business, not this crate's.
//!
//! Layers: [`node`] (text to a tree that knows its places), [`decode`] (tree to Rust types through serde),
//! [`kinds`] (one file a kind), [`validate`] (the rules an object can be held to by itself), [`codes`]
//! (every code a diagnostic may carry).

mod base64;
mod catalogue;
pub mod codes;
mod decode;
pub mod diagnostic;
pub mod istio_codes;
mod key;
pub mod key_set;
pub mod kinds;
pub mod node;
pub mod object;
mod parse;
pub mod quantity;
mod suggest;
pub mod validate;
mod written;
mod yaml;

pub use codes::Code;
pub use diagnostic::{Diagnostic, Place, Severity};
/// What an EnvoyFilter's patch does to an encoded message.
pub use leno_proto_text::{Lists, Patch as Change};

pub use key::{Kind, ObjectKey};
pub use object::{Object, Spec};
pub use parse::{MAX_FILE_BYTES, Parsed, parse, read};
pub use suggest::nearest;
pub use validate::validate;
