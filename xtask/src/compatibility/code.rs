//! Finds where messages are taken apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, Block, Expr, FieldPat, File, ItemFn, Macro, Member, Pat, PatStruct};

use super::aliases::{Aliases, plain};
use super::{Fields, Treatment};

/// One pattern `pb::Message { field, … }`.
pub struct Reading {
    pub path: Vec<String>,
    pub line: usize,
    pub fields: Fields,
}

/// The patterns of one file.
pub fn readings(root: &Path, file: &Path, text: &str) -> anyhow::Result<Vec<Reading>> {
    let parsed: File = syn::parse_file(text)?;
    let aliases = Aliases::of_file(root, file, &parsed.items)?;
    let mut accessed = Accessed::default();
    accessed.visit_file(&parsed);
    // What a file hands over whole, the modules below it read.
    for below in below(file)? {
        accessed.visit_file(&syn::parse_file(&fs::read_to_string(below)?)?);
    }
    let mut found = Found {
        aliases,
        accessed: accessed.0,
        said: Said::default(),
        readings: Vec::new(),
    };
    found.visit_file(&parsed);
    Ok(found.readings)
}

fn below(file: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let directory = file.with_extension("");
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let paths: Result<Vec<PathBuf>, _> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect();
    let paths: Vec<PathBuf> = paths.map_err(|error: std::io::Error| error)?;
    Ok(paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect())
}

/// Fields that the file reads as `message.field`.
#[derive(Default)]
struct Accessed(BTreeSet<String>);

impl<'a> Visit<'a> for Accessed {
    fn visit_expr_field(&mut self, field: &'a syn::ExprField) {
        if let Member::Named(name) = &field.member {
            self.0.insert(plain(name));
        }
        visit::visit_expr_field(self, field);
    }
}

/// What one function says of fields by macros and methods, and which variants it refuses.
#[derive(Clone, Default)]
struct Said {
    refused: BTreeSet<String>,
    no_effect: BTreeMap<String, String>,
    /// Variants whose arm is nothing but an error.
    variants: BTreeSet<String>,
}

struct Found {
    aliases: Aliases,
    accessed: BTreeSet<String>,
    said: Said,
    readings: Vec<Reading>,
}

impl<'a> Visit<'a> for Found {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !module
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("cfg"))
        {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'a ItemFn) {
        self.function(&function.block);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.function(&function.block);
    }

    fn visit_pat_struct(&mut self, pattern: &'a PatStruct) {
        self.pattern(pattern);
        visit::visit_pat_struct(self, pattern);
    }
}

impl Found {
    fn function(&mut self, block: &Block) {
        let outer = (self.aliases.clone(), self.said.clone());
        let mut said = Sayings(Said::default());
        said.visit_block(block);
        self.said = said.0;
        for statement in &block.stmts {
            if let syn::Stmt::Item(syn::Item::Use(item)) = statement {
                self.aliases.add(item);
            }
        }
        visit::visit_block(self, block);
        (self.aliases, self.said) = outer;
    }

    fn pattern(&mut self, pattern: &PatStruct) {
        let path: Vec<String> = pattern
            .path
            .segments
            .iter()
            .map(|part| plain(&part.ident))
            .collect();
        let fields = pattern
            .fields
            .iter()
            .filter_map(|field| self.field(field))
            .collect();
        self.readings.push(Reading {
            path: self.aliases.resolve(&path),
            line: pattern.span().start().line,
            fields,
        });
    }

    fn field(&self, field: &FieldPat) -> Option<(String, Treatment)> {
        let Member::Named(name) = &field.member else {
            return None;
        };
        let name = plain(name);
        let bound = match &*field.pat {
            Pat::Ident(bound) => plain(&bound.ident),
            _ => name.clone(),
        };
        let said = |of: &str| {
            let refused = self.said.refused.contains(of).then_some(Treatment::Refused);
            let reason = self.said.no_effect.get(of).cloned();
            refused.or(reason.map(Treatment::NoEffect))
        };
        let treatment = match (said(&bound).or_else(|| said(&name)), &*field.pat) {
            (Some(said), _) => said,
            (None, Pat::Wild(_)) if !self.accessed.contains(&name) => Treatment::Dropped,
            (None, _) if self.said.variants.is_empty() => Treatment::Read,
            (None, _) => Treatment::ReadBut(self.said.variants.iter().cloned().collect()),
        };
        Some((name, treatment))
    }
}

/// Collects what a function says.
struct Sayings(Said);

impl<'a> Visit<'a> for Sayings {
    fn visit_macro(&mut self, called: &'a Macro) {
        let name = called.path.segments.last().map(|part| part.ident.to_string());
        let (texts, fields) = arguments(&called.tokens);
        match name.as_deref() {
            Some("refuse") => self.0.refused.extend(fields),
            Some("no_effect" | "silent") => {
                let reason = texts.into_iter().next().unwrap_or_default();
                self.0
                    .no_effect
                    .extend(fields.into_iter().map(|field| (field, reason.clone())));
            }
            _ => {}
        }
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        let text = |at: usize| match call.args.get(at) {
            Some(Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            })) => Some(text.value()),
            _ => None,
        };
        if call.method == "unsupported" {
            self.0.refused.extend(text(0));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_arm(&mut self, arm: &'a Arm) {
        if is_refusal(&arm.body) {
            self.variants(&arm.pat);
        }
        visit::visit_arm(self, arm);
    }
}

impl Sayings {
    fn variants(&mut self, pattern: &Pat) {
        match pattern {
            Pat::Or(several) => several.cases.iter().for_each(|case| self.variants(case)),
            Pat::TupleStruct(inner) if inner.path.is_ident("Some") => {
                inner.elems.iter().for_each(|inner| self.variants(inner));
            }
            Pat::TupleStruct(variant) => self.variant(&variant.path),
            Pat::Path(variant) => self.variant(&variant.path),
            _ => {}
        }
    }

    fn variant(&mut self, path: &syn::Path) {
        if let (true, Some(last)) = (path.segments.len() > 1, path.segments.last()) {
            self.0.variants.insert(plain(&last.ident));
        }
    }
}

/// `Err(at.….reject(…))`, also behind `return` and in a block of its own.
fn is_refusal(body: &Expr) -> bool {
    match body {
        Expr::Block(block) => match block.block.stmts.as_slice() {
            [syn::Stmt::Expr(only, _)] => is_refusal(only),
            _ => false,
        },
        Expr::Return(returned) => returned.expr.as_deref().is_some_and(is_refusal),
        Expr::Call(call) => matches!(&*call.func, Expr::Path(path) if path.path.is_ident("Err")),
        _ => false,
    }
}

/// `at, "text"; field, field`
fn arguments(tokens: &TokenStream) -> (Vec<String>, Vec<String>) {
    let mut texts = Vec::new();
    let mut fields = Vec::new();
    let mut behind = false;
    for token in tokens.clone() {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == ';' => behind = true,
            TokenTree::Ident(name) if behind => fields.push(plain(&name)),
            TokenTree::Literal(text) if !behind => {
                if let Ok(text) = syn::parse_str::<syn::LitStr>(&text.to_string()) {
                    texts.push(text.value());
                }
            }
            _ => {}
        }
    }
    (texts, fields)
}
