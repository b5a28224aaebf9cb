//! What an expression is: the shape of `cel.expr.Expr` without messages and comprehensions.

/// Nothing is deeper: what walks an expression calls itself.
pub(crate) const DEEPEST: usize = 128;

#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Constant(Constant),
    Identifier(String),
    Select {
        operand: Box<Expr>,
        field: String,
        /// Whether it is there, as `has()` asks.
        test: bool,
    },
    /// Operators are functions too: `_&&_`, `_==_`, `_[_]`, `_?_:_`.
    Call {
        function: String,
        /// Of `target.function(…)`.
        target: Option<Box<Expr>>,
        arguments: Vec<Expr>,
    },
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Expr {
    pub(crate) fn call(function: &str, arguments: Vec<Expr>) -> Self {
        Self::Call {
            function: function.to_owned(),
            target: None,
            arguments,
        }
    }

    /// What it is made of.
    pub(crate) fn parts(&self) -> Vec<&Expr> {
        match self {
            Self::Constant(_) | Self::Identifier(_) => Vec::new(),
            Self::Select { operand, .. } => vec![operand],
            Self::Call {
                target, arguments, ..
            } => target.iter().map(|target| &**target).chain(arguments).collect(),
            Self::List(items) => items.iter().collect(),
            Self::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
        }
    }

    /// Whether it is deeper than what may be walked; found without walking so deep.
    pub(crate) fn is_too_deep(&self) -> bool {
        let mut level = vec![self];
        for _ in 0..DEEPEST {
            level = level.iter().flat_map(|expr| expr.parts()).collect();
            if level.is_empty() {
                return false;
            }
        }
        true
    }
}
