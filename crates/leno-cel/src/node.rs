//! Expressions, checked.

use regex::Regex;

use crate::expr::Constant;
use crate::function::Function;

/// A part, as it is evaluated.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Constant),
    Variable(String),
    /// Of a variable: the commonest thing there is.
    Field {
        variable: String,
        field: String,
        test: bool,
    },
    Select {
        operand: Box<Node>,
        field: String,
        test: bool,
    },
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Not(Box<Node>),
    /// Condition, then, otherwise.
    Choice(Box<[Node; 3]>),
    Matches(Box<Node>, Regex),
    Call(Function, Vec<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}
