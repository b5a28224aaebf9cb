//! Functions by their names.

use crate::options::Options;
use crate::time::Part;

/// What a call does with its arguments; the target is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Negate,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Index,
    Size,
    Contains,
    StartsWith,
    EndsWith,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
    ToBytes,
    ToDuration,
    ToTimestamp,
    Dyn,
    Part(Part),
    // Of the extension for texts.
    CharAt,
    IndexOf,
    LastIndexOf,
    Join,
    LowerAscii,
    UpperAscii,
    Replace,
    Split,
    Substring,
    Trim,
}

/// How a function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    /// `target.function(…)`
    Of,
    Both,
}

impl Function {
    /// `arguments`: with the target. None: there is no such function.
    pub(crate) fn named(name: &str, has_target: bool, arguments: usize, options: &Options) -> Option<Self> {
        use Function as F;
        use Style::{Both, Of, Plain};
        let (function, style, least, most) = match name {
            "_+_" => (F::Add, Plain, 2, 2),
            "_-_" => (F::Subtract, Plain, 2, 2),
            "_*_" => (F::Multiply, Plain, 2, 2),
            "_/_" => (F::Divide, Plain, 2, 2),
            "_%_" => (F::Modulo, Plain, 2, 2),
            "-_" => (F::Negate, Plain, 1, 1),
            "_==_" => (F::Equal, Plain, 2, 2),
            "_!=_" => (F::NotEqual, Plain, 2, 2),
            "_<_" => (F::Less, Plain, 2, 2),
            "_<=_" => (F::LessOrEqual, Plain, 2, 2),
            "_>_" => (F::Greater, Plain, 2, 2),
            "_>=_" => (F::GreaterOrEqual, Plain, 2, 2),
            // Older parsers call it otherwise.
            "@in" | "in" | "_in_" => (F::In, Plain, 2, 2),
            "_[_]" => (F::Index, Plain, 2, 2),
            "size" => (F::Size, Both, 1, 1),
            "contains" => (F::Contains, Both, 2, 2),
            "startsWith" => (F::StartsWith, Both, 2, 2),
            "endsWith" => (F::EndsWith, Both, 2, 2),
            "int" => (F::ToInt, Plain, 1, 1),
            "uint" => (F::ToUint, Plain, 1, 1),
            "double" => (F::ToDouble, Plain, 1, 1),
            "string" if options.string_conversion => (F::ToText, Plain, 1, 1),
            "bytes" => (F::ToBytes, Plain, 1, 1),
            "duration" => (F::ToDuration, Plain, 1, 1),
            "timestamp" => (F::ToTimestamp, Plain, 1, 1),
            "dyn" => (F::Dyn, Plain, 1, 1),
            "charAt" if options.string_functions => (F::CharAt, Of, 2, 2),
            "indexOf" if options.string_functions => (F::IndexOf, Of, 2, 3),
            "lastIndexOf" if options.string_functions => (F::LastIndexOf, Of, 2, 3),
            "join" if options.string_functions => (F::Join, Of, 1, 2),
            "lowerAscii" if options.string_functions => (F::LowerAscii, Of, 1, 1),
            "upperAscii" if options.string_functions => (F::UpperAscii, Of, 1, 1),
            "replace" if options.string_functions => (F::Replace, Of, 3, 4),
            "split" if options.string_functions => (F::Split, Of, 2, 3),
            "substring" if options.string_functions => (F::Substring, Of, 2, 3),
            "trim" if options.string_functions => (F::Trim, Of, 1, 1),
            _ => (F::Part(part(name)?), Of, 1, 2),
        };
        let styled = style == Both || (style == Of) == has_target;
        (styled && (least..=most).contains(&arguments)).then_some(function)
    }
}

fn part(name: &str) -> Option<Part> {
    Some(match name {
        "getFullYear" => Part::FullYear,
        "getMonth" => Part::Month,
        "getDate" => Part::Date,
        "getDayOfMonth" => Part::DayOfMonth,
        "getDayOfYear" => Part::DayOfYear,
        "getDayOfWeek" => Part::DayOfWeek,
        "getHours" => Part::Hours,
        "getMinutes" => Part::Minutes,
        "getSeconds" => Part::Seconds,
        "getMilliseconds" => Part::Milliseconds,
        _ => return None,
    })
}
