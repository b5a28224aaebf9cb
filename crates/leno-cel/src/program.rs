//! An expression that is known to make sense.

use regex::RegexBuilder;

use crate::error::Error;
use crate::evaluate::{Evaluation, evaluate};
use crate::expr::{Constant, Expr};
use crate::function::Function;
use crate::node::Node;
use crate::options::Options;
use crate::value::{Environment, Value};

/// Of one pattern, in bytes.
const PATTERN_LIMIT: usize = 256 << 10;

#[derive(Clone, Debug)]
pub struct Program {
    /// As it was given.
    source: Expr,
    options: Options,
    root: Node,
}

// === impl Program ===

impl Program {
    /// Err: what is wrong with it.
    pub fn new(source: Expr, options: Options) -> Result<Self, String> {
        if source.is_too_deep() {
            return Err("too deep".to_owned());
        }
        let root = node(&source, &options)?;
        Ok(Self {
            source,
            options,
            root,
        })
    }

    /// A text, parsed and checked.
    pub fn parse(text: &str, options: Options) -> Result<Self, String> {
        Self::new(crate::parse(text).map_err(|error| error.to_string())?, options)
    }

    pub fn evaluate<'a>(&'a self, environment: &'a dyn Environment) -> Result<Value<'a>, Error> {
        evaluate(
            &self.root,
            &Evaluation {
                environment,
                options: &self.options,
            },
        )
    }

    /// Whether it comes to `true`; whatever else it comes to does not hold.
    pub fn holds(&self, environment: &dyn Environment) -> bool {
        matches!(self.evaluate(environment), Ok(Value::Bool(true)))
    }

    /// Whether a variable's field is looked at, or the variable as a whole.
    pub fn names(&self, variable: &str, field: &str) -> bool {
        names(&self.source, variable, field)
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.options == other.options
    }
}

fn names(expr: &Expr, variable: &str, field: &str) -> bool {
    match expr {
        Expr::Identifier(name) => name == variable,
        Expr::Select {
            operand, field: of, ..
        } if matches!(&**operand, Expr::Identifier(_)) => {
            of == field && matches!(&**operand, Expr::Identifier(name) if name == variable)
        }
        other => other.parts().into_iter().any(|part| names(part, variable, field)),
    }
}

fn node(expr: &Expr, options: &Options) -> Result<Node, String> {
    let boxed = |expr: &Expr| node(expr, options).map(Box::new);
    Ok(match expr {
        Expr::Constant(constant) => Node::Constant(constant.clone()),
        Expr::Identifier(name) => Node::Variable(name.clone()),
        Expr::Select { operand, field, test } => match &**operand {
            Expr::Identifier(variable) => Node::Field {
                variable: variable.clone(),
                field: field.clone(),
                test: *test,
            },
            operand => Node::Select {
                operand: boxed(operand)?,
                field: field.clone(),
                test: *test,
            },
        },
        Expr::Call {
            function,
            target,
            arguments,
        } => call(function, target.as_deref(), arguments, options)?,
        Expr::List(items) => Node::List(nodes(items, options)?),
        Expr::Map(entries) => {
            let one = |(key, value): &(Expr, Expr)| Ok((node(key, options)?, node(value, options)?));
            Node::Map(entries.iter().map(one).collect::<Result<_, String>>()?)
        }
    })
}

fn nodes(exprs: &[Expr], options: &Options) -> Result<Vec<Node>, String> {
    exprs.iter().map(|expr| node(expr, options)).collect()
}

fn call(name: &str, target: Option<&Expr>, arguments: &[Expr], options: &Options) -> Result<Node, String> {
    let all: Vec<&Expr> = target.into_iter().chain(arguments).collect();
    let of = |expr: &Expr| node(expr, options);
    let nothing = || format!("there is no function {name:?} of {} arguments", all.len());
    match (name, all.as_slice(), target.is_some()) {
        ("_&&_", [a, b], false) => return Ok(Node::And(Box::new([of(a)?, of(b)?]))),
        ("_||_", [a, b], false) => return Ok(Node::Or(Box::new([of(a)?, of(b)?]))),
        ("_?_:_", [a, b, c], false) => return Ok(Node::Choice(Box::new([of(a)?, of(b)?, of(c)?]))),
        ("!_", [a], false) => return Ok(Node::Not(Box::new(of(a)?))),
        ("matches", [text, pattern], _) => {
            let Expr::Constant(Constant::Text(pattern)) = pattern else {
                return Err("matches() takes a pattern that is written out".to_owned());
            };
            let built = RegexBuilder::new(pattern)
                .size_limit(PATTERN_LIMIT)
                .dfa_size_limit(PATTERN_LIMIT)
                .build();
            let pattern = built.map_err(|error| error.to_string())?;
            return Ok(Node::Matches(Box::new(of(text)?), pattern));
        }
        _ => {}
    }
    let function = Function::named(name, target.is_some(), all.len(), options).ok_or_else(nothing)?;
    let arguments = all.into_iter().map(of).collect::<Result<_, String>>()?;
    Ok(Node::Call(function, arguments))
}
