//! Label Studio's brush masks: a run-length encoding of the image's RGBA bytes, of which only alpha says something.
//!
//! Source: `decode_rle` of label-studio-converter (`brush.py`), after `@thi.ng/rle-pack`. A stream of bits: the number of
//! values (32 bits), their width less one (5), four widths of run lengths, each less one (4 each); then runs: a
//! bit that says whether one value is repeated, two bits that choose the width of the length, the length less one,
//! and the value or values.

use super::region::{Bounds, Size};

/// More pixels than any camera has; a longer mask is somebody's attempt to fill our memory.
const MOST_PIXELS: usize = 100_000_000;

/// Which pixels of an image are painted, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    painted: Vec<bool>,
}

/// None: the bytes are no mask of an image of this size.
pub fn decode(rle: &[u8], size: Size) -> Option<Mask> {
    let (width, height) = (size.width as usize, size.height as usize);
    let pixels = width.checked_mul(height).filter(|pixels| *pixels <= MOST_PIXELS)?;
    let mut bits = Bits { bytes: rle, at: 0 };
    let values = bits.read(32)?;
    if values != pixels * 4 {
        return None;
    }
    let word = bits.read(5)? + 1;
    let mut widths = [0; 4];
    for width in &mut widths {
        *width = bits.read(4)? + 1;
    }
    let mut painted = vec![false; pixels];
    let mut put = |index: usize, value: usize| {
        if index % 4 == 3
            && let Some(pixel) = painted.get_mut(index / 4)
        {
            *pixel = value > 0;
        }
    };
    let mut at = 0;
    while at < values {
        let repeats = bits.read(1)? == 1;
        let width = *widths.get(bits.read(2)?)?;
        let end = (at + 1 + bits.read(width)?).min(values);
        if repeats {
            let value = bits.read(word)?;
            (at..end).for_each(|index| put(index, value));
        } else {
            for index in at..end {
                put(index, bits.read(word)?);
            }
        }
        at = end;
    }
    Some(Mask { width, painted })
}

/// Most significant bit first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: usize) -> Option<usize> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | usize::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

impl Mask {
    pub fn count(&self) -> usize {
        self.painted.iter().filter(|painted| **painted).count()
    }

    /// None of an empty mask.
    pub fn bounds(&self) -> Option<Bounds> {
        let painted =
            || (0..).zip(&self.painted).filter(|(_, painted)| **painted).map(|(index, _): (usize, _)| index);
        let columns = || painted().map(|index| index % self.width);
        let (first, last) = (painted().next()? / self.width, painted().last()? / self.width);
        let (left, right) = (columns().min()?, columns().max()?);
        Some(Bounds {
            left: left as f64,
            top: first as f64,
            right: (right + 1) as f64,
            bottom: (last + 1) as f64,
        })
    }

    /// As COCO counts: column by column, lengths of unpainted and painted runs in turn, unpainted first.
    pub fn coco_counts(&self) -> Vec<usize> {
        let height = self.painted.len().checked_div(self.width).unwrap_or_default();
        let (mut counts, mut run, mut current) = (Vec::new(), 0, false);
        for column in 0..self.width {
            for row in 0..height {
                let painted = self.painted.get(row * self.width + column).copied().unwrap_or_default();
                if painted != current {
                    counts.push(run);
                    (run, current) = (0, painted);
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
        assert_eq!(mask, Mask { width: 3, painted });
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
