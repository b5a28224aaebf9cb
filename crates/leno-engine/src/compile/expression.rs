//! Expressions (CEL), as texts and in the forms that parsers and checkers leave.

use leno_cel::{Constant, Expr, Options, Program};
use prost::Message;

use super::Rejection;
use super::at::{At, silent};
use super::pb::{core, expr as pb, xds_type};

/// What expressions may use.
pub(crate) fn options(message: Option<&core::CelExpressionConfig>) -> Options {
    let Some(core::CelExpressionConfig {
        enable_string_conversion,
        enable_string_concat,
        enable_string_functions,
    }) = message
    else {
        return Options::default();
    };
    Options {
        string_conversion: *enable_string_conversion,
        string_concat: *enable_string_concat,
        string_functions: *enable_string_functions,
    }
}

pub(crate) fn text(at: &At<'_>, text: &str, options: Options) -> Result<Program, Rejection> {
    Program::parse(text, options).map_err(|why| at.reject(why))
}

/// `google.api.expr.v1alpha1.Expr`
pub(crate) fn parsed(at: &At<'_>, message: &pb::Expr, options: Options) -> Result<Program, Rejection> {
    Program::new(expr(at, message)?, options).map_err(|why| at.reject(why))
}

/// `xds.type.v3.CelExpression`: the text before what a checker left, and that before what a parser did.
pub(crate) fn of(at: &At<'_>, message: &xds_type::CelExpression) -> Result<Program, Rejection> {
    use xds_type::cel_expression::ExprSpecifier as E;
    let xds_type::CelExpression {
        cel_expr_parsed,
        cel_expr_checked,
        cel_expr_string,
        expr_specifier,
    } = message;
    let options = Options::default();
    if !cel_expr_string.is_empty() {
        return text(&at.field("cel_expr_string"), cel_expr_string, options);
    }
    // Of the same shape as the older messages, byte by byte.
    let (field, bytes) = match (cel_expr_checked, cel_expr_parsed, expr_specifier) {
        (Some(checked), _, _) => (
            "cel_expr_checked",
            checked.expr.as_ref().map(Message::encode_to_vec),
        ),
        (None, Some(parsed), _) => (
            "cel_expr_parsed",
            parsed.expr.as_ref().map(Message::encode_to_vec),
        ),
        (None, None, Some(E::CheckedExpr(checked))) => {
            ("checked_expr", checked.expr.as_ref().map(Message::encode_to_vec))
        }
        (None, None, Some(E::ParsedExpr(parsed))) => {
            ("parsed_expr", parsed.expr.as_ref().map(Message::encode_to_vec))
        }
        (None, None, None) => return Err(at.reject("an expression is required")),
    };
    let at = at.field(field);
    let bytes = at.required("expr", &bytes)?.clone();
    let at = at.field("expr");
    let message = pb::Expr::decode(bytes.as_slice()).map_err(|why| at.reject(why.to_string()))?;
    parsed(&at, &message, options)
}

fn expr(at: &At<'_>, message: &pb::Expr) -> Result<Expr, Rejection> {
    use pb::expr::{Call, CreateList, CreateStruct, ExprKind, Ident, Select, create_struct};
    let pb::Expr { id, expr_kind } = message;
    silent!("it numbers the parts of a text"; id);
    Ok(match at.required("expr_kind", expr_kind)? {
        ExprKind::ConstExpr(constant) => Expr::Constant(self::constant(&at.field("const_expr"), constant)?),
        ExprKind::IdentExpr(Ident { name }) => Expr::Identifier(name.clone()),
        ExprKind::SelectExpr(select) => {
            let at = at.field("select_expr");
            let Select {
                operand,
                field,
                test_only,
            } = &**select;
            Expr::Select {
                operand: Box::new(expr(&at.field("operand"), at.required("operand", operand)?)?),
                field: field.clone(),
                test: *test_only,
            }
        }
        ExprKind::CallExpr(call) => {
            let at = at.field("call_expr");
            let Call {
                target,
                function,
                args,
            } = &**call;
            Expr::Call {
                function: function.clone(),
                target: match target {
                    None => None,
                    Some(target) => Some(Box::new(expr(&at.field("target"), target)?)),
                },
                arguments: at.each("args", args, expr)?,
            }
        }
        ExprKind::ListExpr(CreateList {
            elements,
            optional_indices,
        }) => {
            let at = at.field("list_expr");
            at.unsupported("optional_indices", optional_indices)?;
            Expr::List(at.each("elements", elements, expr)?)
        }
        ExprKind::StructExpr(CreateStruct {
            message_name,
            entries,
        }) => {
            let at = at.field("struct_expr");
            at.unsupported("message_name", message_name)?;
            Expr::Map(at.each("entries", entries, |at, entry| {
                use create_struct::{Entry, entry::KeyKind};
                let Entry {
                    id: _,
                    value,
                    optional_entry,
                    key_kind,
                } = entry;
                at.unsupported("optional_entry", optional_entry)?;
                let key = match at.required("key_kind", key_kind)? {
                    KeyKind::MapKey(key) => expr(&at.field("map_key"), key)?,
                    KeyKind::FieldKey(_) => return Err(at.field("field_key").reject("not supported")),
                };
                Ok((key, expr(&at.field("value"), at.required("value", value)?)?))
            })?)
        }
        ExprKind::ComprehensionExpr(_) => {
            let at = at.field("comprehension_expr");
            return Err(at.reject("comprehensions are not supported"));
        }
    })
}

fn constant(at: &At<'_>, message: &pb::Constant) -> Result<Constant, Rejection> {
    use pb::constant::ConstantKind as K;
    let pb::Constant { constant_kind } = message;
    Ok(match at.required("constant_kind", constant_kind)? {
        K::NullValue(_) => Constant::Null,
        K::BoolValue(value) => Constant::Bool(*value),
        K::Int64Value(value) => Constant::Int(*value),
        K::Uint64Value(value) => Constant::Uint(*value),
        K::DoubleValue(value) => Constant::Double(*value),
        K::StringValue(value) => Constant::Text(value.clone()),
        K::BytesValue(value) => Constant::Bytes(value.clone()),
        K::DurationValue(_) => return Err(at.field("duration_value").reject("not supported")),
        K::TimestampValue(_) => return Err(at.field("timestamp_value").reject("not supported")),
    })
}

/// Whether an expression speaks of what is only kept on demand.
pub(crate) fn names_on_demand(program: &Program) -> bool {
    program.names("upstream", "cx_pool_ready_duration") || program.names("response", "backend_latency")
}

pub(crate) fn names_trailers(program: &Program) -> bool {
    program.names("response", "trailers") || program.names("response", "total_size")
}
