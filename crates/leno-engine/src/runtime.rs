//! Envoy's runtime: values by which those of the configuration are replaced while a proxy runs
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/runtime>).
//!
//! Whoever compiles a configuration has a [`Runtime`]. A field with a `runtime_key` is compiled into a [`Setting`], which
//! shares a cell with every other that names the key; [`Runtime::set`] writes the cells. Reading one is a load, and
//! without a key not even that: no look-up by name while serving.

mod value;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub(crate) use value::of_struct;
pub use value::{Layer, Value, merged};

/// The values in force, by key.
#[derive(Clone, Debug, Default)]
pub struct Runtime(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    values: BTreeMap<String, Value>,
    /// Keys that a configuration names.
    cells: HashMap<String, Weak<Cell>>,
}

/// What a key says at the moment, in each of the forms in which it may be read; [`UNSAID`] where it says nothing of it.
#[derive(Debug)]
struct Cell {
    key: String,
    share: AtomicU64,
    whole: AtomicU64,
    /// The bits of an `f64`.
    number: AtomicU64,
    switch: AtomicU64,
}

/// No bits of a finite number, and no whole one that is wanted.
const UNSAID: u64 = u64::MAX;

/// A key of the runtime.
#[derive(Clone)]
pub struct Key(Arc<Cell>);

/// A value of the configuration, or what the runtime says in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting<T> {
    configured: T,
    key: Option<Key>,
}

/// A share of all, in parts in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

/// What a key may be read as.
pub trait Readable: Copy {
    fn read(key: &Key) -> Option<Self>;
}

// === impl Runtime ===

impl Runtime {
    /// None: no key is named.
    pub fn key(&self, name: &str) -> Option<Key> {
        if name.is_empty() {
            return None;
        }
        let mut inner = self.lock();
        if let Some(cell) = inner.cells.get(name).and_then(Weak::upgrade) {
            return Some(Key(cell));
        }
        let cell = Arc::new(Cell::new(name));
        cell.store(inner.values.get(name));
        inner.cells.insert(name.to_owned(), Arc::downgrade(&cell));
        Some(Key(cell))
    }

    /// Puts these values in force, and no others.
    pub fn set(&self, values: BTreeMap<String, Value>) {
        let mut inner = self.lock();
        inner.cells.retain(|name, cell| {
            let cell = cell.upgrade();
            if let Some(cell) = &cell {
                cell.store(values.get(name));
            }
            cell.is_some()
        });
        inner.values = values;
    }

    pub fn values(&self) -> BTreeMap<String, Value> {
        self.lock().values.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Runtime {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.values() == other.values()
    }
}

// === impl Cell ===

impl Cell {
    fn new(key: &str) -> Self {
        let unsaid = || AtomicU64::new(UNSAID);
        Self {
            key: key.to_owned(),
            share: unsaid(),
            whole: unsaid(),
            number: unsaid(),
            switch: unsaid(),
        }
    }

    fn store(&self, value: Option<&Value>) {
        let share = value.and_then(Value::share).map(|share| u64::from(share.0));
        let number = value.and_then(Value::number).map(f64::to_bits);
        for (cell, said) in [
            (&self.share, share),
            (&self.whole, value.and_then(Value::whole)),
            (&self.number, number),
            (&self.switch, value.and_then(Value::switch).map(u64::from)),
        ] {
            cell.store(said.unwrap_or(UNSAID), Relaxed);
        }
    }
}

// === impl Key ===

/// What the key says of it; without a key, or where it says nothing, this.
pub fn said_or<T: Readable>(key: Option<&Key>, otherwise: T) -> T {
    key.and_then(T::read).unwrap_or(otherwise)
}

fn said(cell: &AtomicU64) -> Option<u64> {
    Some(cell.load(Relaxed)).filter(|said| *said != UNSAID)
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.key.fmt(f)
    }
}

impl Readable for Share {
    fn read(key: &Key) -> Option<Self> {
        said(&key.0.share).map(|share| Self(u32::try_from(share).unwrap_or(u32::MAX)))
    }
}

impl Readable for u64 {
    fn read(key: &Key) -> Option<Self> {
        said(&key.0.whole)
    }
}

impl Readable for u32 {
    fn read(key: &Key) -> Option<Self> {
        said(&key.0.whole).map(|whole| Self::try_from(whole).unwrap_or(Self::MAX))
    }
}

impl Readable for f64 {
    fn read(key: &Key) -> Option<Self> {
        said(&key.0.number).map(Self::from_bits)
    }
}

impl Readable for bool {
    fn read(key: &Key) -> Option<Self> {
        said(&key.0.switch).map(|switch| switch != 0)
    }
}

// === impl Setting ===

impl<T: Readable> Setting<T> {
    pub fn new(configured: T, key: Option<Key>) -> Self {
        Self { configured, key }
    }

    /// Where the runtime says nothing.
    pub fn configured(&self) -> T {
        self.configured
    }

    /// What holds at the moment.
    pub fn now(&self) -> T {
        said_or(self.key.as_ref(), self.configured)
    }
}

impl<T> From<T> for Setting<T> {
    fn from(configured: T) -> Self {
        Self {
            configured,
            key: None,
        }
    }
}

// === impl Share ===

impl Share {
    pub const ALL: Self = Self(1_000_000);

    /// Whether a random number falls into it.
    pub fn takes(self, random: u64) -> bool {
        random % 1_000_000 < u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> BTreeMap<String, Value> {
        BTreeMap::from([("a.b".to_owned(), Value::of_text(text))])
    }

    #[test]
    fn a_key_is_what_the_runtime_says_now_and_else_what_was_configured() {
        let runtime = Runtime::default();
        let whole = Setting::new(3_u64, runtime.key("a.b"));
        let share = Setting::new(Share(5), runtime.key("a.b"));
        assert_eq!((whole.now(), share.now()), (3, Share(5)));
        runtime.set(values("7"));
        assert_eq!((whole.now(), share.now()), (7, Share(70_000)));
        // A key that is named later.
        assert!(Setting::new(false, runtime.key("a.b")).now());
        runtime.set(BTreeMap::new());
        assert_eq!((whole.now(), share.now()), (3, Share(5)));
    }

    #[test]
    fn keys_that_nobody_names_any_more_are_forgotten() {
        let runtime = Runtime::default();
        drop(runtime.key("a.b"));
        runtime.set(values("1"));
        assert!(runtime.lock().cells.is_empty());
        assert_eq!(runtime.key(""), None);
    }
}
