//! How far a share may be off before it is wrong.

/// How often something of probability `share` may happen in `count` trials: outside of it at most once in 10^9 runs.
///
/// Chernoff's bound on both tails of the binomial distribution, which holds for every `count` and `share`.
pub fn bounds(count: usize, share: f64) -> std::ops::RangeInclusive<usize> {
    let rare = (2e9_f64).ln();
    let possible = |&k: &usize| count as f64 * divergence(k as f64 / count as f64, share) <= rare;
    let least = (0..=count).find(possible).unwrap_or(0);
    let most = (0..=count).rev().find(possible).unwrap_or(count);
    least..=most
}

/// Kullback-Leibler divergence of two coins.
fn divergence(seen: f64, share: f64) -> f64 {
    let part = |seen: f64, share: f64| {
        if seen == 0.0 {
            0.0
        } else {
            seen * (seen / share).ln()
        }
    };
    part(seen, share) + part(1.0 - seen, 1.0 - share)
}

#[test]
fn the_bounds_lie_around_the_mean_and_tell_neighbours_apart() {
    assert_eq!(bounds(1000, 0.5), 397..=603);
    assert!(!bounds(1000, 0.1).contains(&200) && !bounds(1000, 0.2).contains(&100));
    assert!(!bounds(1000, 0.9).contains(&1000));
}
