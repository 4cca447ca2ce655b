//! Pictures that can really be labeled: a coloured shape on a light ground, drawn into a PNG and recognised
//! from the PNG again.

use anyhow::{Context, ensure};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
const GROUND: [u8; 3] = [244, 244, 240];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Red,
    Green,
    Blue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Circle,
    Square,
    Triangle,
}

pub const COLOURS: [Colour; 3] = [Colour::Red, Colour::Green, Colour::Blue];
pub const SHAPES: [Shape; 3] = [Shape::Circle, Shape::Square, Shape::Triangle];

impl Colour {
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
        }
    }

    fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [204, 51, 51],
            Self::Green => [46, 139, 87],
            Self::Blue => [51, 85, 204],
        }
    }

    /// The channel that this colour is strongest in.
    fn channel(self) -> usize {
        match self {
            Self::Red => 0,
            Self::Green => 1,
            Self::Blue => 2,
        }
    }
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
        }
    }

    /// Whether a point lies inside; the shape spans -1 to 1 both ways, y downwards.
    fn covers(self, x: f64, y: f64) -> bool {
        match self {
            Self::Circle => x * x + y * y <= 1.0,
            Self::Square => x.abs() <= 1.0 && y.abs() <= 1.0,
            Self::Triangle => y.abs() <= 1.0 && x.abs() <= (y + 1.0) / 2.0,
        }
    }

    /// The share of its bounding box that it covers.
    fn share(self) -> f64 {
        match self {
            Self::Circle => std::f64::consts::FRAC_PI_4,
            Self::Square => 1.0,
            Self::Triangle => 0.5,
        }
    }
}

/// What is on a picture, and where: all of it follows from a number.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    pub colour: Colour,
    pub shape: Shape,
    centre: (f64, f64),
    radius: f64,
}

impl Picture {
    pub fn number(n: usize) -> Self {
        // Steps that share no factor with the ranges, so that no two of the first hundred look the same.
        let spread = |step: usize, range: usize| (n * step % range) as f64;
        Self {
            colour: COLOURS[n % COLOURS.len()],
            shape: SHAPES[n / COLOURS.len() % SHAPES.len()],
            centre: (90.0 + spread(37, 140), 90.0 + spread(23, 60)),
            radius: 30.0 + spread(11, 40),
        }
    }

    pub fn png(&self) -> anyhow::Result<Vec<u8>> {
        let mut pixels = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                let inside = self.shape.covers(
                    (f64::from(x) - self.centre.0) / self.radius,
                    (f64::from(y) - self.centre.1) / self.radius,
                );
                pixels.extend(if inside { self.colour.rgb() } else { GROUND });
            }
        }
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, WIDTH, HEIGHT);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(bytes)
    }
}

/// Looks at a picture: its colour by the strongest channel of what is not ground, its shape by how much of its
/// bounding box it covers.
pub fn recognise(bytes: &[u8]) -> anyhow::Result<(Colour, Shape)> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().context("read a PNG")?;
    let size = reader.output_buffer_size().context("the PNG is too large")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels)?;
    ensure!(frame.color_type == png::ColorType::Rgb, "the PNG is {:?}, not RGB", frame.color_type);

    let mut sums = [0_u64; 3];
    let (mut count, mut low, mut high) = (0_u32, (u32::MAX, u32::MAX), (0, 0));
    for (index, pixel) in (0_u32..).zip(pixels.chunks_exact(3)).filter(|(_, pixel)| pixel != &GROUND) {
        let (x, y) = (index % frame.width, index / frame.width);
        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u64::from(*value));
        low = (low.0.min(x), low.1.min(y));
        high = (high.0.max(x), high.1.max(y));
        count += 1;
    }
    ensure!(count > 0, "there is nothing on the picture");
    let box_area = f64::from(high.0 - low.0 + 1) * f64::from(high.1 - low.1 + 1);
    let share = f64::from(count) / box_area;
    let distance = |shape: &Shape| (shape.share() - share).abs();
    let shape = SHAPES.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
    let colour = COLOURS.into_iter().max_by_key(|colour| sums[colour.channel()]);
    Ok((colour.context("some channel is the strongest")?, shape.context("some shape is the nearest")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_is_recognised_and_no_two_are_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..100 {
            let picture = Picture::number(n);
            let bytes = picture.png().unwrap();
            assert_eq!(recognise(&bytes).unwrap(), (picture.colour, picture.shape), "picture {n}");
            assert!(seen.insert(bytes), "picture {n} was there before");
        }
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        assert!(recognise(b"not a PNG").is_err());
    }
}
