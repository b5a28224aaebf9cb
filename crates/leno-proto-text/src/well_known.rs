//! Google's well-known types, each of which has a JSON form of its own.

use prost_reflect::MessageDescriptor;

/// The JSON form of a well-known type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Any,
    Duration,
    Empty,
    FieldMask,
    ListValue,
    Struct,
    Timestamp,
    Value,
    /// A scalar, or nothing.
    Wrapper,
}

impl Form {
    /// `None` for a message whose form follows from its fields.
    pub(crate) fn of(descriptor: &MessageDescriptor) -> Option<Form> {
        let name = descriptor.full_name().strip_prefix("google.protobuf.")?;
        Some(match name {
            "Any" => Form::Any,
            "Duration" => Form::Duration,
            "Empty" => Form::Empty,
            "FieldMask" => Form::FieldMask,
            "ListValue" => Form::ListValue,
            "Struct" => Form::Struct,
            "Timestamp" => Form::Timestamp,
            "Value" => Form::Value,
            "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value"
            | "StringValue" | "UInt32Value" | "UInt64Value" => Form::Wrapper,
            _ => return None,
        })
    }
}
