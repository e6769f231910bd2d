//! Field values made of parts, `name=value, name=value`, as sidecars write them for each other.
//!
//! Every hop reads two and writes two, so numbers are read and written digit by digit.

use http::HeaderValue;

/// Bytes that most values have.
const BYTES_USUAL: usize = 160;

/// Digits that fit, whichever they are.
const DIGITS_MAX: usize = 19;

/// The names and values in `text`, in their order; none for a part that is no pair.
pub(super) fn each(mut text: &str) -> impl Iterator<Item = Option<(&str, &str)>> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        text = text.trim_ascii_start();
        let (mut equals, mut end) = (None, text.len());
        for (at, byte) in text.bytes().enumerate() {
            if byte == b',' {
                end = at;
                break;
            } else if byte == b'=' && equals.is_none() {
                equals = Some(at);
            }
        }
        let (part, rest) = text.split_at(end);
        text = rest.get(1..).unwrap_or_default();
        Some(equals.map(|equals| (&part[..equals], part[equals + 1..].trim_ascii_end())))
    })
}

/// The text that `value` is. Unlike its own `to_str` this looks at many bytes at once.
pub(super) fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// The number that `text` is.
pub(super) fn whole<N: TryFrom<u64>>(text: &str) -> Option<N> {
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    let number = text.bytes().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    });
    N::try_from(number?).ok()
}

/// Thousandths of the decimal number that `text` is; what is less than one is left out.
pub(super) fn thousandths(text: &str) -> Option<u64> {
    let point = text.bytes().position(|byte| byte == b'.').unwrap_or(text.len());
    let (number, rest) = text.split_at(point);
    let digits = rest.get(1..).unwrap_or("0");
    let rest: u64 = whole(digits.get(..3).unwrap_or(digits))?;
    let missing = 3_u32.saturating_sub(digits.len() as u32);
    whole::<u64>(number)?.checked_mul(1000)?.checked_add(rest * 10_u64.pow(missing))
}

/// A value that is being written.
pub(super) struct Parts(Vec<u8>);

impl Parts {
    /// One that is empty.
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(BYTES_USUAL))
    }

    /// Begins the part `name`; text follows.
    pub(super) fn begin(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.extend_from_slice(b", ");
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
    }

    pub(super) fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn whole(&mut self, number: u64) {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn thousandths(&mut self, thousandths: u64) {
        self.whole(thousandths / 1000);
        let rest = (thousandths % 1000) as u16;
        let digit = |place: u16| b'0' + (rest / place % 10) as u8;
        self.0.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }

    /// The value; none if text had what a field value cannot have.
    pub(super) fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_pairs() {
        let found: Vec<_> = each("a=1, b=x=y,c= d e ,, =f").collect();
        let pairs =
            [Some(("a", "1")), Some(("b", "x=y")), Some(("c", " d e")), None, Some(("", "f"))];
        assert_eq!(found, pairs);
        assert_eq!(each("").count(), 0);
        assert_eq!(each("alone").next(), Some(None));
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(whole("0"), Some(0_u8));
        assert_eq!(whole("255"), Some(255_u8));
        for bad in ["", "256", "-1", "+1", "1.0", " 1", "99999999999999999999"] {
            assert_eq!(whole::<u8>(bad), None, "{bad}");
        }
        for (text, expected) in
            [("0", 0), ("12.345", 12_345), ("1.5", 1500), ("7.04", 7040), ("3.9999", 3999)]
        {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        for bad in ["", ".", "1.", ".5", "NaN", "-1", "1e3", "1.x", "99999999999999999999"] {
            assert_eq!(thousandths(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut parts = Parts::new();
        parts.begin("a");
        parts.whole(7);
        parts.begin("b");
        parts.thousandths(60_000_001);
        let value = parts.value().unwrap();
        assert_eq!(value, "a=7, b=60000.001");
        let read: Vec<_> = each(value.to_str().unwrap()).flatten().collect();
        assert_eq!(thousandths(read[1].1), Some(60_000_001));
        parts.text("\n");
        assert!(parts.value().is_none());
    }
}
