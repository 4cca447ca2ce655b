//! Workflows that are created together and name each other by their place in the list.

/// The first circle in which entries come before themselves, as the way around it. `previous[n]` is the entry that
/// comes before entry `n`; a place outside of the list leads nowhere.
pub fn circle(previous: &[Option<usize>]) -> Option<Vec<usize>> {
    (0..previous.len()).find_map(|start| {
        let way = std::iter::successors(Some(start), |&entry| previous.get(entry).copied().flatten());
        let way: Vec<usize> = way.take(previous.len() + 1).collect();
        let back = way.iter().skip(1).position(|&entry| entry == start)?;
        Some(way.into_iter().take(back + 2).collect())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_circle_is_told_by_the_way_around_it() {
        assert_eq!(circle(&[None, Some(0), Some(1)]), None);
        assert_eq!(circle(&[Some(0)]), Some(vec![0, 0]));
        assert_eq!(circle(&[Some(1), Some(2), Some(1)]), Some(vec![1, 2, 1]));
        assert_eq!(circle(&[Some(7)]), None);
    }

    proptest! {
        /// Entries that name only earlier ones never close a circle; one edge back to a descendant does.
        #[test]
        fn a_line_has_no_circle_until_its_end_is_tied_to_its_start(length in 2usize..50, back in 1usize..50) {
            let mut line: Vec<Option<usize>> = (0..length).map(|n| n.checked_sub(1)).collect();
            prop_assert_eq!(circle(&line), None);
            let back = back % length;
            line[0] = Some(back);
            let way = circle(&line).unwrap();
            prop_assert_eq!(way.len(), back + 2);
            prop_assert_eq!(way.first(), way.last());
        }
    }
}
