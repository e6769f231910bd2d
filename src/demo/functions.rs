//! The functions that the embedded gateways run: computing only, every size bounded.

mod size;

use std::hint::black_box;
use std::io::Cursor;
use std::str::FromStr;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::HeaderValue;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use serde_json::{Value, json};
use size::Size;

/// Rows of the matrices that are multiplied when nothing is asked for: some milliseconds.
pub const MATRIX_ROWS_DEFAULT: u64 = 288;
/// Most rows of a matrix.
pub const MATRIX_ROWS_MAX: u64 = 512;
/// Iterations of `floating-point` when nothing is asked for: some milliseconds.
pub const ITERATIONS_DEFAULT: u64 = 400_000;
/// Most iterations of `floating-point`.
pub const ITERATIONS_MAX: u64 = 20_000_000;
/// How long `sleep` sleeps when nothing is asked for.
pub const SLEEP_DEFAULT_MILLIS: u64 = 20;
/// The longest sleep.
pub const SLEEP_MAX_MILLIS: u64 = 10_000;
/// Width and height of a resized picture when nothing is asked for.
pub const SIDE_DEFAULT_PIXELS: u64 = 64;
/// Most pixels of a resized picture, either way.
pub const SIDE_MAX_PIXELS: u64 = 2048;
/// Most pixels of a picture to resize, either way.
pub const SOURCE_SIDE_MAX_PIXELS: u32 = 4096;
/// Most bytes that decoding a picture may take: one of the largest side at four bytes a pixel.
pub const DECODE_BYTES_MAX: u64 = 64 << 20;

/// Width and height of the picture that is resized when none is sent.
const PICTURE_SIDE_PIXELS: u32 = 256;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PNG: HeaderValue = HeaderValue::from_static("image/png");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A function that an embedded gateway can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// Multiplies two n×n matrices.
    MatrixMultiplication,
    /// Sines, cosines and square roots.
    FloatingPoint,
    /// Waits.
    Sleep,
    /// Answers what it was sent.
    Echo,
    /// Resizes a PNG.
    ImageResize,
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 5] = [
        Self::MatrixMultiplication,
        Self::FloatingPoint,
        Self::Sleep,
        Self::Echo,
        Self::ImageResize,
    ];

    /// The name it is called by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MatrixMultiplication => "matrix-multiplication",
            Self::FloatingPoint => "floating-point",
            Self::Sleep => "sleep",
            Self::Echo => "echo",
            Self::ImageResize => "image-resize",
        }
    }

    /// Position in [`Self::ALL`], for tables kept per function.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Runs on `input`. Waiting is done by `pause`, so that whoever owns the thread can cut it
    /// short.
    pub fn call(self, input: &Input, pause: &dyn Fn(Duration)) -> Result<Output, BadInput> {
        match self {
            Self::MatrixMultiplication => matrix_multiplication(input),
            Self::FloatingPoint => floating_point(input),
            Self::Sleep => sleep(input, pause),
            Self::Echo => Ok(echo(input)),
            Self::ImageResize => image_resize(input),
        }
    }
}

impl FromStr for Function {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|function| function.as_str() == name).ok_or(())
    }
}

/// What a function is called with.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// What follows the question mark, without it.
    pub query: String,
    /// The type of the body, as the client says.
    pub content_type: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
}

/// What a function answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The type of the body.
    pub content_type: HeaderValue,
    /// The body.
    pub body: Bytes,
}

/// An input that a function cannot work with. The message says what would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(String);

fn matrix_multiplication(input: &Input) -> Result<Output, BadInput> {
    let n = Size { keys: &["n"], default: MATRIX_ROWS_DEFAULT, min: 1, max: MATRIX_ROWS_MAX }
        .of_query_or_body(input)?;
    let checksum = matrix_checksum(n as usize);
    Ok(json_output(&json!({ "function": "matrix-multiplication", "n": n, "checksum": checksum })))
}

/// The sum over the product of two n×n matrices. The entries are small multiples of a half, so
/// the sum is exact and the same everywhere.
fn matrix_checksum(n: usize) -> f64 {
    let a: Vec<f64> = (0..n * n).map(|i| (i % 7) as f64 * 0.5).collect();
    let b: Vec<f64> = (0..n * n).map(|i| (i % 11) as f64 * 0.5).collect();
    let mut product = vec![0.0_f64; n * n];
    for (row, out) in product.chunks_exact_mut(n).enumerate() {
        for (k, b_row) in b.chunks_exact(n).enumerate() {
            let factor = a[row * n + k];
            for (sum, value) in out.iter_mut().zip(b_row) {
                *sum += factor * value;
            }
        }
    }
    product.iter().sum()
}

fn floating_point(input: &Input) -> Result<Output, BadInput> {
    let iterations = Size {
        keys: &["iterations", "n"],
        default: ITERATIONS_DEFAULT,
        min: 1,
        max: ITERATIONS_MAX,
    }
    .of_query_or_body(input)?;
    let mut sum = 0.0_f64;
    for i in 0..iterations {
        // Opaque to the optimizer: otherwise some of this could be computed once, or not at all.
        let x = black_box(i as f64);
        sum += x.sin() * x.cos() + x.sqrt();
    }
    let answer = json!({ "function": "floating-point", "iterations": iterations, "result": sum });
    Ok(json_output(&answer))
}

fn sleep(input: &Input, pause: &dyn Fn(Duration)) -> Result<Output, BadInput> {
    let milliseconds = Size {
        keys: &["milliseconds", "ms"],
        default: SLEEP_DEFAULT_MILLIS,
        min: 0,
        max: SLEEP_MAX_MILLIS,
    }
    .of_query_or_body(input)?;
    pause(Duration::from_millis(milliseconds));
    Ok(json_output(&json!({ "function": "sleep", "milliseconds": milliseconds })))
}

fn echo(input: &Input) -> Output {
    Output { content_type: input.content_type.clone().unwrap_or(BINARY), body: input.body.clone() }
}

fn image_resize(input: &Input) -> Result<Output, BadInput> {
    let side = |keys| {
        Size { keys, default: SIDE_DEFAULT_PIXELS, min: 1, max: SIDE_MAX_PIXELS }
            .of_query(&input.query)
    };
    let width = side(&["w", "width"])?.unwrap_or(SIDE_DEFAULT_PIXELS) as u32;
    let height = side(&["h", "height"])?.unwrap_or(SIDE_DEFAULT_PIXELS) as u32;
    let picture = if input.body.is_empty() { picture() } else { decoded(&input.body)? };
    // Eight bits a channel: what the decoder's limit is reckoned in, and what a thumbnail needs.
    let resized =
        DynamicImage::from(picture.into_rgba8()).resize_exact(width, height, FilterType::Triangle);
    let mut png = Cursor::new(Vec::new());
    resized
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| BadInput(format!("this picture cannot be written as PNG: {error}")))?;
    Ok(Output { content_type: PNG, body: png.into_inner().into() })
}

/// A picture with something to see in it.
fn picture() -> DynamicImage {
    RgbImage::from_fn(PICTURE_SIDE_PIXELS, PICTURE_SIDE_PIXELS, |x, y| {
        Rgb([x as u8, y as u8, (x ^ y) as u8])
    })
    .into()
}

fn decoded(body: &Bytes) -> Result<DynamicImage, BadInput> {
    let mut reader = ImageReader::with_format(Cursor::new(body), ImageFormat::Png);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SOURCE_SIDE_MAX_PIXELS);
    limits.max_image_height = Some(SOURCE_SIDE_MAX_PIXELS);
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    reader.limits(limits);
    reader.decode().map_err(|error| {
        BadInput(format!(
            "the body is not a PNG that can be resized ({error}): send a whole PNG of at most \
             {SOURCE_SIDE_MAX_PIXELS}x{SOURCE_SIDE_MAX_PIXELS} pixels, or no body for a built-in \
             picture"
        ))
    })
}

fn json_output(answer: &Value) -> Output {
    Output { content_type: JSON, body: format!("{answer}\n").into() }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn input(query: &str, body: impl Into<Bytes>) -> Input {
        Input { query: query.into(), content_type: None, body: body.into() }
    }

    fn call(function: Function, query: &str, body: impl Into<Bytes>) -> Result<Output, BadInput> {
        function.call(&input(query, body), &|_| {})
    }

    fn answer(function: Function, query: &str, body: &'static str) -> Value {
        serde_json::from_slice(&call(function, query, body).unwrap().body).unwrap()
    }

    #[test]
    fn names_lead_back_to_functions() {
        for (index, function) in Function::ALL.into_iter().enumerate() {
            assert_eq!(function.as_str().parse(), Ok(function));
            assert_eq!(function.index(), index);
            assert!(crate::scheduling::function::FunctionName::new(function.as_str()).is_ok());
        }
        assert_eq!("nothing".parse::<Function>(), Err(()));
    }

    #[test]
    fn a_product_of_matrices_is_right() {
        // [0 .5; 1 1.5] · [0 .5; 1 1.5] = [.5 .75; 1.5 2.75]
        assert_eq!(matrix_checksum(2), 5.5);
    }

    #[test]
    fn sizes_are_found_where_callers_put_them() {
        let matrix = Function::MatrixMultiplication;
        for (query, body) in [
            ("n=3", ""),
            ("a=b&n=3", "17"),
            ("", "3"),
            ("", " 3\n"),
            ("", "\"3\""),
            ("", r#"{"n": 3}"#),
            ("", r#"{"n": "3", "other": 1}"#),
        ] {
            assert_eq!(answer(matrix, query, body)["n"], 3, "{query:?} {body:?}");
        }
        for (query, body) in [("", ""), ("", "{}"), ("", "null"), ("m=1", "")] {
            let sleep = answer(Function::Sleep, query, body);
            assert_eq!(sleep["milliseconds"], SLEEP_DEFAULT_MILLIS, "{query:?} {body:?}");
        }
    }

    #[test]
    fn bad_sizes_are_told_with_the_remedy() {
        for (function, query, body) in [
            (Function::MatrixMultiplication, "n=0", ""),
            (Function::MatrixMultiplication, "n=513", ""),
            (Function::MatrixMultiplication, "n=", ""),
            (Function::MatrixMultiplication, "", "-1"),
            (Function::MatrixMultiplication, "", "3.5"),
            (Function::MatrixMultiplication, "", "[3]"),
            (Function::MatrixMultiplication, "", r#"{"size": 3}"#),
            (Function::MatrixMultiplication, "", r#"{"n": {"n": 3}}"#),
            (Function::MatrixMultiplication, "", "\u{1}three"),
            (Function::FloatingPoint, "n=99999999999999999999", ""),
            (Function::FloatingPoint, "", "1e30"),
            (Function::Sleep, "ms=10001", ""),
            (Function::ImageResize, "w=0", ""),
            (Function::ImageResize, "h=2049", ""),
        ] {
            let error = call(function, query, body).unwrap_err().to_string();
            assert!(error.contains("send a whole number from"), "{query:?} {body:?}: {error}");
        }
    }

    #[test]
    fn floating_point_repeats_and_sleep_waits_as_asked() {
        let once = answer(Function::FloatingPoint, "iterations=1000", "");
        assert_eq!(once, answer(Function::FloatingPoint, "", "1000"));
        let waited = Cell::new(Duration::ZERO);
        let pause = |duration| waited.set(waited.get() + duration);
        Function::Sleep.call(&input("", "1234"), &pause).unwrap();
        assert_eq!(waited.get(), Duration::from_millis(1234));
    }

    #[test]
    fn echo_keeps_bytes_and_type() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let mut input = input("", every_byte.clone());
        assert_eq!(Function::Echo.call(&input, &|_| {}).unwrap().content_type, BINARY);
        input.content_type = Some(HeaderValue::from_static("x/y; z"));
        let output = Function::Echo.call(&input, &|_| {}).unwrap();
        assert_eq!(
            output,
            Output { content_type: "x/y; z".parse().unwrap(), body: every_byte.into() }
        );
    }

    #[test]
    fn pictures_are_resized() {
        let made = call(Function::ImageResize, "", "").unwrap();
        assert_eq!(made.content_type, PNG);
        let small = call(Function::ImageResize, "w=9&height=5", made.body).unwrap();
        let picture = image::load_from_memory(&small.body).unwrap();
        assert_eq!((picture.width(), picture.height()), (9, 5));
    }

    #[test]
    fn broken_pictures_are_refused() {
        let whole = call(Function::ImageResize, "", "").unwrap().body;
        let cut = whole.slice(..whole.len() / 2);
        let mut huge = whole.to_vec();
        huge[16..20].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
        for broken in [Bytes::from_static(b"no picture"), cut, huge.into()] {
            let error = call(Function::ImageResize, "", broken).unwrap_err().to_string();
            assert!(error.contains("send a whole PNG"), "{error}");
        }
    }
}
