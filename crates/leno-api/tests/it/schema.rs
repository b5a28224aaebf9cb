//! The fields that the parser knows, asked from the types themselves.
//!
//! Deriving `Deserialize` tells a deserializer each struct's fields and each enumeration's values. This one has no
//! input: it answers every question with some value and writes down what it was asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::kinds::authorization_policy::AuthorizationPolicySpec;
use leno_api::kinds::destination_rule::DestinationRuleSpec;
use leno_api::kinds::endpoint_slice::EndpointSliceSpec;
use leno_api::kinds::envoy_filter::EnvoyFilterSpec;
use leno_api::kinds::http_route::HttpRouteSpec;
use leno_api::kinds::ingress::{IngressClassSpec, IngressSpec};
use leno_api::kinds::mesh_config::MeshConfigSpec;
use leno_api::kinds::namespace::NamespaceSpec;
use leno_api::kinds::node::NodeSpec;
use leno_api::kinds::peer_authentication::PeerAuthenticationSpec;
use leno_api::kinds::proxy_config::ProxyConfigSpec;
use leno_api::kinds::request_authentication::RequestAuthenticationSpec;
use leno_api::kinds::secret::SecretSpec;
use leno_api::kinds::service::ServiceSpec;
use leno_api::kinds::service_entry::{EntryEndpoint, ServiceEntrySpec};
use leno_api::kinds::sidecar::SidecarSpec;
use leno_api::kinds::tcp_route::TcpRouteSpec;
use leno_api::kinds::telemetry::TelemetrySpec;
use leno_api::kinds::virtual_service::VirtualServiceSpec;
use leno_api::kinds::wasm_plugin::WasmPluginSpec;
use leno_api::kinds::workload_group::WorkloadGroupSpec;
use leno_api::kinds::{gateway, gateway_api};
use leno_api::{Kind, Spec};
use serde::de::value::{Error, StrDeserializer, U32Deserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// How the parser takes a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    #[default]
    Served,
    /// Refused by name.
    NotServed,
    /// Accepted with a warning.
    Ignored,
    /// Accepted without a word.
    Unread,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Field {
    pub(crate) standing: Standing,
    /// What an enumeration allows.
    pub(crate) values: Vec<&'static str>,
    /// The struct that it is, or that it is a list or mapping of.
    pub(crate) of: Option<&'static str>,
}

/// Fields by struct, the outermost under the name `Spec`.
pub(crate) type Schema = BTreeMap<&'static str, BTreeMap<&'static str, Field>>;

pub(crate) const KINDS: [Kind; 27] = [
    Kind::Service,
    Kind::ServiceEntry,
    Kind::Sidecar,
    Kind::HttpRoute,
    Kind::TcpRoute,
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::PeerAuthentication,
    Kind::AuthorizationPolicy,
    Kind::RequestAuthentication,
    Kind::MeshConfig,
    Kind::Gateway,
    Kind::KubernetesGateway,
    Kind::GatewayClass,
    Kind::ReferenceGrant,
    Kind::Secret,
    Kind::Namespace,
    Kind::EnvoyFilter,
    Kind::Ingress,
    Kind::IngressClass,
    Kind::ProxyConfig,
    Kind::Telemetry,
    Kind::WasmPlugin,
    Kind::WorkloadEntry,
    Kind::WorkloadGroup,
    Kind::EndpointSlice,
    Kind::Node,
];

/// The heading of a kind's section: the two dialects have a Gateway each.
pub(crate) fn heading(kind: Kind) -> String {
    match kind {
        Kind::KubernetesGateway => "Gateway of the Gateway API".to_owned(),
        kind => kind.to_string(),
    }
}

pub(crate) fn schema(kind: Kind) -> Schema {
    let schema = RefCell::default();
    let spec = match kind {
        Kind::Service => Spec::Service(ask::<ServiceSpec>(&schema)),
        Kind::ServiceEntry => Spec::ServiceEntry(ask::<ServiceEntrySpec>(&schema)),
        Kind::Sidecar => Spec::Sidecar(ask::<SidecarSpec>(&schema)),
        Kind::HttpRoute => Spec::HttpRoute(ask::<HttpRouteSpec>(&schema)),
        Kind::TcpRoute => Spec::TcpRoute(ask::<TcpRouteSpec>(&schema)),
        Kind::VirtualService => Spec::VirtualService(ask::<VirtualServiceSpec>(&schema)),
        Kind::DestinationRule => Spec::DestinationRule(ask::<DestinationRuleSpec>(&schema)),
        Kind::PeerAuthentication => Spec::PeerAuthentication(ask::<PeerAuthenticationSpec>(&schema)),
        Kind::AuthorizationPolicy => Spec::AuthorizationPolicy(ask::<AuthorizationPolicySpec>(&schema)),
        Kind::RequestAuthentication => Spec::RequestAuthentication(ask::<RequestAuthenticationSpec>(&schema)),
        Kind::MeshConfig => Spec::MeshConfig(ask::<MeshConfigSpec>(&schema)),
        Kind::Gateway => Spec::Gateway(ask::<gateway::GatewaySpec>(&schema)),
        Kind::KubernetesGateway => Spec::KubernetesGateway(ask::<gateway_api::GatewaySpec>(&schema)),
        Kind::GatewayClass => Spec::GatewayClass(ask::<gateway_api::GatewayClassSpec>(&schema)),
        Kind::ReferenceGrant => Spec::ReferenceGrant(ask::<gateway_api::ReferenceGrantSpec>(&schema)),
        Kind::Secret => Spec::Secret(ask::<SecretSpec>(&schema)),
        Kind::Namespace => Spec::Namespace(ask::<NamespaceSpec>(&schema)),
        Kind::EnvoyFilter => Spec::EnvoyFilter(ask::<EnvoyFilterSpec>(&schema)),
        Kind::Ingress => Spec::Ingress(ask::<IngressSpec>(&schema)),
        Kind::IngressClass => Spec::IngressClass(ask::<IngressClassSpec>(&schema)),
        Kind::ProxyConfig => Spec::ProxyConfig(ask::<ProxyConfigSpec>(&schema)),
        Kind::Telemetry => Spec::Telemetry(ask::<TelemetrySpec>(&schema)),
        Kind::WasmPlugin => Spec::WasmPlugin(ask::<WasmPluginSpec>(&schema)),
        Kind::WorkloadEntry => Spec::WorkloadEntry(ask::<EntryEndpoint>(&schema)),
        Kind::EndpointSlice => Spec::EndpointSlice(ask::<EndpointSliceSpec>(&schema)),
        Kind::Node => Spec::Node(ask::<NodeSpec>(&schema)),
        Kind::WorkloadGroup => Spec::WorkloadGroup(ask::<WorkloadGroupSpec>(&schema)),
    };
    drop(spec);
    schema.into_inner()
}

fn ask<T: DeserializeOwned>(schema: &RefCell<Schema>) -> Arc<T> {
    let field = RefCell::default();
    Arc::new(
        T::deserialize(Asked {
            schema,
            field: &field,
            outermost: true,
        })
        .unwrap(),
    )
}

#[derive(Clone, Copy)]
struct Asked<'a> {
    schema: &'a RefCell<Schema>,
    /// The field whose value is asked for.
    field: &'a RefCell<Field>,
    outermost: bool,
}

impl Asked<'_> {
    fn stands(self, standing: Standing) {
        self.field.borrow_mut().standing = standing;
    }
}

macro_rules! answers {
    ($($method:ident => $visit:ident($value:expr);)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    answers! {
        deserialize_bool => visit_bool(true);
        deserialize_i64 => visit_i64(1);
        deserialize_u32 => visit_u32(1);
        deserialize_f64 => visit_f64(1.0);
        // A text that is a duration as well.
        deserialize_any => visit_str("1s");
        deserialize_str => visit_str("1s");
        deserialize_string => visit_str("1s");
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.stands(Standing::Unread);
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            "$leno::NotServed" => self.stands(Standing::NotServed),
            "$leno::Ignored" => self.stands(Standing::Ignored),
            _ => return visitor.visit_newtype_struct(self),
        }
        visitor.visit_unit()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Once(Some(self)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Once(Some(self)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name = if self.outermost { "Spec" } else { name };
        self.field.borrow_mut().of = Some(name);
        visitor.visit_map(Struct {
            schema: self.schema,
            name,
            fields: fields.iter(),
            current: "",
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.field.borrow_mut().values = variants.to_vec();
        visitor.visit_enum(First(variants[0]))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u64 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// A list or mapping with one element.
struct Once<'a>(Option<Asked<'a>>);

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|asked| seed.deserialize(asked)).transpose()
    }
}

impl<'de> MapAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.0.is_some().then(|| seed.deserialize(Key)).transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.0.take().unwrap())
    }
}

/// A mapping's key: text, or a number where the type wants one.
struct Key;

impl<'de> Deserializer<'de> for Key {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text: StrDeserializer<'_, Error> = "key".into_deserializer();
        text.deserialize_any(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let number: U32Deserializer<Error> = 1u32.into_deserializer();
        number.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Struct<'a> {
    schema: &'a RefCell<Schema>,
    name: &'static str,
    fields: std::slice::Iter<'static, &'static str>,
    current: &'static str,
}

impl<'de> MapAccess<'de> for Struct<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.fields.next() else {
            return Ok(None);
        };
        self.current = field;
        let key: StrDeserializer<'_, Error> = self.current.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let field = RefCell::default();
        let value = seed.deserialize(Asked {
            schema: self.schema,
            field: &field,
            outermost: false,
        })?;
        let mut schema = self.schema.borrow_mut();
        let fields = schema.entry(self.name).or_default();
        fields.insert(self.current, field.into_inner());
        Ok(value)
    }
}

struct First(&'static str);

impl<'de> EnumAccess<'de> for First {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for First {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Key)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}
