//! Brush masks: Label Studio's run-length encoding, and intersection over union of the pixels painted.
//!
//! The encoding is that of `@thi.ng/rle-pack`, as `label_studio_sdk.converter.brush.decode_rle` reads it: a stream
//! of bits, high bit first. Header: number of values (32 bits), word size less one (5), four run sizes less one
//! (4 each). Then runs: one bit whether the run repeats one word, two bits which run size, the run's length less
//! one in that many bits, and the word, or as many words as the run is long. The values are the image's pixels
//! row by row, four channels each; a pixel is painted where its fourth channel, alpha, is not 0.
//!
//! A mask is kept as runs of pixels and never spread out, so a few bytes that claim gigabytes cost nothing.

use serde_json::Value;

/// Ascending, disjoint runs `(first pixel, one past the last)`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::domain) struct Mask(Vec<(u64, u64)>);

const CHANNELS: u64 = 4;

impl Mask {
    /// None when it is no mask, is cut off, or its length is not the image's.
    pub fn read(region: &Value, value: &Value) -> Option<Self> {
        let bytes: Vec<u8> = value
            .get("rle")?
            .as_array()?
            .iter()
            .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
            .collect::<Option<_>>()?;
        let side = |field: &str| region.get(field).and_then(Value::as_u64);
        let pixels = match (side("original_width"), side("original_height")) {
            (Some(width), Some(height)) => Some(width.checked_mul(height)?),
            _ => None,
        };
        Self::decode(&bytes, pixels)
    }

    /// `pixels`: of the image, where that is known.
    pub fn decode(bytes: &[u8], pixels: Option<u64>) -> Option<Self> {
        let mut bits = Bits { bytes, at: 0 };
        let count = bits.take(32)?;
        if count % CHANNELS != 0 || pixels.is_some_and(|pixels| pixels.checked_mul(CHANNELS) != Some(count)) {
            return None;
        }
        let word = bits.take(5)? + 1;
        let mut sizes = [0; 4];
        for size in &mut sizes {
            *size = bits.take(4)? + 1;
        }
        let mut mask = Self(Vec::new());
        let mut at = 0;
        while at < count {
            let is_repeated = bits.take(1)? == 1;
            let size = *sizes.get(usize::try_from(bits.take(2)?).ok()?)?;
            let end = (at + 1 + bits.take(size)?).min(count);
            if is_repeated {
                if bits.take(word)? != 0 {
                    mask.paint(at, end);
                }
                at = end;
            } else {
                while at < end {
                    if bits.take(word)? != 0 {
                        mask.paint(at, at + 1);
                    }
                    at += 1;
                }
            }
        }
        Some(mask)
    }

    /// Adds the pixels whose alpha is among these values.
    fn paint(&mut self, from: u64, to: u64) {
        // Alpha is the last channel, so a pixel's turn comes where the next one begins.
        let (first, past) = (from / CHANNELS, to / CHANNELS);
        if first >= past {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.1 >= first => last.1 = past,
            _ => self.0.push((first, past)),
        }
    }

    /// The pixels painted, row by row.
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.0
    }

    pub fn pixels(&self) -> u64 {
        self.0.iter().map(|(first, past)| past - first).sum()
    }

    pub fn cost(&self, other: &Self) -> u64 {
        (self.0.len() + other.0.len()) as u64
    }

    pub fn overlap(&self, other: &Self) -> f64 {
        let (mut a, mut b) = (&*self.0, &*other.0);
        let mut shared = 0;
        while let ([first, rest @ ..], [other, others @ ..]) = (a, b) {
            shared += first.1.min(other.1).saturating_sub(first.0.max(other.0));
            if first.1 <= other.1 { a = rest } else { b = others }
        }
        let all = self.pixels() + other.pixels() - shared;
        // Nothing painted against nothing painted.
        if all == 0 { 1.0 } else { shared as f64 / all as f64 }
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    /// Up to 32 bits; none past the end.
    fn take(&mut self, count: u64) -> Option<u64> {
        let mut taken = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            taken = taken << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Made by `label_studio_sdk.converter.brush.mask2rle` of a 4 by 2 image whose second, third and last
    /// pixels are painted.
    const PAINTED: &[u8] = &[0, 0, 0, 32, 57, 27, 252, 96, 19, 255, 223, 0, 143, 252];

    #[test]
    fn label_studios_own_encoding_is_read() {
        assert_eq!(Mask::decode(PAINTED, Some(8)), Some(Mask(vec![(1, 3), (7, 8)])));
        assert_eq!(Mask::decode(PAINTED, None), Some(Mask(vec![(1, 3), (7, 8)])));
    }

    #[test]
    fn what_is_cut_off_or_of_another_image_is_no_mask() {
        assert_eq!(Mask::decode(PAINTED, Some(9)), None);
        for length in 0..PAINTED.len() - 1 {
            assert_eq!(Mask::decode(&PAINTED[..length], None), None, "{length}");
        }
        assert!(Mask::read(&json!({}), &json!({"rle": [256]})).is_none());
        assert!(Mask::read(&json!({}), &json!({"rle": "x"})).is_none());
    }

    #[test]
    fn only_alpha_counts() {
        let mut mask = Mask(Vec::new());
        mask.paint(0, 3);
        assert_eq!(mask.0, []);
        mask.paint(3, 4);
        mask.paint(4, 12);
        mask.paint(13, 17);
        assert_eq!(mask.0, [(0, 4)]);
    }

    #[test]
    fn overlap_by_hand() {
        let (a, b) = (Mask(vec![(0, 4), (10, 12)]), Mask(vec![(2, 11)]));
        assert_eq!(a.overlap(&b), 3.0 / 12.0);
        assert_eq!(Mask(vec![]).overlap(&Mask(vec![])), 1.0);
        assert_eq!(Mask(vec![]).overlap(&b), 0.0);
    }

    proptest! {
        /// Whatever the header claims.
        #[test]
        fn hostile_bytes_cost_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200), claim: u32) {
            let mut bytes = bytes;
            let _ = Mask::decode(&bytes, None);
            bytes.splice(0..0, (claim & !3).to_be_bytes());
            if let Some(mask) = Mask::decode(&bytes, None) {
                prop_assert!(mask.0.windows(2).all(|pair| pair[0].1 < pair[1].0));
                prop_assert!(mask.pixels() <= u64::from(claim / 4));
            }
        }
    }
}
