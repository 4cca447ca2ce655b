//! How a batch is made up: how much gold it gets, and at which positions.

use rand::{Rng, RngExt};

/// Gold tasks that `tasks` tasks get at this rate: a tenth of 100 tasks is 10 gold tasks beside them. A fraction is
/// a chance, decided by `draw` (0 to 1): of small batches at a low rate, some have one, and over many batches the rate
/// is met.
pub fn gold_count(tasks: usize, rate: f64, draw: f64) -> usize {
    let wanted = tasks as f64 * rate.clamp(0.0, 1.0);
    let whole = wanted.floor();
    whole as usize + usize::from(draw < wanted - whole)
}

/// The positions (from 0, ascending) that `gold` gold tasks take among `total` tasks: one in each of `gold`
/// equal stretches, at a random place in it. Even, so that quality is watched all along; random, so that
/// nobody can count it out.
pub fn gold_positions(total: usize, gold: usize, random: &mut impl Rng) -> Vec<usize> {
    let gold = gold.min(total);
    (0..gold)
        .map(|stretch| {
            let (start, end) = (stretch * total / gold, (stretch + 1) * total / gold);
            random.random_range(start..end)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn the_rate_counts_beside_the_tasks() {
        for draw in [0.0, 0.5, 0.999] {
            assert_eq!(gold_count(100, 0.1, draw), 10);
            assert_eq!(gold_count(10, 0.2, draw), 2);
            assert_eq!(gold_count(10, 1.0, draw), 10);
            assert_eq!(gold_count(10, 0.0, draw), 0);
            assert_eq!(gold_count(10, f64::NAN, draw), 0);
        }
        assert_eq!((gold_count(10, 0.25, 0.49), gold_count(10, 0.25, 0.51)), (3, 2));
    }

    #[test]
    fn no_two_batches_are_laid_out_alike() {
        let layout = |seed| gold_positions(110, 10, &mut StdRng::seed_from_u64(seed));
        let layouts: std::collections::BTreeSet<_> = (0..100).map(layout).collect();
        // Of 11 to the 10th layouts.
        assert_eq!(layouts.len(), 100);
    }

    proptest! {
        #[test]
        fn positions_are_distinct_ascending_and_spread(total in 1usize..500, gold in 0usize..500, seed: u64) {
            let positions = gold_positions(total, gold, &mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(positions.len(), gold.min(total));
            prop_assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(positions.iter().all(|&position| position < total));
            // One in each stretch.
            for (stretch, position) in positions.iter().enumerate() {
                let count = positions.len();
                prop_assert!((stretch * total / count..(stretch + 1) * total / count).contains(position));
            }
        }

        /// Over all draws the rate is met: rounding takes no side.
        #[test]
        fn the_count_is_unbiased(tasks in 1usize..300, rate in 0.0..1.0) {
            let draws = 1_000;
            let sum: usize = (0..draws).map(|n| gold_count(tasks, rate, (f64::from(n) + 0.5) / f64::from(draws))).sum();
            let mean = sum as f64 / f64::from(draws);
            prop_assert!((mean - tasks as f64 * rate).abs() <= 0.001, "{}", mean);
        }
    }
}
