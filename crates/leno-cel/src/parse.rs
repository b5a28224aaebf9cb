//! From a text to an expression, by [CEL's grammar](https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax).

use crate::expr::{Constant, Expr};
use crate::lex::tokens;
use crate::token::{ParseError, Token};

/// Of a text, in bytes.
const LONGEST: usize = 32 << 10;
/// Of parentheses in parentheses.
const NESTED: usize = 48;

pub fn parse(text: &str) -> Result<Expr, ParseError> {
    if text.len() > LONGEST {
        return Err(ParseError {
            at: LONGEST,
            why: format!("longer than {LONGEST} bytes"),
        });
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        nested: 0,
    };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => {}
        _ => return Err(parser.wrong("an operator or the end was expected")),
    }
    if expr.is_too_deep() {
        return Err(ParseError {
            at: 0,
            why: "too deep".to_owned(),
        });
    }
    Ok(expr)
}

struct Parser {
    /// The last is the end.
    tokens: Vec<(usize, Token)>,
    next: usize,
    nested: usize,
}

/// Binary operators by how they bind, the weakest first; those of one level from the left.
const LEVELS: &[&[(&str, &str)]] = &[
    &[
        ("<", "_<_"),
        ("<=", "_<=_"),
        (">", "_>_"),
        (">=", "_>=_"),
        ("==", "_==_"),
        ("!=", "_!=_"),
    ],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

/// They would be loops.
const COMPREHENSIONS: &[&str] = &["all", "exists", "exists_one", "map", "filter"];

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn take(&mut self) -> Token {
        let taken = self.peek().clone();
        self.next += 1;
        taken
    }

    fn wrong(&self, why: &str) -> ParseError {
        let last = self.tokens.last().map_or(0, |(at, _)| *at);
        ParseError {
            at: self.tokens.get(self.next).map_or(last, |(at, _)| *at),
            why: why.to_owned(),
        }
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        let is_it = *self.peek() == Token::Sign(sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), ParseError> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(self.wrong(&format!("`{sign}` was expected"))),
        }
    }

    fn expression(&mut self) -> Result<Expr, ParseError> {
        self.nested += 1;
        if self.nested > NESTED {
            return Err(self.wrong("too deep"));
        }
        let condition = self.logical(&[("||", "_||_"), ("&&", "_&&_")])?;
        let expr = match self.takes("?") {
            false => condition,
            true => {
                let then = self.logical(&[("||", "_||_"), ("&&", "_&&_")])?;
                self.expect(":")?;
                Expr::call("_?_:_", vec![condition, then, self.expression()?])
            }
        };
        self.nested -= 1;
        Ok(expr)
    }

    /// Many of one operator become a tree that is as flat as it can be.
    fn logical(&mut self, levels: &[(&'static str, &str)]) -> Result<Expr, ParseError> {
        let Some(((sign, function), tighter)) = levels.split_first() else {
            return self.binary(LEVELS);
        };
        let mut terms = vec![self.logical(tighter)?];
        while self.takes(sign) {
            terms.push(self.logical(tighter)?);
        }
        while terms.len() > 1 {
            let mut terms_left = terms.into_iter();
            terms = Vec::new();
            while let Some(left) = terms_left.next() {
                terms.push(match terms_left.next() {
                    Some(right) => Expr::call(function, vec![left, right]),
                    None => left,
                });
            }
        }
        terms
            .pop()
            .ok_or_else(|| self.wrong("an expression was expected"))
    }

    fn binary(&mut self, levels: &[&[(&'static str, &str)]]) -> Result<Expr, ParseError> {
        let Some((level, tighter)) = levels.split_first() else {
            return self.unary();
        };
        let mut left = self.binary(tighter)?;
        loop {
            let found = match self.peek() {
                Token::Sign(sign) => level.iter().find(|(one, _)| one == sign).map(|(_, f)| *f),
                Token::Name(name) if name == "in" && levels.len() == LEVELS.len() => Some("@in"),
                _ => None,
            };
            let Some(function) = found else {
                return Ok(left);
            };
            self.next += 1;
            left = Expr::call(function, vec![left, self.binary(tighter)?]);
        }
    }

    /// Two of the same sign are none.
    fn unary(&mut self) -> Result<Expr, ParseError> {
        for (sign, function) in [("!", "!_"), ("-", "-_")] {
            let mut times = 0;
            while self.takes(sign) {
                times += 1;
            }
            if times == 0 {
                continue;
            }
            if sign == "-" && times == 1 {
                return self.negative();
            }
            let operand = self.member()?;
            return Ok(match times % 2 {
                1 => Expr::call(function, vec![operand]),
                _ => operand,
            });
        }
        self.member()
    }

    /// A sign before a number belongs to it.
    fn negative(&mut self) -> Result<Expr, ParseError> {
        let constant = match self.peek() {
            Token::Smallest => Constant::Int(i64::MIN),
            Token::Int(value) => Constant::Int(-value),
            Token::Double(value) => Constant::Double(-value),
            _ => return Ok(Expr::call("-_", vec![self.member()?])),
        };
        self.next += 1;
        self.members_of(Expr::Constant(constant))
    }

    fn member(&mut self) -> Result<Expr, ParseError> {
        let primary = self.primary()?;
        self.members_of(primary)
    }

    fn members_of(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            if self.takes(".") {
                let Token::Name(field) = self.take() else {
                    self.next -= 1;
                    return Err(self.wrong("a field's name was expected"));
                };
                expr = match self.takes("(") {
                    false => Expr::Select {
                        operand: Box::new(expr),
                        field,
                        test: false,
                    },
                    true => {
                        let arguments = self.list(")")?;
                        self.called(field, Some(expr), arguments)?
                    }
                };
            } else if self.takes("[") {
                let index = self.expression()?;
                self.expect("]")?;
                expr = Expr::call("_[_]", vec![expr, index]);
            } else if *self.peek() == Token::Sign("{") {
                return Err(self.wrong("messages are not supported"));
            } else {
                return Ok(expr);
            }
        }
    }

    fn called(
        &self,
        function: String,
        target: Option<Expr>,
        mut arguments: Vec<Expr>,
    ) -> Result<Expr, ParseError> {
        if target.is_some() && arguments.len() > 1 && COMPREHENSIONS.contains(&function.as_str()) {
            return Err(self.wrong(&format!("comprehensions ({function}) are not supported")));
        }
        if function == "has" && target.is_none() {
            return match (arguments.pop(), arguments.is_empty()) {
                (
                    Some(Expr::Select {
                        operand,
                        field,
                        test: false,
                    }),
                    true,
                ) => Ok(Expr::Select {
                    operand,
                    field,
                    test: true,
                }),
                _ => Err(self.wrong("has() takes a field of something")),
            };
        }
        Ok(Expr::Call {
            function,
            target: target.map(Box::new),
            arguments,
        })
    }

    /// Up to the closing sign; a comma may be its last.
    fn list(&mut self, close: &'static str) -> Result<Vec<Expr>, ParseError> {
        let mut items = Vec::new();
        loop {
            if self.takes(close) {
                return Ok(items);
            }
            items.push(self.expression()?);
            if !self.takes(",") {
                self.expect(close)?;
                return Ok(items);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let constant = match self.take() {
            Token::Int(value) => Constant::Int(value),
            Token::Uint(value) => Constant::Uint(value),
            Token::Double(value) => Constant::Double(value),
            Token::Text(value) => Constant::Text(value),
            Token::Bytes(value) => Constant::Bytes(value),
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => return Ok(Expr::List(self.list("]")?)),
            Token::Sign("{") => return self.map(),
            // From the root: there is but one.
            Token::Sign(".") => return self.name(),
            Token::Name(name) => match name.as_str() {
                "true" => Constant::Bool(true),
                "false" => Constant::Bool(false),
                "null" => Constant::Null,
                _ => {
                    self.next -= 1;
                    return self.name();
                }
            },
            _ => {
                self.next -= 1;
                return Err(self.wrong("an expression was expected"));
            }
        };
        Ok(Expr::Constant(constant))
    }

    fn name(&mut self) -> Result<Expr, ParseError> {
        let name = match self.peek() {
            Token::Name(name) if !is_reserved(name) => name.clone(),
            _ => return Err(self.wrong("a name was expected")),
        };
        self.next += 1;
        if !self.takes("(") {
            return Ok(Expr::Identifier(name));
        }
        let arguments = self.list(")")?;
        self.called(name, None, arguments)
    }

    fn map(&mut self) -> Result<Expr, ParseError> {
        let mut entries = Vec::new();
        loop {
            if self.takes("}") {
                return Ok(Expr::Map(entries));
            }
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.takes(",") {
                self.expect("}")?;
                return Ok(Expr::Map(entries));
            }
        }
    }
}

fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "in" | "as"
            | "break"
            | "const"
            | "continue"
            | "else"
            | "for"
            | "function"
            | "if"
            | "import"
            | "let"
            | "loop"
            | "package"
            | "namespace"
            | "return"
            | "var"
            | "void"
            | "while"
            | "true"
            | "false"
            | "null"
    )
}
