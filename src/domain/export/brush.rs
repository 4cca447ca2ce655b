//! Brush masks as files need them: how many pixels, within which box, and counted as COCO counts.
//! [`crate::domain::scoring::brush`] reads Label Studio's own encoding.

use super::region::{Bounds, Size};
use crate::domain::scoring::brush;

/// A mask of more is left out: counting by columns spreads it out in memory, a byte a pixel.
const MOST_PIXELS: u64 = 64_000_000;

/// Which pixels of an image are painted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: u64,
    height: u64,
    /// Row by row, ascending and apart: `(first pixel, one past the last)`.
    runs: Vec<(u64, u64)>,
}

/// None: the bytes are no mask of an image of this size.
pub fn decode(rle: &[u8], size: Size) -> Option<Mask> {
    let (width, height) = (u64::from(size.width), u64::from(size.height));
    let pixels = width.checked_mul(height).filter(|pixels| *pixels <= MOST_PIXELS)?;
    let mask = brush::Mask::decode(rle, Some(pixels))?;
    Some(Mask { width, height, runs: mask.runs().to_vec() })
}

impl Mask {
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|(first, past)| past - first).sum()
    }

    /// None of an empty mask.
    pub fn bounds(&self) -> Option<Bounds> {
        let columns = self.runs.iter().map(|(first, past)| {
            let is_one_row = first / self.width == (past - 1) / self.width;
            if is_one_row { (first % self.width, (past - 1) % self.width + 1) } else { (0, self.width) }
        });
        let (left, right) = columns.reduce(|all, run| (all.0.min(run.0), all.1.max(run.1)))?;
        let (first, last) = (self.runs.first()?.0 / self.width, (self.runs.last()?.1 - 1) / self.width);
        Some(Bounds { left: left as f64, top: first as f64, right: right as f64, bottom: (last + 1) as f64 })
    }

    /// Column by column, lengths of unpainted and painted runs in turn, unpainted first.
    pub fn coco_counts(&self) -> Vec<u64> {
        // Its pixels are bounded when it is read, so the conversions hold.
        let (width, height) = (self.width as usize, self.height as usize);
        let mut painted = vec![false; width * height];
        for (first, past) in &self.runs {
            if let Some(run) = painted.get_mut(*first as usize..*past as usize) {
                run.fill(true);
            }
        }
        let (mut counts, mut run, mut current) = (Vec::new(), 0, false);
        for column in 0..width {
            for pixel in painted.iter().skip(column).step_by(width) {
                if *pixel != current {
                    counts.push(run);
                    (run, current) = (0, *pixel);
                }
                run += 1;
            }
        }
        counts.push(run);
        counts
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Packs a mask as Label Studio does, each row's pixels as one run where they are alike.
    pub fn encode(width: usize, painted: &[bool]) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        let mut write = |value: usize, count: usize| {
            bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        };
        write(painted.len() * 4, 32);
        write(7, 5);
        [2, 3, 7, 15].iter().for_each(|width| write(*width, 4));
        for row in painted.chunks(width) {
            if row.iter().all(|pixel| *pixel == row[0]) {
                write(1, 1);
                write(3, 2);
                write(row.len() * 4 - 1, 16);
                write(if row[0] { 255 } else { 0 }, 8);
            } else {
                for pixel in row {
                    write(0, 1);
                    write(0, 2);
                    write(3, 3);
                    [0, 0, 0, if *pixel { 129 } else { 0 }].iter().for_each(|value| write(*value, 8));
                }
            }
        }
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |all, (at, bit)| all | u8::from(*bit) << (7 - at)))
            .collect()
    }

    #[test]
    fn a_mask_is_read_and_counted_column_by_column() {
        let painted = [false, true, false, /**/ true, true, true, /**/ false, false, false].to_vec();
        let mask = decode(&encode(3, &painted), Size { width: 3, height: 3 }).unwrap();
        assert_eq!(mask, Mask { width: 3, height: 3, runs: vec![(1, 2), (3, 6)] });
        assert_eq!(mask.count(), 4);
        assert_eq!(mask.bounds(), Some(Bounds { left: 0.0, top: 0.0, right: 3.0, bottom: 2.0 }));
        assert_eq!(mask.coco_counts(), [1, 1, 1, 2, 2, 1, 1]);
    }

    #[test]
    fn an_empty_mask_has_no_bounds() {
        let mask = decode(&encode(2, &[false; 4]), Size { width: 2, height: 2 }).unwrap();
        assert_eq!((mask.bounds(), mask.coco_counts()), (None, vec![4]));
    }

    #[test]
    fn what_does_not_fit_the_image_is_no_mask() {
        let rle = encode(3, &[true; 9]);
        assert_eq!(decode(&rle, Size { width: 3, height: 4 }), None);
        assert_eq!(decode(&rle[..rle.len() - 2], Size { width: 3, height: 3 }), None);
        assert_eq!(decode(&[], Size { width: 3, height: 3 }), None);
        assert_eq!(decode(&rle, Size { width: 100_000, height: 100_000 }), None);
    }
}
