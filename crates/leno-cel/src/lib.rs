//! Expressions in the [Common Expression Language](https://cel.dev) (CEL), as far as a proxy evaluates them: over what
//! it knows of one request.
//!
//! A text is parsed, or a parsed form taken ([`Expr`]); it is checked once ([`Program::new`]): functions exist with as
//! many arguments, patterns are compiled. From then on it can only be evaluated ([`Program::evaluate`]), over whatever
//! [`Environment`] there is.
//!
//! There are no loops: the macros that make them (`all`, `exists`, `map`, …) are refused, as Envoy refuses them. So an
//! evaluation takes no more steps than the expression has parts, and what it makes is bounded by [`MOST_BYTES`]. What
//! goes wrong in it is a value too ([`Error`]), which `&&`, `||` and `?:` may leave aside.
//!
//! Why not the `cel` crate: its parser brings a runtime of its own for generated grammars, its interpreter has no
//! bounds, and values must be made before it is known which are asked for.

mod compare;
mod error;
mod evaluate;
mod expr;
mod function;
mod lex;
mod literal;
mod node;
mod options;
mod parse;
mod program;
mod strings;
mod time;
mod token;
mod value;

pub use error::{Error, MOST_BYTES};
pub use expr::{Constant, Expr};
pub use options::Options;
pub use parse::parse;
pub use program::Program;
pub use time::duration_json;
pub use token::ParseError;
pub use value::{Environment, Table, Value};
