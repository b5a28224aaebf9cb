//! Packing and unpacking of `google.protobuf.Any`, with the type checked.

use prost::{DecodeError, Message, Name};

use crate::google::protobuf::Any;

/// Why an `Any` is not the message that its place demands.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum UnpackError {
    #[error("expected {expected}, got {}", if got.is_empty() { "no type URL" } else { got })]
    Type { expected: String, got: String },
    #[error("{type_name} cannot be decoded: {source}")]
    Decode {
        type_name: String,
        #[source]
        source: DecodeError,
    },
}

/// Packs a message under `type.googleapis.com/`.
pub trait ToAny {
    fn to_any(&self) -> Any;
}

impl<M: Message + Name> ToAny for M {
    fn to_any(&self) -> Any {
        Any {
            type_url: M::type_url(),
            value: self.encode_to_vec(),
        }
    }
}

/// Unpacks a message, if it is what it is taken for.
pub trait FromAny {
    /// Whether this is an `M`. As protobuf has it, only what follows the last slash counts.
    fn is<M: Name>(&self) -> bool;

    fn unpack<M: Message + Name + Default>(&self) -> Result<M, UnpackError>;
}

impl FromAny for Any {
    fn is<M: Name>(&self) -> bool {
        match self.type_url.rsplit_once('/') {
            Some((_, name)) => name == M::full_name(),
            None => false,
        }
    }

    fn unpack<M: Message + Name + Default>(&self) -> Result<M, UnpackError> {
        if !self.is::<M>() {
            return Err(UnpackError::Type {
                expected: M::full_name(),
                got: self.type_url.clone(),
            });
        }
        M::decode(self.value.as_slice()).map_err(|source| UnpackError::Decode {
            type_name: M::full_name(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::listener::v3::Listener;
    use crate::google::protobuf::Duration;

    #[test]
    fn a_message_survives_packing() {
        let cluster = Cluster {
            name: "a".into(),
            ..Default::default()
        };
        let any = cluster.to_any();
        assert_eq!(any.type_url, crate::type_url::CLUSTER);
        assert_eq!(any.unpack::<Cluster>(), Ok(cluster));
    }

    #[test]
    fn googles_own_messages_get_the_host_too() {
        assert_eq!(
            Duration::default().to_any().type_url,
            "type.googleapis.com/google.protobuf.Duration"
        );
    }

    #[test]
    fn another_type_is_named_in_the_error() {
        let error = Cluster::default().to_any().unpack::<Listener>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected envoy.config.listener.v3.Listener, got type.googleapis.com/envoy.config.cluster.v3.Cluster"
        );
        let error = Any::default().unpack::<Listener>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected envoy.config.listener.v3.Listener, got no type URL"
        );
    }

    #[test]
    fn broken_bytes_are_an_error() {
        let any = Any {
            type_url: crate::type_url::CLUSTER.into(),
            value: vec![0xff; 3],
        };
        assert!(matches!(any.unpack::<Cluster>(), Err(UnpackError::Decode { .. })));
    }
}
