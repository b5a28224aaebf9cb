//! Where in a message we are: what every rejection and warning needs, and the conversions that can fail.
//!
//! Messages are destructured without `..`, so that a field which a newer Envoy adds does not compile until somebody
//! has decided: support it, [`refuse!`] it, or say that it has [`no_effect!`].

use std::cell::{Cell, RefCell};
use std::time::Duration;

use leno_proto::google::protobuf;
use leno_proto::{FromAny, UnpackError};
use prost::{Message, Name};

use super::pb::{core, types};
use super::{FieldPath, Files, Rejection, Warnings};
use crate::jwt::Remotes;
use crate::runtime::{Key, Readable, Runtime, Setting, Share};

/// A place in a message, chained to the places around it; the path is only written out when it is needed.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    context: &'a Context<'a>,
    step: Option<(&'a At<'a>, Step<'a>)>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'static str),
    Item(&'static str, usize),
    Entry(&'static str, &'a str),
}

pub(crate) struct Context<'a> {
    files: &'a dyn Files,
    runtime: Runtime,
    warnings: RefCell<Vec<Rejection>>,
    wants: Cell<Wants>,
}

/// What must be kept of requests, because some format asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Moments, and endpoints that were tried.
    pub(crate) on_demand: bool,
    /// Trailers of responses.
    pub(crate) trailers: bool,
    /// Istio's metrics: a filter that counts for them is there.
    pub(crate) istio_stats: bool,
    /// Streams' bytes on the wire.
    pub(crate) wire: bool,
}

/// Refuses the message if one of these fields is set: leno does not have what it asks for.
macro_rules! refuse {
    ($at:expr; $($field:ident),* $(,)?) => {
        $($at.unsupported(stringify!($field), $field)?;)*
    };
}

/// Warns if one of these fields is set: it changes neither routing nor security, and does nothing here.
macro_rules! no_effect {
    ($at:expr, $reason:literal; $($field:ident),* $(,)?) => {
        $($at.ignored(stringify!($field), $field, $reason);)*
    };
}

/// Says of fields that they have no effect, without a warning: they name or describe, and are set everywhere.
macro_rules! silent {
    ($reason:literal; $($field:ident),* $(,)?) => {
        $(let _ = $field;)*
    };
}

pub(crate) use {no_effect, refuse, silent};

/// Runs a compilation and hands its warnings over.
pub(crate) fn compiling<T>(
    files: &dyn Files,
    warnings: &mut Warnings,
    compile: impl FnOnce(&At<'_>) -> Result<T, Rejection>,
) -> Result<T, Rejection> {
    let context = Context {
        files,
        runtime: files.runtime(),
        warnings: RefCell::default(),
        wants: Cell::default(),
    };
    let at = At {
        context: &context,
        step: None,
    };
    let result = compile(&at);
    warnings.0.extend(context.warnings.into_inner());
    result
}

// === impl At ===

impl At<'_> {
    pub(crate) fn field(&self, name: &'static str) -> At<'_> {
        self.step(Step::Field(name))
    }

    pub(crate) fn item<'b>(&'b self, name: &'static str, at: usize) -> At<'b> {
        self.step(Step::Item(name, at))
    }

    pub(crate) fn entry<'b>(&'b self, name: &'static str, key: &'b str) -> At<'b> {
        self.step(Step::Entry(name, key))
    }

    fn step<'b>(&'b self, step: Step<'b>) -> At<'b> {
        At {
            context: self.context,
            step: Some((self, step)),
        }
    }

    pub(crate) fn path(&self) -> FieldPath {
        match self.step {
            None => FieldPath::default(),
            Some((up, Step::Field(name))) => up.path().field(name),
            Some((up, Step::Item(name, at))) => up.path().field(name).index(at),
            Some((up, Step::Entry(name, key))) => up.path().field(name).key(key),
        }
    }

    pub(crate) fn reject(&self, reason: impl Into<String>) -> Rejection {
        self.path().reject(reason)
    }

    pub(crate) fn warn(&self, reason: &str) {
        self.context.warnings.borrow_mut().push(self.reject(reason));
    }

    pub(crate) fn unsupported<T: Default + PartialEq>(
        &self,
        field: &'static str,
        value: &T,
    ) -> Result<(), Rejection> {
        if *value == T::default() {
            return Ok(());
        }
        Err(self.field(field).reject("not supported"))
    }

    pub(crate) fn ignored<T: Default + PartialEq>(&self, field: &'static str, value: &T, reason: &str) {
        if *value != T::default() {
            self.field(field).warn(reason);
        }
    }

    pub(crate) fn required<'v, T>(
        &self,
        field: &'static str,
        value: &'v Option<T>,
    ) -> Result<&'v T, Rejection> {
        value.as_ref().ok_or_else(|| self.field(field).reject("required"))
    }

    pub(crate) fn not_empty(&self, field: &'static str, text: &str) -> Result<(), Rejection> {
        if text.is_empty() {
            return Err(self.field(field).reject("required"));
        }
        Ok(())
    }

    /// A header's name in lower case: a token (RFC 9110), or one with a leading colon.
    pub(crate) fn header_name(&self, name: &str) -> Result<String, Rejection> {
        let token = name.strip_prefix(':').unwrap_or(name);
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if token.is_empty() || !token.bytes().all(is_token) {
            return Err(self.reject(format!("not a header name: {name:?}")));
        }
        Ok(name.to_ascii_lowercase())
    }

    /// Each item of a repeated field, compiled at its place.
    pub(crate) fn each<T, U>(
        &self,
        field: &'static str,
        items: &[T],
        mut compile: impl FnMut(&At<'_>, &T) -> Result<U, Rejection>,
    ) -> Result<Vec<U>, Rejection> {
        let numbered = items.iter().enumerate();
        numbered
            .map(|(i, item)| compile(&self.item(field, i), item))
            .collect()
    }

    /// The same of a field that must not be empty.
    pub(crate) fn some<T, U>(
        &self,
        field: &'static str,
        items: &[T],
        compile: impl FnMut(&At<'_>, &T) -> Result<U, Rejection>,
    ) -> Result<Vec<U>, Rejection> {
        match items {
            [] => Err(self.field(field).reject("required")),
            items => self.each(field, items, compile),
        }
    }

    pub(crate) fn duration(
        &self,
        field: &'static str,
        value: &Option<protobuf::Duration>,
    ) -> Result<Option<Duration>, Rejection> {
        let Some(protobuf::Duration { seconds, nanos }) = value else {
            return Ok(None);
        };
        match (u64::try_from(*seconds), u32::try_from(*nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 && seconds <= 315_576_000_000 => {
                Ok(Some(Duration::new(seconds, nanos)))
            }
            _ => Err(self
                .field(field)
                .reject(format!("not a duration: {seconds}s {nanos}ns"))),
        }
    }

    /// A timeout of which zero means none; `default` where nothing is said.
    pub(crate) fn timeout(
        &self,
        field: &'static str,
        value: &Option<protobuf::Duration>,
        default: Option<Duration>,
    ) -> Result<Option<Duration>, Rejection> {
        let said = self.duration(field, value)?;
        Ok(said.or(default).filter(|timeout| !timeout.is_zero()))
    }

    /// A duration that must be more than zero.
    pub(crate) fn positive(
        &self,
        field: &'static str,
        value: &Option<protobuf::Duration>,
        default: Duration,
    ) -> Result<Duration, Rejection> {
        match self.duration(field, value)? {
            None => Ok(default),
            Some(Duration::ZERO) => Err(self.field(field).reject("must be more than zero")),
            Some(said) => Ok(said),
        }
    }

    pub(crate) fn port(&self, field: &'static str, value: u32) -> Result<u16, Rejection> {
        u16::try_from(value).map_err(|_| self.field(field).reject(format!("not a port: {value}")))
    }

    /// An enum's value of a message's `i32`.
    pub(crate) fn choice<E: TryFrom<i32>>(&self, field: &'static str, value: i32) -> Result<E, Rejection> {
        E::try_from(value).map_err(|_| self.field(field).reject(format!("unknown value {value}")))
    }

    /// Parts in a million.
    pub(crate) fn fraction(&self, value: &types::FractionalPercent) -> Result<u32, Rejection> {
        use types::fractional_percent::DenominatorType;
        let types::FractionalPercent {
            numerator,
            denominator,
        } = *value;
        let factor = match self.choice("denominator", denominator)? {
            DenominatorType::Hundred => 10_000,
            DenominatorType::TenThousand => 100,
            DenominatorType::Million => 1,
        };
        // More than the whole is the whole, as in Envoy.
        Ok(numerator.saturating_mul(factor).min(1_000_000))
    }

    /// What a configuration is compiled for.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.context.runtime
    }

    /// A value that a key of the runtime may replace. No key is the empty one.
    pub(crate) fn setting<T: Readable>(&self, configured: T, key: &str) -> Setting<T> {
        Setting::new(configured, self.key(key))
    }

    pub(crate) fn key(&self, key: &str) -> Option<Key> {
        self.runtime().key(key)
    }

    pub(crate) fn runtime_fraction(
        &self,
        value: &core::RuntimeFractionalPercent,
    ) -> Result<Setting<Share>, Rejection> {
        let core::RuntimeFractionalPercent {
            default_value,
            runtime_key,
        } = value;
        let share = self
            .field("default_value")
            .fraction(self.required("default_value", default_value)?)?;
        Ok(self.setting(Share(share), runtime_key))
    }

    /// Whether a feature is on, which it is where nothing is said.
    pub(crate) fn enabled(&self, flag: Option<&core::RuntimeFeatureFlag>) -> Setting<bool> {
        let Some(core::RuntimeFeatureFlag {
            default_value,
            runtime_key,
        }) = flag
        else {
            return true.into();
        };
        let enabled = default_value.as_ref().is_none_or(|enabled| enabled.value);
        self.setting(enabled, runtime_key)
    }

    pub(crate) fn unpack<M: Message + Name + Default>(&self, any: &protobuf::Any) -> Result<M, Rejection> {
        any.unpack().map_err(|error| match error {
            UnpackError::Type { .. } => self.unknown_extension(any),
            error @ UnpackError::Decode { .. } => self.reject(error.to_string()),
        })
    }

    pub(crate) fn unknown_extension(&self, any: &protobuf::Any) -> Rejection {
        self.reject(format!("extension {:?} is not supported", any.type_url))
    }

    pub(crate) fn data_source(&self, source: &core::DataSource) -> Result<Vec<u8>, Rejection> {
        use core::data_source::Specifier;
        let core::DataSource {
            watched_directory,
            specifier,
        } = source;
        no_effect!(self, "files are read once"; watched_directory);
        match specifier {
            None => Err(self.field("specifier").reject("required")),
            Some(Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
            Some(Specifier::InlineString(text)) => Ok(text.as_bytes().to_vec()),
            Some(Specifier::Filename(path)) => {
                let read = self.context.files.read(path);
                read.map_err(|why| self.field("filename").reject(format!("{path}: {why}")))
            }
            Some(Specifier::EnvironmentVariable(name)) => {
                let at = self.field("environment_variable");
                let found = self.environment(name);
                let found = found.ok_or_else(|| at.reject(format!("{name:?} is not set")))?;
                Ok(found.into_bytes())
            }
        }
    }

    /// The sets of keys that are fetched, for all configurations of the process.
    pub(crate) fn remote_keys(&self) -> Remotes {
        self.context.files.remote_keys()
    }

    pub(crate) fn environment(&self, name: &str) -> Option<String> {
        self.context.files.environment(name)
    }

    /// So far, anywhere in what is being compiled.
    pub(crate) fn wants(&self) -> Wants {
        self.context.wants.get()
    }

    pub(crate) fn want(&self, more: Wants) {
        let wants = self.wants();
        self.context.wants.set(Wants {
            on_demand: wants.on_demand || more.on_demand,
            trailers: wants.trailers || more.trailers,
            istio_stats: wants.istio_stats || more.istio_stats,
            wire: wants.wire || more.wire,
        });
    }

    pub(crate) fn time_zone(&self) -> Option<Vec<u8>> {
        self.context.files.time_zone()
    }

    /// What a file says, of those that may be named.
    pub(crate) fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        self.context.files.read(path)
    }

    pub(crate) fn hostname(&self) -> Option<String> {
        self.context.files.hostname()
    }

    /// `self` and `ads` need not say it; Envoy takes its absence for v3 as well.
    pub(crate) fn version(&self, field: &'static str, version: i32) -> Result<(), Rejection> {
        match self.choice(field, version)? {
            core::ApiVersion::V3 | core::ApiVersion::Auto => Ok(()),
            core::ApiVersion::V2 => Err(self.field(field).reject("only v3 is supported")),
        }
    }
}

/// What is not said is false.
pub(crate) fn is_true(value: &Option<protobuf::BoolValue>) -> bool {
    value.as_ref().is_some_and(|value| value.value)
}
