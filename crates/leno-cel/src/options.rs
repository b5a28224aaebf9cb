//! What expressions may use.

/// What an expression may use besides what is always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// `string(…)`
    pub string_conversion: bool,
    /// `+` of texts and of bytes.
    pub string_concat: bool,
    /// `lowerAscii`, `replace`, `split`, …
    pub string_functions: bool,
}
