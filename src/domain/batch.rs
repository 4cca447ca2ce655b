//! How a batch is made up: how much gold it gets, which gold tasks, and at which positions.

use rand::{Rng, RngExt, seq::SliceRandom};

use super::GoldTaskId;

/// Gold tasks that `tasks` tasks get at this rate: a tenth of 100 tasks is 10 gold tasks beside them.
/// Rounded to the nearest, so that a small batch at a low rate has none.
pub fn gold_count(tasks: usize, rate: f64) -> usize {
    (tasks as f64 * rate.clamp(0.0, 1.0)).round() as usize
}

/// A gold task and how often the annotator has met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub id: GoldTaskId,
    pub times_shown: i64,
}

/// Chooses up to `count` gold tasks, none twice: those shown least often come first, chance decides among equals.
pub fn choose_gold(mut candidates: Vec<Candidate>, count: usize, random: &mut impl Rng) -> Vec<GoldTaskId> {
    candidates.shuffle(random);
    candidates.sort_by_key(|candidate| candidate.times_shown);
    candidates.into_iter().take(count).map(|candidate| candidate.id).collect()
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
        assert_eq!(gold_count(100, 0.1), 10);
        assert_eq!(gold_count(10, 0.2), 2);
        assert_eq!(gold_count(10, 0.04), 0);
        assert_eq!(gold_count(10, 1.0), 10);
        assert_eq!(gold_count(10, f64::NAN), 0);
    }

    #[test]
    fn unseen_gold_comes_first_and_chance_decides_among_equals() {
        let pool: Vec<_> = (1..=20).map(|id| Candidate { id: GoldTaskId(id), times_shown: id % 2 }).collect();
        let chosen = |seed| choose_gold(pool.clone(), 5, &mut StdRng::seed_from_u64(seed));
        assert!((0..20).all(|seed| chosen(seed).iter().all(|id| id.0 % 2 == 0)));
        assert_ne!(chosen(1), chosen(2));
    }

    proptest! {
        #[test]
        fn positions_are_distinct_ascending_and_spread(total in 1usize..500, gold in 0usize..500, seed: u64) {
            let positions = gold_positions(total, gold, &mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(positions.len(), gold.min(total));
            prop_assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(positions.iter().all(|&position| position < total));
            // No two neighbours are further apart than two stretches.
            let stretch = total.div_ceil(gold.max(1));
            prop_assert!(positions.windows(2).all(|pair| pair[1] - pair[0] <= 2 * stretch));
        }

        #[test]
        fn no_gold_task_is_chosen_twice(size in 0i64..50, count in 0usize..60, seed: u64) {
            let pool: Vec<_> = (0..size).map(|id| Candidate { id: GoldTaskId(id), times_shown: id / 7 }).collect();
            let mut chosen = choose_gold(pool, count, &mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(chosen.len(), count.min(size as usize));
            chosen.sort();
            prop_assert!(chosen.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
