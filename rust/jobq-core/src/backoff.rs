//! How long a failed job waits: doubling, bounded, and spread so that jobs that failed together do not come together.

/// Milliseconds before the `n`-th retry (n from 1): `min(max, min * 2^(n-1))`, then drawn from the upper part
/// `[(1 - jitter) * d, d]` by `random`, a number from 0 (the whole d) to 1 (the least).
///
/// With the defaults (30 s, 60 min, no jitter): 30 s, 60 s, 120 s, 240 s, ..., 3,600 s from the eighth on.
/// It saturates: any n, any bounds.
#[must_use]
pub fn delay(n: u32, min: u64, max: u64, jitter: f64, random: f64) -> u64 {
    let doublings = n.saturating_sub(1);
    let doubled = if doublings >= min.leading_zeros() && min > 0 { u64::MAX } else { min << doublings.min(63) };
    let full = doubled.min(max);
    full - spread(full, jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0))
}

/// `full * part`, rounded down; `part` is from 0 to 1.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn spread(full: u64, part: f64) -> u64 {
    // A float has 53 bits, so far beyond any delay that makes sense the product may round above `full`.
    ((full as f64 * part) as u64).min(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_from_the_least_to_the_greatest() {
        let delays: Vec<u64> = (1..=9).map(|n| delay(n, 30_000, 3_600_000, 0.0, 0.5)).collect();
        let minute = 60_000;
        assert_eq!(delays[..3], [minute / 2, minute, 2 * minute]);
        assert_eq!(delays[7..], [60 * minute, 60 * minute]);
    }

    #[test]
    fn no_number_of_retries_wraps() {
        for n in [62, 63, 64, 65, 1_000_000, u32::MAX] {
            assert_eq!(delay(n, 1, u64::MAX, 0.0, 0.0), if n < 64 { 1 << (n - 1) } else { u64::MAX }.max(1 << 61));
            assert_eq!(delay(n, 30_000, 3_600_000, 0.0, 0.0), 3_600_000);
            assert_eq!(delay(n, 0, 3_600_000, 0.1, 1.0), 0);
        }
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(n: u32, min in 0..1u64 << 40, more in 0..1u64 << 40, j in 0.0..=1.0, r in 0.0..=1.0) {
            let max = min + more;
            let full = delay(n, min, max, 0.0, r);
            let drawn = delay(n, min, max, j, r);
            prop_assert!(min.min(full) == min && full <= max);
            prop_assert!(drawn <= full);
            #[allow(clippy::cast_precision_loss)]
            let least = (1.0 - j) * full as f64;
            #[allow(clippy::cast_precision_loss)]
            let seen = drawn as f64;
            prop_assert!(seen >= least.floor());
        }

        #[test]
        fn never_shrinks_without_jitter(n in 1u32..2_000_000, min in 0..1u64 << 50, max in 0..1u64 << 50) {
            let (min, max) = (min.min(max), min.max(max));
            prop_assert!(delay(n, min, max, 0.0, 0.0) <= delay(n + 1, min, max, 0.0, 0.0));
        }
    }
}
