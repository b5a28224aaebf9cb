//! Route tables and requests that nobody thought of: made from a seed, taken by Envoy and by leno in the same way.
//!
//! `SEED=7` tries that one and no other, `SEEDS=500` so many from the first on; what differs is told with its seed, its
//! table and its request. Needs Envoy: nothing of it is kept.

mod table;

use serde_json::{Value, json};

use super::case::{Case, Place};
use super::{Backends, Category, by_leno, run};
use crate::envoy::{Envoy, program};

/// Listeners of one process.
const TOGETHER: u64 = 40;

/// Splitmix64: the same numbers from the same seed everywhere.
pub(crate) struct Dice(u64);

#[tokio::test]
async fn generated_route_tables_are_taken_as_envoy_takes_them() {
    let Some(program) = program("generated_route_tables_are_taken_as_envoy_takes_them") else {
        return;
    };
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(TOGETHER),
    };
    let backends = Backends::start().await;
    let (mut answers, mut forwarded, mut wrong) = (0, 0, Vec::new());
    for first in seeds.clone().step_by(TOGETHER as usize) {
        let seeds: Vec<u64> = (first..seeds.end.min(first + TOGETHER)).collect();
        let files: Vec<Value> = seeds.iter().map(|seed| table::file(&mut Dice(*seed))).collect();
        let cases = seeds.iter().zip(&files);
        let category = Category {
            name: "generated".into(),
            cases: cases
                .map(|(seed, file)| Case::of(format!("seed {seed}"), file))
                .collect(),
            bootstrap: Value::Null,
        };
        let directory = tempfile::tempdir().unwrap();
        let place = Place {
            backends: &backends,
            directory: directory.path(),
        };
        let envoy = Envoy::start(&program, &category.bootstrap(&category.cases, place));
        let by_envoy = run("e", category.cases.iter(), place, &envoy.listeners, &envoy.admin).await;
        let by_leno = by_leno(&category, &backends).await;
        for ((case, file), (want, got)) in category
            .cases
            .iter()
            .zip(&files)
            .zip(by_envoy.iter().zip(&by_leno))
        {
            answers += want.matches("\nHTTP/").count();
            forwarded += want.matches(" gets ").count();
            wrong.extend(difference(&case.name, file, want, got));
        }
    }
    let count = wrong.len();
    wrong.truncate(5);
    assert!(wrong.is_empty(), "{count} tables differ:\n{}", wrong.join("\n"));
    assert!(
        answers < forwarded * 4,
        "{forwarded} of {answers} answers come from a backend"
    );
}

/// The first request that is answered in another way, with the table.
fn difference(name: &str, file: &Value, want: &str, got: &str) -> Option<String> {
    if want == got {
        return None;
    }
    let mut shown = file.clone();
    shown.as_object_mut().unwrap().remove("requests");
    let (want, got) = (format!("\n{want}"), format!("\n{got}"));
    let mut each = want.split("\n> ").zip(got.split("\n> "));
    let first = each.find(|(want, got)| want != got);
    let (want, got) = first.unwrap_or((&want, &got));
    let table = serde_json::to_string_pretty(&shown).unwrap();
    Some(format!(
        "{name}: {table}\n\n> {want}\n  and from leno:\n> {got}\n"
    ))
}

// === impl Dice ===

impl Dice {
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From zero, below that.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len())]
    }

    pub(crate) fn text(&mut self, some: &[&str]) -> Value {
        json!(self.of(some))
    }
}
